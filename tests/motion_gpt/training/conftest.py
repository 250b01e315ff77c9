"""A toy dataset and a tiny tokenizer on disk, and settings of a run that takes a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from animator.config_loader import load_config
from motion_gpt.training.config import TrainGptConfig
from tests.motion_gpt.toy import toy_dataset, toy_tokenizer

Settings = Callable[..., TrainGptConfig]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_dataset(tmp_path_factory.mktemp("toy") / "dataset")


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_tokenizer(tmp_path_factory.mktemp("toy") / "tokenizer")


@pytest.fixture
def settings(dataset: Path, tokenizer_folder: Path, tmp_path: Path) -> Settings:
    """Settings of a short run, with more words if wanted."""

    def make(*words: str) -> TrainGptConfig:
        config = load_config(
            "train_gpt",
            [
                "gpt=tiny",
                f"dataset={dataset}",
                f"tokenizer_weights={tokenizer_folder}",
                f"output={tmp_path / 'run'}",
                "augment.pool=8",
                "augment.refresh_steps=3",
                "schedule.steps=8",
                "schedule.warm_up_steps=2",
                "schedule.validate_steps=4",
                *words,
            ],
        )
        assert isinstance(config, TrainGptConfig)
        return config

    return make
