"""Networks that measure, where the machine has them, and a real clip's frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from animator.builders import animator_config, build_pipeline
from animator.evaluation.landmarks import FaceLandmarker, FaceMeasures
from animator.evaluation.networks import NetworkFiles, Networks, find_networks
from animator.evaluation.observer import Observer
from animator.image import read_image
from animator.pipeline import XNeMoPipeline
from animator.video import VideoReader


@pytest.fixture(scope="session")
def models(shared_data: Path) -> Path:
    """Folder with LPIPS, the Face Landmarker, dlib's face network and face-api's expression network."""
    return shared_data / "models"


@pytest.fixture(scope="session")
def network_files(models: Path) -> NetworkFiles:
    return find_networks([models])


@pytest.fixture(scope="session")
def observer(network_files: NetworkFiles) -> Iterator[Observer]:
    with Networks(network_files) as networks:
        yield Observer(networks)


@pytest.fixture(scope="session")
def landmarker(observer: Observer) -> FaceLandmarker:
    return observer.networks.landmarker


@pytest.fixture(scope="session")
def pipeline() -> XNeMoPipeline:
    """A tiny animator with random weights."""
    made = build_pipeline(animator_config("tiny"))
    made.set_progress_bar_config(disable=True)
    return made


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
