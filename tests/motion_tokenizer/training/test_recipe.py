"""The tokenizer's recipe: it learns, goes on bit for bit after a kill, keeps its best weights, and refuses bad data."""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from animator.config_loader import load_config
from animator.dataset import MotionDataset, MotionRecord, write_dataset
from animator.errors import XNeMoError
from motion_tokenizer.features import to_features
from motion_tokenizer.tokenizer import MotionTokenizer
from motion_tokenizer.training.clips import read_clips
from motion_tokenizer.training.config import TrainTokenizerConfig
from motion_tokenizer.training.recipe import train_tokenizer
from motion_tokenizer.training.validation import Validator, reconstruct
from motion_tokenizer.training.weights import load_networks
from motion_tokenizer.training.windows import WindowSampler
from tests.animator.training.runs import leaves
from tests.motion_tokenizer.synthetic import ENCODER, synthetic_motion

ROOT = Path(__file__).parents[3]
QUICK = [
    "tokenizer=tiny", "tokenizer.codes=32", "window=32", "batch=8",
    "learning_rate=3e-3", "schedule.warm_up_steps=5", "schedule.validate_steps=5", "augment.mix=0.5",
    "augment.noise=0.05", "unquantised_steps=0", "searched_steps=0",
]  # fmt: skip


def settings(dataset: Path, output: Path, steps: int, *overrides: str) -> TrainTokenizerConfig:
    words = [*QUICK, f"dataset={dataset}", f"output={output}", f"schedule.steps={steps}", *overrides]
    return load_config("train_tokenizer", words)


def checkpoint(output: Path) -> dict[str, Any]:
    return torch.load(output / "checkpoint.pt", weights_only=True)


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What two checkpoints do not have in common, the clock left out."""
    found = []
    for part in ("modules", "averages", "optimizers", "step", "history", "sums"):
        for (name, value), (_, other) in zip(leaves(a[part]), leaves(b[part]), strict=True):
            same = torch.equal(value, other) if isinstance(value, Tensor) else value == other
            if not same and not name.endswith("/minutes"):
                found.append(part + name)
    return found


# Trains in a process of its own, with a checkpoint after every step, and is killed when there are five.
KILLED = """
import os, sys, signal
from pathlib import Path
import torch
from animator.training import loop
from animator.config_loader import load_config
from motion_tokenizer.training.recipe import train_tokenizer
torch.set_num_threads(1)
config = load_config("train_tokenizer", sys.argv[1:])
save = loop.TrainingState.save
def counted(state, *where):
    save(state, *where)
    if state.step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
