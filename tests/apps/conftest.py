"""A tiny animator's weights and real media for the command line's tests; none needs more than the package index."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from animator.assets import asset_path
from animator.builders import animator_config, build_pipeline
from apps.cli import main
from tests.animator.media import clip_frames, make_video

FRAMES = 12


@dataclass(frozen=True)
class Outcome:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says why, without its prefix."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        assert self.err.splitlines()[-1] == lines[0], "the reason stands last"
        return lines[0].removeprefix("error: ")


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a tiny animator of random weights, as a user would save it."""
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    build_pipeline(animator_config("tiny"), seed=0).save_pretrained(folder)
    return folder


@pytest.fixture
def xnemo(
    tiny_weights: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Run the real command line in this process, with the tiny weights, inside an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> Outcome:
        capsys.readouterr()
        code = main([str(word) for word in words] + [f"weights={tiny_weights}"])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def face_frames() -> NDArray[np.uint8]:
    """Frames of a real talking face, (12, 360, 640, 3)."""
    return clip_frames(asset_path("single-face-video"), FRAMES)


@pytest.fixture(scope="session")
def driving(face_frames: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short real driving clip: 12 frames at 30 fps, with sound."""
    return make_video(tmp_path_factory.mktemp("media") / "driving.mp4", face_frames, 30, tone=FRAMES / 30)


@pytest.fixture(autouse=True)
def interrupts_reach_children() -> Iterator[None]:
    """A shell starts background jobs with SIGINT ignored, which children inherit; a handler they do not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
