"""What a long run relies on: any kill is survived bit for bit, processes add up, a tiny set is learnt by heart."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from animator.builders import animator_config, build_animator
from animator.training.crops import FaceCrops
from animator.training.loop import CHECKPOINT
from animator.training.optimisers import build_optimizer
from animator.training.randomness import WHOLE
from animator.training.recipe import train_animator
from tests.animator.training.runs import check_same, logged, settings, stage_of

EVERYTHING = ("modules", "averages", "optimizers", "step")
# Children are forked, because importing torch once more takes longer than what they do.
PROCESSES = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the networks that the motion stage builds on."""
    folder = tmp_path_factory.mktemp("start")
    models = build_animator(animator_config("tiny"), 1)
    for name in ("vae", "reference_net", "unet"):
        getattr(models, name).save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _validates_little(small_validations: None) -> None:
    """Here the training is what counts."""


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    """accelerate remembers how many processes there are; each test begins without that."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def run(crops: Path, start: Path, output: Path, steps: int, *overrides: str) -> None:
    words = [f"start_from={start}", "schedule.checkpoint_minutes=0", "schedule.log_steps=1", "schedule.decay_steps=4"]
    train_animator(settings("motion", crops, output, steps, *words, *overrides))


def checkpoint(output: Path) -> dict[str, Any]:
    return torch.load(output / CHECKPOINT, weights_only=True)


STEPS = 4


def torn_at_the_second(crops: Path, start: Path, output: Path) -> None:
    """A run that is killed when its second checkpoint is half written."""
    whole, written = torch.save, []

    def torn(content: Any, path: Path) -> None:
        whole(content, path)
        written.append(path)
        if len(written) == 2:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    torch.save = torn  # in the child alone
    run(crops, start, output, STEPS)


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(
    crops_folder: Path, start: Path, tmp_path: Path
) -> None:
    through, killed = tmp_path / "through", tmp_path / "killed"
    run(crops_folder, start, through, STEPS)
    child = PROCESSES.Process(target=torn_at_the_second, args=(crops_folder, start, killed))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert list(killed.glob(".xnemo-*")) and checkpoint(killed)["step"] == 1
    chance, reached = random.Random(0), []
    for _ in range(2):
        child = PROCESSES.Process(target=run, args=(crops_folder, start, killed, STEPS))
        child.start()
        # At any moment: while it builds, trains, and writes, which it does after every step.
        child.join(chance.uniform(0.5, 2.5))
        child.kill()
        child.join()
        reached.append(checkpoint(killed)["step"])
    run(crops_folder, start, killed, STEPS)
    check_same(checkpoint(through), checkpoint(killed), EVERYTHING)
    assert not list(killed.glob(".xnemo-*")), reached
    whole, resumed = logged(through), logged(killed)
    for name in ("loss/diffusion", "loss/discriminator", "gradient/model", "rate/model"):
        assert resumed[name].items() <= whole[name].items(), (name, reached)


def one_of_two(rank: int, port: int, *words: Any) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    run(*words)


def test_two_processes_have_the_losses_of_one(crops_folder: Path, start: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = (crops_folder, start, tmp_path / "two", 2, "pairs=4", "diffusion_pairs=2")
    children = [PROCESSES.Process(target=one_of_two, args=(rank, port, *together)) for rank in range(2)]
    for child in children:
        child.start()
    run(crops_folder, start, tmp_path / "one", 2, "pairs=4", "diffusion_pairs=2")
    for child in children:
        child.join(300)
    assert [child.exitcode for child in children] == [0, 0]
    one, two = logged(tmp_path / "one"), logged(tmp_path / "two")
    terms = {name for name in one if name.startswith(("loss/", "gradient/"))}
    assert terms == {name for name in two if name.startswith(("loss/", "gradient/"))} and len(terms) > 5
    for name in terms:
        for step, value in one[name].items():
            assert two[name][step] == pytest.approx(value, rel=2e-3, abs=1e-5), (name, step)
    # The batch normalisations have seen the same batches.
    first, second = (checkpoint(tmp_path / run)["modules"]["motion_encoder"] for run in ("one", "two"))
    torch.testing.assert_close(second["stem.1.running_var"], first["stem.1.running_var"], rtol=1e-3, atol=1e-5)


def test_parts_of_a_step_add_up_to_the_whole(crops_folder: Path, start: Path, tmp_path: Path) -> None:
    """Without what looks at a batch as a whole: the image stage has no batch normalisation."""
    words = [f"start_from={start}", "schedule.log_steps=1", "diffusion_pairs=2", "condition_dropout=0.5"]
    for parts in (1, 2):
        output = tmp_path / str(parts)
        train_animator(settings("image", crops_folder, output, 2, f"accumulate={parts}", *words))
    whole, added = (logged(tmp_path / str(parts)) for parts in (1, 2))
    for name in ("loss/diffusion", "gradient/model"):
        assert list(added[name].values()) == pytest.approx(list(whole[name].values()), rel=1e-3)


def test_eight_frames_are_learnt_by_heart(crops_folder: Path, tmp_path: Path) -> None:
    """Always the same 8 frames, noise and noise levels: nothing stands in the way of a loss of zero."""
    words = [
        "image_size=32",
        "pairs=4",
        "diffusion_pairs=4",
        "losses.adversarial=0",
        "augmented=false",
        "condition_dropout=0",
    ]
    words += ["train_backbone=true", "reference_masking=0", "learning_rate=3e-3", "weight_decay=0", "train_gan=false"]
    stage = stage_of(settings("motion", crops_folder, tmp_path, 1, *words, "animator.scheduler.prediction_type=sample"))
    (batch,) = next(stage.stream(FaceCrops.open(crops_folder), 0, [WHOLE]))
    optimizer = build_optimizer(stage.config, stage.modules.values())
    first = last = stage.losses(batch, 0).terms["diffusion"].item()
    for _ in range(OVERFIT_STEPS):
        optimizer.zero_grad()
        loss = stage.losses(batch, 0).terms["diffusion"]
        loss.backward()
        optimizer.step()
        last = loss.item()
    assert last < 0.05 * first


OVERFIT_STEPS = 40
