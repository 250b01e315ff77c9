"""Each ablation of Table 2 and of appendix B is one word, takes out what it names, and learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from animator.config_loader import group_options, load_config
from animator.errors import XNeMoError
from animator.models.motion_unet import MotionUNet
from animator.training.checks import check_settings
from animator.training.crops import FaceCrops
from animator.training.randomness import WHOLE
from animator.training.ranks import Ranks
from animator.training.stages import Stage
from tests.animator.training.runs import settings, stage_of

ABLATIONS = sorted(set(group_options("ablation")) - {"none"})
# What differs from the whole recipe by a number alone, or not at all, is not computed again.
BY_NUMBER = {"no_rfm", "latent_512", *(name for name in ABLATIONS if name.startswith("masking_"))}


def ablated(crops: Path, name: str, *overrides: str) -> Stage:
    words = ["pairs=1", "diffusion_pairs=1", f"ablation={name}", *overrides]
    config = settings("motion", crops, crops, 1, *words)
    check_settings(config, Ranks())
    return stage_of(config, shaken=True)


def slopes(stage: Stage, crops: Path, step: int = 0) -> dict[str, float]:
    """One backward pass: the largest gradient of each network that has any."""
    (batch,) = next(stage.stream(FaceCrops.open(crops), step, [WHOLE]))
    losses = stage.losses(batch, step)
    assert all(torch.isfinite(term) for term in losses.terms.values())
    torch.stack(list(losses.terms.values())).sum().backward()
    found = {}
    for name, module in stage.modules.items():
        grads = [p.grad.abs().max().item() for p in module.parameters() if p.grad is not None]
        if grads:
            found[name] = max(grads)
    return found


@pytest.mark.parametrize("name", ABLATIONS)
def test_it_takes_out_what_it_names(name: str, tmp_path: Path) -> None:
    config = settings("motion", tmp_path, tmp_path, 1, f"ablation={name}")
    check_settings(config, Ranks())
    kind, _, amount = name.rpartition("_")
    masked = int(amount) / 100 if kind == "masking" else 0.0 if name == "no_rfm" else 0.3
    assert config.reference_masking == masked
    assert config.animator.motion_encoder.latent_dim == (int(amount) if kind == "latent" else 512)
    assert config.augmented == (name != "no_augmentation")


@pytest.mark.parametrize("name", sorted(set(ABLATIONS) - BY_NUMBER))
def test_the_rest_learns(name: str, crops_folder: Path) -> None:
    stage = ablated(crops_folder, name)
    found = slopes(stage, crops_folder, step=stage.config.schedule.head_steps)
    expected = {"motion_encoder", "gan_head", "unet"}
    # Behind its first phase, "w/o e2e" has a finished encoder and head.
    expected -= {"no_gan_head": {"gan_head"}, "no_e2e": {"motion_encoder", "gan_head"}}.get(name, set())
    assert {module for module, slope in found.items() if slope > 0} == expected
    assert stage.models.motion_encoder.config.latent_dim == stage.config.animator.motion_encoder.latent_dim
    assert (stage.models.unet.control is None) == (name != "no_cross_attention")


def test_without_augmentation_crops_are_as_they_are(crops_folder: Path) -> None:
    crops = FaceCrops.open(crops_folder)
    batches = []
    for name in ("none", "no_augmentation"):
        stage = ablated(crops_folder, name)
        batches += next(stage.stream(crops, 0, [WHOLE]))
    augmented, plain = batches
    assert torch.equal(plain.rts.abs(), augmented.rts.abs()) and not torch.allclose(plain.crops, augmented.crops)


def test_without_end_to_end_the_head_comes_first_and_the_encoder_stays(crops_folder: Path) -> None:
    stage = ablated(crops_folder, "no_e2e", "schedule.head_steps=1")
    assert set(slopes(stage, crops_folder, step=0)) == {"motion_encoder", "gan_head"}
    encoder = stage.models.motion_encoder
    for module in stage.modules.values():
        module.zero_grad(set_to_none=True)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    assert set(slopes(stage, crops_folder, step=1)) == {"unet"}
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_a_latent_that_the_networks_do_not_agree_on_is_refused(crops_folder: Path) -> None:
    config = settings("motion", crops_folder, crops_folder, 1, "animator.motion_encoder.latent_dim=128")
    with pytest.raises(XNeMoError, match=r"animator\.unet\.motion_token_dim=16, but a latent of 128 .* wants 4"):
        check_settings(config, Ranks())


def additive() -> MotionUNet:
    config = load_config("architecture", ["animator=tiny", "animator.unet.motion_control=additive"]).animator
    from animator.builders import build_animator

    return build_animator(config).unet.eval()


@torch.no_grad()
def test_added_maps_carry_the_motion_and_start_without_effect(tmp_path: Path) -> None:
    unet = additive()
    assert not any(".motion_attention." in name for name, _ in unet.named_parameters())
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 3, 16, 16, generator=generator)
    tokens = torch.randn(1, 3, 32, 16, generator=generator)

    def predict(net: MotionUNet, motion: Tensor | None) -> Tensor:
        return net(latents, 500, torch.zeros(1, 1, 8), motion)

    assert torch.equal(predict(unet, tokens), predict(unet, None))
    for parameter in unet.control.parameters():
        parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    moved = predict(unet, tokens)
    changed = predict(unet, torch.cat([tokens[:, :2], -tokens[:, 2:]], dim=1)) - moved
    # Without temporal attention's projections a frame's motion is its own affair.
    assert changed[:, :, 2].abs().max() > 1e-4 and changed[:, :, :2].abs().max() < 1e-6
    unet.save_pretrained(tmp_path)
    assert torch.equal(predict(MotionUNet.from_pretrained(tmp_path), tokens), moved)
