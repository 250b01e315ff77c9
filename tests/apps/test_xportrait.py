"""`xnemo animate` and `xnemo convert` with X-Portrait's control: the same command, other weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from animator.builders import animator_config, build_pipeline
from apps.cli import main
from tests.animator.test_convert_xportrait import drawn_part, parts
from tests.apps.conftest import FRAMES, Outcome

Run = Callable[..., Outcome]
QUICK = ("sampler=xportrait", "steps=1", "guidance_scale=1")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of random weights, as a user would have one."""
    folder = tmp_path_factory.mktemp("weights") / "xportrait"
    build_pipeline(animator_config("xportrait-tiny")).save_pretrained(folder)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*words: str | Path) -> Outcome:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def test_one_command_animates_by_pictures_as_it_does_by_latents(
    run: Run, portrait: Path, driving: Path, weights: Path
) -> None:
    given = ("animate", portrait, driving, *QUICK, f"weights={weights}", "animator=xportrait-tiny", "--json")
    outcome = run(*given, "start=0.1", "best_frame=4", "-o", "a.mp4")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["frames"] == FRAMES - 3


def test_weights_that_cannot_do_it_say_so(
    run: Run, portrait: Path, driving: Path, weights: Path, tiny_weights: Path
) -> None:
    outcome = run("animate", portrait, driving, f"weights={tiny_weights}", "animator=xportrait-tiny")
    assert outcome.code == 1 and "these weights are of another architecture (control, " in outcome.error
    outcome = run("animate", portrait, driving, f"weights={tiny_weights}", "best_frame=2", "steps=1")
    assert outcome.code == 1 and "these weights are driven by motion latents" in outcome.error
    outcome = run("extract", driving, f"weights={weights}", "-o", "out")
    assert outcome.code == 1 and "have no motion latents" in outcome.error


def test_the_released_file_is_converted(run: Run, tmp_path: Path) -> None:
    state = {key: value for part in parts("xportrait-tiny")[1].values() for key, value in drawn_part(part).items()}
    torch.save({"state_dict": state}, tmp_path / "model_state.th")
    outcome = run("convert", "xportrait-release", "model_state.th", "out", "animator=xportrait-tiny")
    assert outcome.code == 0, outcome.err
    assert "sampler=xportrait" in outcome.out and "control 248" in outcome.out
