"""Networks that measure, where the machine has them, and a real clip's frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from animator.evaluation.landmarks import FaceLandmarker, FaceMeasures
from animator.image import read_image
from animator.video import VideoReader


@pytest.fixture(scope="session")
def models(shared_data: Path) -> Path:
    """Folder with LPIPS, the Face Landmarker and dlib's face network."""
    return shared_data / "models"


@pytest.fixture(scope="session")
def landmarker(models: Path) -> Iterator[FaceLandmarker]:
    with FaceLandmarker(models / "face_landmarker.task") as made:
        yield made


@pytest.fixture(scope="session")
def talking(clip: Path) -> np.ndarray:
    """24 frames of a real talking face, (24, 256, 256, 3), in which the mouth opens and closes."""
    with VideoReader(clip) as reader:
        return next(reader.chunks(24, start=20))


@pytest.fixture(scope="session")
def measured(landmarker: FaceLandmarker, talking: np.ndarray) -> FaceMeasures:
    """What the landmarker says about `talking`."""
    return landmarker.measure(talking)


@pytest.fixture(scope="session")
def portrait_face(portrait: Path) -> np.ndarray:
    """The head of the portrait, (256, 256, 3)."""
    return read_image(portrait)[:256, 96:352]
