"""A small crops folder, prepared once from two real clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from animator.config_loader import load_config
from animator.training import validation
from animator.training.config import PrepareConfig
from animator.training.prepare import prepare_crops

TRAINED, HELD_OUT = "GRID_01_neutral_01", "GRID_05_neutral_01"


@pytest.fixture(scope="module")
def small_validations() -> Iterator[None]:
    """The validation that every run ends with takes a moment only."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"PAIRS": 2, "SHOWN": 1, "DDIM_STEPS": 1, "CLIPS": 1}.items():
            patch.setattr(validation, name, value)
        yield


@pytest.fixture(scope="session")
def landmarker(shared_data: Path) -> Path:
    """MediaPipe's Face Landmarker; the test is skipped where it is absent."""
    path = shared_data / "models" / "face_landmarker.task"
    if not path.is_file():
        pytest.skip(f"MediaPipe's Face Landmarker is not on this machine ({path})")
    return path


@pytest.fixture(scope="session")
def prepare_config(landmarker: Path) -> Callable[..., PrepareConfig]:
    """Settings that are quick: a dozen frames of 64 x 64 pixels from each clip; `key=value` words change them."""

    def config(*overrides: str) -> PrepareConfig:
        quick = [f"landmarker={landmarker}", "image_size=64", "stride=3", "max_frames=12", "engine.workers=1"]
        return load_config("prepare", [*quick, *overrides])

    return config


@pytest.fixture(scope="session")
def crops_folder(
    shared_data: Path, prepare_config: Callable[..., PrepareConfig], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Two clips of two people, one for each split; read it, never write into it."""
    folder = tmp_path_factory.mktemp("crops")
    manifest = folder / "manifest.csv"
    clips = [(TRAINED, "train"), (HELD_OUT, "validation")]
    lines = [f"{shared_data / 'clips' / name}.mp4,clip,{name},{split}" for name, split in clips]
    manifest.write_text("\n".join(["file,kind,identity,split", *lines, "portraits/absent.jpg,portrait,nobody,train"]))
    done = prepare_crops([manifest], folder / "crops", prepare_config())
    assert not done.failed
    return done.folder
