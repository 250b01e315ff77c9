"""`xnemo train gpt` at tiny size on toy motion: it learns, resumes exactly, and refuses what does not fit."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from animator.dataset import MotionDataset, write_dataset
from animator.errors import XNeMoError
from animator.training.loop import CHECKPOINT
from motion_gpt.training.recipe import train_gpt
from motion_gpt.weights import load_gpt
from motion_tokenizer.tokenizer import MotionTokenizer
from tests.motion_gpt.toy import toy_dataset
from tests.motion_gpt.training.conftest import Settings
from tests.motion_tokenizer.tiny import ENCODER


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in load_gpt(folder).state_dict().items()}


def record_of(folder: Path) -> dict[str, object]:
    record = json.loads((folder / "training.json").read_text())
    assert isinstance(record, dict)
    return record


def test_training_beats_the_counting_models_on_other_people(settings: Settings) -> None:
    config = settings(
        "gpt.context=64",
        "learning_rate=3e-3",
        "augment.pool=32",
        "augment.refresh_steps=20",
        "schedule.steps=80",
        "schedule.validate_steps=40",
    )
    record = record_of(train_gpt(config))
    best = record["best"]
    assert isinstance(best, dict)
    assert best["error"] < min(best["unigram_bits"], best["copy_last_bits"]) - 0.1
    assert {"null_bits", "labelled_bits", "labelled_null_bits", "train_bits", "bigram_bits"} <= best.keys()
    assert record["data"]["train"]["emotions"] == {"happy": 2, "neutral": 1, "sad": 1}  # type: ignore[index]
    log = Path(config.output) / "log"
    assert any(file.name.startswith("events") for file in log.iterdir())


def test_a_killed_run_goes_on_as_if_nothing_had_happened(settings: Settings, tmp_path: Path) -> None:
    # Dropout, refreshed pools, averages and the optimiser all have to come back.
    words = ["gpt.dropout=0.2", "schedule.steps=40", "schedule.validate_steps=10", "schedule.checkpoint_minutes=0"]
    whole = weights_of(train_gpt(settings(*words, f"output={tmp_path / 'whole'}")))

    config = settings(*words, f"output={tmp_path / 'killed'}")
    process = multiprocessing.get_context("fork").Process(target=train_gpt, args=(config,))
    process.start()
    assert process.pid is not None
    while process.is_alive() and not (Path(config.output) / CHECKPOINT).exists():
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    step = torch.load(Path(config.output) / CHECKPOINT, weights_only=True)["step"]
    assert 0 < step < 40, "the run was to be killed while it was under way"

    resumed = weights_of(train_gpt(config))
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_the_best_average_is_kept_and_patience_ends_the_run(settings: Settings) -> None:
    config = settings(
        "learning_rate=0", "schedule.steps=50", "schedule.validate_steps=2", "schedule.patience=2", "start_from=null"
    )
    record = record_of(train_gpt(config))
    assert record["steps"] == 6
    assert record["best"]["step"] == 2  # type: ignore[index]


def test_a_run_may_start_from_a_trained_generator(settings: Settings, tmp_path: Path) -> None:
    first = train_gpt(settings(f"output={tmp_path / 'first'}"))
    again = settings(f"output={tmp_path / 'second'}", f"start_from={first}", "learning_rate=0", "weight_decay=0")
    before, after = weights_of(first), weights_of(train_gpt(again))
    assert all(torch.allclose(value, after[name], atol=1e-6) for name, value in before.items())
    other = settings(f"output={tmp_path / 'third'}", f"start_from={first}", "gpt.layers=1")
    with pytest.raises(XNeMoError, match="does not fit this size"):
        train_gpt(other)


def test_a_dataset_of_another_encoder_is_refused_by_both_ids(settings: Settings, tmp_path: Path) -> None:
    folder = toy_dataset(tmp_path / "other", encoder_id="somebody-else")
    with pytest.raises(XNeMoError, match=rf"somebody-else.*{ENCODER}"):
        train_gpt(settings(f"dataset={folder}"))
    assert not (tmp_path / "run").exists()


def test_an_emotion_that_does_not_exist_is_refused_by_clip(settings: Settings, tmp_path: Path) -> None:
    records = list(MotionDataset.open(toy_dataset(tmp_path / "good")).records())
    records[0] = dataclasses.replace(records[0], emotion="joyful")
    write_dataset(tmp_path / "bad", records)
    with pytest.raises(XNeMoError, match=r"clip_0: emotion=joyful: unknown; the emotions are angry, contempt"):
        train_gpt(settings(f"dataset={tmp_path / 'bad'}"))


def test_settings_that_do_not_go_together_are_refused(settings: Settings) -> None:
    with pytest.raises(XNeMoError, match=r"rows=64: more than gpt.context=32"):
        train_gpt(settings("rows=64"))


def test_weights_of_another_tokenizer_are_refused_by_both_ids(settings: Settings, tokenizer_folder: Path) -> None:
    folder = train_gpt(settings("schedule.steps=1"))
    tokenizer = MotionTokenizer.from_pretrained(tokenizer_folder)
    assert load_gpt(folder, tokenizer).config.tokenizer_id == tokenizer.id
    tokenizer.fps = 30.0
    with pytest.raises(XNeMoError, match=rf"speaks tokens of tokenizer \w+, but the one in use is {tokenizer.id}"):
        load_gpt(folder, tokenizer)


def test_damaged_and_missing_generators_are_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match="no generator here"):
        load_gpt(tmp_path)
    folder = train_gpt(settings("schedule.steps=1"))
    weights = next(folder.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(XNeMoError, match="cannot be loaded"):
        load_gpt(folder)
