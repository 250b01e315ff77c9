"""X-Portrait's control is trained: strangers drive, shapes are blurred, each control can be missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from animator.builders import animator_config, build_animator
from animator.errors import XNeMoError
from animator.pipeline import XNeMoPipeline
from animator.training.crops import FaceCrops
from animator.training.drivers import Drivers, laid_on, mesh_points, scaled
from animator.training.pairs import PairBatch, PairSampler
from animator.training.recipe import train_animator
from animator.training.stages.pictures import PicturesStage
from tests.animator.tiny import shake
from tests.animator.training.runs import settings, stage_of

SIZE = ["animator=xportrait-tiny", "image_size=64"]


def test_drivers_are_laid_on_the_reference_and_scaled_about_the_face() -> None:
    pictures = torch.full((2, 3, 64, 64), -1.0)
    pictures[:, :, 40:48, 8:16] = 1.0
    points = torch.tensor([[-0.6, 0.3], [-0.4, 0.5], [-0.5, 0.4], [-0.5, 0.4], [-0.6, 0.4], [-0.4, 0.4]]).repeat(
        2, 1, 1
    )
    moved = laid_on(Drivers(pictures, points), points, points * 2 + 1.0)
    assert torch.allclose(moved.points, points * 2 + 1.0, atol=1e-5)
    # The square's middle, (-0.625, 0.375), comes to (-0.25, 1.75): out of sight; a smaller shift keeps it.
    assert (moved.pictures == -1).all()
    still = laid_on(Drivers(pictures, points), points, points + torch.tensor([0.5, -0.5]))
    lit = (still.pictures[0, 0] > 0).nonzero()
    assert lit.amin(dim=0).tolist() == [24, 24] and lit.amax(dim=0).tolist() == [31, 31]
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    wider = scaled(Drivers(pictures, points), 0.3, generators)
    factor = (wider.points.amax(dim=1) - wider.points.amin(dim=1)) / 0.2
    assert (factor + 1e-4 >= 0.7).all() and (factor <= 1.3 + 1e-4).all() and factor.std() > 0.01
    assert torch.allclose(wider.points.mean(dim=1), points.mean(dim=1), atol=1e-5)


def test_parts_are_squares_about_eyes_and_mouth() -> None:
    points = torch.tensor([[[-0.4, -0.2], [0.4, -0.2], [0.0, 0.0], [0.0, 0.5], [-0.8, 0.0], [0.8, 0.0]]])
    shown = Drivers(torch.ones(1, 3, 64, 64), points).local()
    assert (shown > 0).any(dim=1).sum() == 3 * 16 * 16
    assert shown[0, 0, 26, 19] == 1 and shown[0, 0, 48, 32] == 1 and shown[0, 0, 32, 32] == -1


def test_a_stranger_moves_as_the_target_does(crops_folder: Path, tmp_path: Path) -> None:
    config = settings("pictures", crops_folder, tmp_path, 1, *SIZE)
    stage = stage_of(config)
    assert isinstance(stage, PicturesStage)
    size = stage.models.motion_encoder.config.image_size
    batch = PairSampler(FaceCrops.open(crops_folder), "train", 64, size, None, 0).batch(2, 0)
    # The clips show one person; the second pair's looks are made another's.
    looks = batch.images.clone()
    looks[[1, 3]] = -looks[[1, 3]]
    batch = replace(batch, images=looks)
    drivers = stage.renderer.strangers(batch)
    assert drivers.pictures.shape == batch.images.shape and drivers.pictures.isfinite().all()
    shown, target = drivers.pictures[0], PairBatch.swap(batch.images)[0]
    assert (shown - batch.images[1]).abs().mean() < 0.5 * (shown - target).abs().mean()
    assert (drivers.points - mesh_points(batch.landmarks)).abs().mean() < 0.3


def test_both_stages_train_what_they_name_and_the_result_animates(crops_folder: Path, tmp_path: Path) -> None:
    vae = build_animator(animator_config("xportrait-tiny")).vae
    assert vae is not None
    vae.save_pretrained(tmp_path / "start" / "vae")
    words = [*SIZE, "gradient_checkpointing=true", "drivers=themselves"]
    first = settings("pictures", crops_folder, tmp_path / "one", 2, *words, f"start_from={tmp_path / 'start'}")
    pictures = XNeMoPipeline.from_pretrained(train_animator(first))
    assert pictures.control is not None and pictures.motion_encoder is None
    fresh = build_animator(first.animator, first.seed)
    before, after = fresh.unet.state_dict(), pictures.unet.float().state_dict()
    moved = {name for name in before if not torch.allclose(before[name], after[name], atol=1e-3)}
    assert moved and not any(".motion_modules." in name for name in moved)
    assert any(weight.any() for weight in pictures.control.face.controlnet_down_blocks.parameters())
    second = settings(
        "pictures_temporal", crops_folder, tmp_path / "two", 2, *SIZE, f"start_from={tmp_path / 'one' / 'weights'}"
    )
    temporal = XNeMoPipeline.from_pretrained(train_animator(second))
    for name in ("control", "reference_net"):
        ours, theirs = (getattr(pipe, name).float().state_dict() for pipe in (temporal, pictures))
        assert all(torch.allclose(ours[key], theirs[key], atol=1e-3) for key in ours)
    changed = temporal.unet.float().state_dict()
    moved = {name for name in after if not torch.allclose(after[name], changed[name], atol=1e-3)}
    assert moved and all(".motion_modules." in name for name in moved)


def test_controlnets_begin_as_the_denoisers_encoder_and_a_control_that_is_left_out_adds_nothing(
    crops_folder: Path, tmp_path: Path
) -> None:
    stage = stage_of(settings("pictures", crops_folder, tmp_path, 1, *SIZE), shaken=True)
    assert isinstance(stage, PicturesStage)
    stage.control.begin_as(stage.models.unet)
    control, unet = stage.control, stage.models.unet.state_dict()
    encoder = {name for name in control.face.state_dict() if name.startswith(("conv_in", "down_blocks", "mid_block"))}
    assert encoder <= unet.keys()
    assert all(torch.equal(control.face.state_dict()[name], unet[name]) for name in encoder)
    shake(control)
    latents, pictures = torch.randn(2, 4, 16, 16), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        both = control(latents, torch.tensor(5), pictures, pictures, torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        face = control(latents, torch.tensor(5), pictures, None)
    torch.testing.assert_close(both.middle[0], face.middle[0])
    assert not both.middle[1].any() and not both.skips[0][1].any()


def test_another_architecture_is_refused(crops_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match="choose animator=xportrait"):
        stage_of(settings("pictures", crops_folder, tmp_path, 1))