loop.TrainingState.save = counted
train_tokenizer(config)
"""


def test_a_killed_run_goes_on_bit_for_bit(dataset_folder: Path, tmp_path: Path) -> None:
    words = ["unquantised_steps=4", "tokenizer.quantizer.reset_threshold=0.5", "tokenizer.quantizer.decay=0.5"]
    through = settings(dataset_folder, tmp_path / "through", 12, *words)
    train_tokenizer(through)
    output = tmp_path / "killed"
    arguments = [*QUICK, f"dataset={dataset_folder}", f"output={output}", "schedule.steps=12", *words]
    script = [sys.executable, "-c", KILLED, *arguments, "schedule.checkpoint_minutes=0"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert checkpoint(output)["step"] == 7 and not (output / "weights").exists()
    train_tokenizer(settings(dataset_folder, output, 12, *words))
    whole, resumed = checkpoint(tmp_path / "through"), checkpoint(output)
    assert any("embed" in name for name, _ in leaves(whole["modules"])), "the codebook is in the checkpoint"
    rates = [figures.get("reset_rate", 0) for figures in whole["history"]]
    assert max(rates) > 0, "codes were replaced, so that the draws matter"
    assert differences(whole, resumed) == []


def test_it_learns_to_reconstruct_people_it_has_not_seen(dataset_folder: Path, tmp_path: Path) -> None:
    words = [
        "unquantised_steps=50",
        "schedule.validate_steps=50",
        "learning_rate=5e-3",
        "ema_decay=0.9",
        "augment.mix=0",
    ]
    weights = train_tokenizer(
        settings(dataset_folder, tmp_path, 150, *words, "losses.boxes=0.1", "tokenizer.codes=128")
    )
    networks = load_networks(weights)
    # Before training both are above 1.1.
    assert networks.record["best"]["error"] < 0.85
    assert networks.record["history"][-1]["train_error"] < 0.5
    # What the validation scores is what users of the weights get.
    tokenizer, motion = MotionTokenizer.from_pretrained(weights), synthetic_motion(61, seed=77)
    assert tokenizer.encoder_id == ENCODER
    ours = tokenizer.reconstruct(motion)
    features, tokens = reconstruct(networks.model, to_features(motion.latents, motion.boxes))
    assert torch.equal(tokens, tokenizer.encode(motion).tokens)
    assert torch.allclose(to_features(ours.latents, ours.boxes), features, atol=1e-4)


@pytest.mark.parametrize("kind", ["ema", "rotation", "simvq", "fsq", "cosine", "none"])
def test_every_quantiser_trains(dataset_folder: Path, tmp_path: Path, kind: str) -> None:
    words = ["tokenizer.codes=256", f"tokenizer.quantizer.kind={kind}", "pool_vectors_per_code=2"]
    networks = load_networks(train_tokenizer(settings(dataset_folder, tmp_path, 2, *words)))
    features, tokens = reconstruct(networks.model, torch.randn(10, 515))
    assert features.shape == (10, 515) and tokens.shape == (3, 0 if kind == "none" else 1)
    assert networks.encoder_id == ENCODER and networks.record["settings"]["tokenizer"]["quantizer"]["kind"] == kind


def test_residual_levels_train(dataset_folder: Path, tmp_path: Path) -> None:
    networks = load_networks(train_tokenizer(settings(dataset_folder, tmp_path, 2, "tokenizer.levels=2")))
    assert reconstruct(networks.model, torch.randn(8, 515))[1].shape == (2, 2)


def test_the_average_has_the_codebook_of_the_moment(dataset_folder: Path, tmp_path: Path) -> None:
    train_tokenizer(settings(dataset_folder, tmp_path, 8, "ema_decay=0.999"))
    content = checkpoint(tmp_path)
    trained, average = content["modules"]["tokenizer"], content["averages"]["tokenizer"]
    codebook = [name for name in trained if name.startswith("bottleneck.")]
    assert len(codebook) > 2
    assert all(torch.equal(trained[name], average[name]) for name in codebook)
    assert not torch.equal(trained["encoder.enter.weight"], average["encoder.enter.weight"])


def test_the_codebook_starts_when_the_encoder_is_warm(dataset_folder: Path, tmp_path: Path) -> None:
    train_tokenizer(settings(dataset_folder, tmp_path, 11, "unquantised_steps=10", "tokenizer.quantizer.decay=1"))
    history = checkpoint(tmp_path)["history"]
    assert ["error" in figures for figures in history] == [False, False, True]
    # With a decay of 1 codes stay where k-means put them: among the vectors of the warmed-up encoder.
    networks = load_networks(tmp_path / "weights")
    clips = read_clips(MotionDataset.open(dataset_folder), "train", 25.0, 4, False)
    with torch.no_grad():
        vectors = networks.model.encode_continuous(WindowSampler(clips, 32, 64, 0.5, None, 0).draw(0).features)
    vectors, codes = vectors.flatten(0, 1), networks.model.bottleneck.codebooks[0]
    nearest = torch.cdist(codes, vectors).min(dim=1).values
    assert nearest.median() < 0.5 * vectors.std(dim=0).norm()


def test_at_the_end_the_decoder_alone_learns_from_searched_tokens(dataset_folder: Path, tmp_path: Path) -> None:
    words = ("tokenizer.search=4", "ema_decay=0", "schedule.warm_up_steps=0")
    train_tokenizer(settings(dataset_folder, tmp_path, 4, *words))
    before = checkpoint(tmp_path)["modules"]["tokenizer"]
    train_tokenizer(settings(dataset_folder, tmp_path, 6, *words, "searched_steps=2", "weight_decay=0"))
    after = checkpoint(tmp_path)["modules"]["tokenizer"]
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder"}


def test_the_weights_are_those_of_the_smallest_error(dataset_folder: Path, tmp_path: Path) -> None:
    wild = ["schedule.validate_steps=1", "learning_rate=2e-2", "ema_decay=0", "schedule.patience=0"]
    config = settings(dataset_folder, tmp_path, 12, *wild)
    networks = load_networks(train_tokenizer(config))
    errors = [figures["error"] for figures in networks.record["history"]]
    assert networks.record["best"]["error"] == min(errors) < errors[-1], "the last weights are not the best ones"
    dataset = MotionDataset.open(dataset_folder)
    clips = [read_clips(dataset, split, 25.0, 4, False) for split in ("validation", "train")]
    figures, _ = Validator(clips[0], clips[1], config.losses.boxes)._errors(networks.model, clips[0].clips(), True)
    assert figures["error"] == pytest.approx(min(errors), rel=1e-5)


def test_training_goes_on_from_finished_weights(dataset_folder: Path, tmp_path: Path) -> None:
    first = train_tokenizer(settings(dataset_folder, tmp_path / "first", 6))
    before = load_networks(first).record["best"]["error"]
    still = ["learning_rate=0", "tokenizer.quantizer.decay=1", f"start_from={first}"]
    second = train_tokenizer(settings(dataset_folder, tmp_path / "second", 1, *still))
    assert load_networks(second).record["best"]["error"] == pytest.approx(before, rel=1e-3)


def test_the_record_tells_the_data_and_no_place_of_this_machine(dataset_folder: Path, tmp_path: Path) -> None:
    weights = train_tokenizer(settings(dataset_folder, tmp_path, 1))
    record = load_networks(weights).record
    assert record["data"]["train"]["frames"] == sum(30 + 2 * n for n in range(12))
    assert record["data"]["validation"]["tokens"] == sum(30 + 2 * n for n in range(12, 15)) // 4
    assert str(tmp_path) not in (weights / "training.json").read_text()


# Bad data and bad settings.


def written(folder: Path, *motions: MotionRecord) -> Path:
    write_dataset(folder, motions)
    return folder


def record(name: str, split: str, frames: int, **change: Any) -> MotionRecord:
    return MotionRecord(name, name, None, None, split, None, replace(synthetic_motion(frames, 1), **change))


def test_a_dataset_without_usable_clips_is_refused(tmp_path: Path) -> None:
    short = written(tmp_path / "a", record("a", "train", 3), record("b", "validation", 40))
    with pytest.raises(XNeMoError, match="a: no clip of 4 frames or more in the train split"):
        train_tokenizer(settings(short, tmp_path / "out", 1))
    alone = written(tmp_path / "b", record("a", "train", 40))
    with pytest.raises(XNeMoError, match="b: no clip of 4 frames or more in the validation split"):
        train_tokenizer(settings(alone, tmp_path / "out", 1))
    assert not (tmp_path / "out").exists()


def test_latents_that_do_not_move_are_refused(tmp_path: Path) -> None:
    still = written(
        tmp_path / "still",
        record("a", "train", 40, latents=torch.ones(40, 512)),
        record("b", "validation", 40),
    )
    with pytest.raises(XNeMoError, match="still: all latents of the training split are the same"):
        train_tokenizer(settings(still, tmp_path / "out", 1))


def test_a_head_that_stays_in_place_trains(tmp_path: Path) -> None:
    boxes = torch.tensor([0.0, 0.0, 1.0]).repeat(40, 1)
    folder = written(tmp_path / "d", record("a", "train", 40, boxes=boxes), record("b", "validation", 40, boxes=boxes))
    networks = load_networks(train_tokenizer(settings(folder, tmp_path / "out", 2, "pool_vectors_per_code=1")))
    assert (networks.model.std[512:] > 0).all()


def test_too_few_frames_for_the_codebook_are_refused(dataset_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match="its 492 training frames are fewer than the 4096 codes to start from them"):
        train_tokenizer(settings(dataset_folder, tmp_path, 2, "tokenizer.codes=4096"))


def test_nan_is_refused_before_it_is_in_a_dataset() -> None:
    with pytest.raises(ValueError, match="latents hold NaN"):
        record("a", "train", 40, latents=torch.full((40, 512), torch.nan))


def test_an_exploding_run_ends_and_keeps_the_checkpoint(dataset_folder: Path, tmp_path: Path) -> None:
    train_tokenizer(settings(dataset_folder, tmp_path, 2))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(XNeMoError, match=r"is not finite at step \d+; the last checkpoint is kept"):
        train_tokenizer(settings(dataset_folder, tmp_path, 40, "learning_rate=1e30"))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_weights_of_another_encoder_are_no_start(dataset_folder: Path, tmp_path: Path) -> None:
    first = train_tokenizer(settings(dataset_folder, tmp_path / "first", 1))
    other = {"encoder_id": "encoder-b"}
    folder = written(tmp_path / "d", record("a", "train", 60, **other), record("b", "validation", 40, **other))
    with pytest.raises(XNeMoError, match="trained for motion encoder encoder-a, but the dataset is of encoder-b"):
        train_tokenizer(settings(folder, tmp_path / "second", 1, f"start_from={first}"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["window=30"], "window=30: must be a multiple of tokenizer.stride=4"),
        (["unquantised_steps=2"], "unquantised_steps=2: leaves none of the schedule.steps=2"),
        (["start_from=absent"], "absent: no tokenizer here"),
        (["dataset=absent"], "absent: no such motion dataset"),
        (["tokenizer.quantizer.kind=fsq", "tokenizer.codes=64"], "fsq_levels"),
    ],
)
def test_settings_that_do_not_go_together_are_named(
    dataset_folder: Path, tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(XNeMoError, match=message):
        train_tokenizer(settings(dataset_folder, tmp_path, 2, *overrides))


def test_a_full_disk_is_one_clear_line_and_keeps_the_checkpoint(dataset_folder: Path, tmp_path: Path) -> None:
    train_tokenizer(settings(dataset_folder, tmp_path, 1))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(XNeMoError, match=r"checkpoint.pt: cannot be written"):
            train_tokenizer(settings(dataset_folder, tmp_path, 2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.glob(".xnemo-*"))
    train_tokenizer(settings(dataset_folder, tmp_path, 2))
