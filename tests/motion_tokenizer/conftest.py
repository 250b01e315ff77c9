"""A small motion dataset of smooth made-up motion: a few factors through one fixed map to 512 dimensions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from animator.dataset import MotionRecord, write_dataset
from tests.motion_tokenizer.synthetic import synthetic_motion

TRAINED, HELD_OUT = 12, 3


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen people, a clip each of 30 to 58 frames, some labelled; read it, never write into it."""
    folder = tmp_path_factory.mktemp("motion") / "dataset"
    records = [
        MotionRecord(
            f"clip_{n}",
            f"person_{n}",
            "happy" if n % 3 == 0 else None,
            None,
            "train" if n < TRAINED else "validation",
            None,
            synthetic_motion(30 + 2 * n, seed=n),
        )
        for n in range(TRAINED + HELD_OUT)
    ]
    write_dataset(folder, records)
    return folder


@pytest.fixture
def generator() -> torch.Generator:
    """For the draws of one test, the same in whatever order tests run."""
    return torch.Generator().manual_seed(0)
