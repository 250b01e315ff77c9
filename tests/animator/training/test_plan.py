"""What a run will take is counted before it begins, and what will not fit does not begin."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from animator.errors import XNeMoError
from animator.training.checks import check_settings
from animator.training.crops import FaceCrops
from animator.training.optimisers import build_optimizer
from animator.training.plan import check_plan, plan_run
from animator.training.randomness import WHOLE
from animator.training.ranks import Ranks
from tests.animator.training.runs import settings, stage_of

CPU = torch.device("cpu")


def test_parameters_are_those_that_the_optimiser_gets(tmp_path: Path) -> None:
    for stage in ("motion", "temporal"):
        config = settings(stage, tmp_path, tmp_path, 1)
        plan, built = plan_run(config, Ranks(), CPU), stage_of(config)
        optimizer = build_optimizer(config, built.modules.values())
        count = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
        assert sum(plan.trained.values()) - plan.trained.get("discriminator", 0) == count > 0
        assert plan.parameters["unet"] == sum(p.numel() for p in built.models.unet.parameters())
        assert all(f"{plan.trained.get(name, 0):,}" in plan.table() for name in plan.parameters)
        assert plan.operations > 1e6 and 0 < plan.seconds < 100


def test_what_is_kept_is_what_a_real_step_keeps(crops_folder: Path) -> None:
    config = settings("image", crops_folder, crops_folder, 1, "condition_dropout=0")
    stage = stage_of(config)
    (batch,) = next(stage.stream(FaceCrops.open(crops_folder), 0, [WHOLE]))
    weights = {p.data_ptr() for module in stage.modules.values() for p in module.parameters()}
    kept: dict[int, int] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with saved_tensors_hooks(keep, lambda x: x):
        losses = stage.losses(batch, 0)
    counted = plan_run(config, Ranks(), CPU).activations
    assert counted == pytest.approx(sum(kept.values()), rel=0.25)
    losses.terms["diffusion"].backward()
    less = plan_run(settings("image", crops_folder, crops_folder, 1, "gradient_checkpointing=true"), Ranks(), CPU)
    assert less.activations < 0.6 * counted


def test_what_does_not_fit_is_refused_with_what_would_take_less(tmp_path: Path) -> None:
    config = settings("motion", tmp_path, tmp_path, 1)
    plan = plan_run(config, Ranks(), CPU)
    check_plan(plan, config)
    with pytest.raises(
        XNeMoError, match=r"a step needs about .* GiB, and .* are free; try gradient_checkpointing=true"
    ):
        check_plan(replace(plan, available=plan.total / 2), config)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pairs=3", "accumulate=2"], "pairs=3 cannot be divided among 1 processes x accumulate=2"),
        (["end_to_end=false"], "end_to_end=false: schedule.head_steps says"),
        (["end_to_end=false", "train_gan=false"], "switch train_encoder, train_gan and train_diffusion on"),
        (["image_size=32"], "discriminator.image_size=64, which is larger"),
        (["trackers=[paper]"], r"trackers=\[paper\]: accelerate has .*wandb"),
    ],
)
def test_settings_that_do_not_go_together_are_named(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match=message):
        check_settings(settings("motion", tmp_path, tmp_path, 1, *words), Ranks())


def test_eight_bit_adam_without_its_package_is_refused_in_one_line(tmp_path: Path) -> None:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        with pytest.raises(XNeMoError, match="optimizer=adamw8bit needs bitsandbytes"):
            build_optimizer(settings("motion", tmp_path, tmp_path, 1, "optimizer=adamw8bit"), [torch.nn.Linear(2, 2)])
    else:
        pytest.skip("bitsandbytes is installed")
