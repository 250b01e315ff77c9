"""The denoising loss asks for what the scheduler says that the denoiser predicts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler

from animator.builders import animator_config, build_animator
from animator.config_loader import load_config
from animator.errors import XNeMoError
from animator.models import AnimatorModels
from animator.models.autoencoder import decode_latents, encode_images
from animator.training.crops import FaceCrops
from animator.training.diffusion import cell_weights, denoising_target, diffusion_loss, draw
from animator.training.image_token import ImageTokens
from animator.training.pairs import PairBatch, PairSampler
from animator.training.randomness import sample_generators
from animator.training.steps import encode_motion

NO_TOKENS = ImageTokens(8)
KINDS = ("epsilon", "v_prediction", "sample")


def silent(kind: str, *overrides: str) -> AnimatorModels:
    """A tiny animator whose denoiser predicts zero, whatever it sees."""
    models = build_animator(animator_config("tiny", f"animator.scheduler.prediction_type={kind}", *overrides))
    torch.nn.init.zeros_(models.unet.conv_out.weight)
    torch.nn.init.zeros_(models.unet.conv_out.bias)
    return models


@pytest.fixture
def batch(crops_folder: Path) -> PairBatch:
    return PairSampler(FaceCrops.open(crops_folder), "train", 64, 32, None, 0).batch(2, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_who_predicts_the_target_finds_the_clean_latents(kind: str) -> None:
    scheduler = DDIMScheduler(clip_sample=False, prediction_type=kind)
    scheduler.set_timesteps(10)
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 8, 8, generator=generator)
    for timestep in scheduler.timesteps:
        timesteps = timestep.expand(3)
        target = denoising_target(scheduler, clean, noise, timesteps)
        found = scheduler.step(target, timestep, scheduler.add_noise(clean, noise, timesteps)).pred_original_sample
        torch.testing.assert_close(found, clean, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_latents_counted_from_the_portraits_begin_as_a_copy(batch: PairBatch) -> None:
    models = silent("sample", "animator.unet.reference_latents=true")
    assert models.vae is not None
    references = batch.images[:2]
    drawn = draw(models, NO_TOKENS, None, references, 4, torch.Generator().manual_seed(0))[:, 0]
    copied = decode_latents(models.vae, encode_images(models.vae, references), chunk=1)
    torch.testing.assert_close(drawn, copied, atol=1e-4, rtol=1e-4)


def test_another_prediction_type_is_refused() -> None:
    with pytest.raises(XNeMoError, match="prediction_type=flow: cannot be trained"):
        denoising_target(DDIMScheduler(prediction_type="flow"), *torch.zeros(2, 1, 4, 8, 8), torch.zeros(1).long())


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_loss_of_predicting_nothing_is_the_targets_power(kind: str, batch: PairBatch) -> None:
    models = silent(kind)
    config = load_config("train_animator", ["animator=tiny", "pairs=2", "diffusion_pairs=2", "seed=7"])
    motion = encode_motion(models.motion_encoder, batch)
    loss = diffusion_loss(models, NO_TOKENS, motion, batch, config, step=3)
    # The same draws in the same order.
    clean = PairBatch.swap(encode_images(models.vae, batch.images))
    draws = []
    for generator in sample_generators(8, 3, range(4)):
        draws.append((torch.randn(4, 1, 16, 16, generator=generator), torch.randint(1000, (1,), generator=generator)))
    noise = torch.cat([drawn.transpose(0, 1) for drawn, _ in draws])
    timesteps = torch.cat([drawn for _, drawn in draws])
    level = models.scheduler.alphas_cumprod[timesteps][:, None, None, None]
    targets = {
        "epsilon": noise,
        "sample": clean,
        # Salimans and Ho 2022, appendix D
        "v_prediction": level.sqrt() * noise - (1 - level).sqrt() * clean,
    }
    torch.testing.assert_close(loss, targets[kind].square().mean())


@torch.no_grad()
def test_regions_weigh_in_the_denoising_loss_where_that_is_asked_for(batch: PairBatch) -> None:
    clean = torch.zeros(4, 4, 1, 16, 16)
    landmarks = PairBatch.swap(batch.landmarks)[:, None]
    assert cell_weights(load_config("train_animator", ["animator=tiny"]), landmarks, clean) is None
    words = ["animator=tiny", "losses.diffusion_regions=true", "losses.background=0", "losses.face=1"]
    weights = cell_weights(load_config("train_animator", [*words, "losses.mouth=4"]), landmarks, clean)
    assert weights is not None and weights.shape == (4, 1, 1, 16, 16)
    torch.testing.assert_close(weights.mean(dim=(1, 2, 3, 4)), torch.ones(4))
    for points, shown in zip(landmarks[:, 0], weights[:, 0, 0], strict=True):
        lips, forehead = (((points[point] + 1) * 8).long().tolist() for point in (13, 151))
        assert shown[lips[1], lips[0]] > 2 * shown[forehead[1], forehead[0]] > 0
        assert shown[0, 0] == 0

    models = silent("sample", "animator.unet.reference_latents=true")
    config = load_config("train_animator", [*words, "losses.mouth=1", "pairs=2", "diffusion_pairs=2"])
    motion = encode_motion(models.motion_encoder, batch)
    loss = diffusion_loss(models, NO_TOKENS, motion, batch, config, step=0)
    latents = encode_images(models.vae, batch.images)
    moved = (PairBatch.swap(latents) - latents).square().mean(dim=1)
    face = cell_weights(config, landmarks, clean)
    assert face is not None
    torch.testing.assert_close(loss, (moved * face[:, 0, 0]).mean())


@torch.no_grad()
def test_drawing_ends_at_what_the_denoiser_says(batch: PairBatch) -> None:
    """A denoiser that sees the same clean latents at every step, zero, has drawn them."""
    models = silent("sample")
    motion = encode_motion(models.motion_encoder, batch)
    drawn = draw(models, NO_TOKENS, motion.tokens[:3, None], batch.images[:3], 4, torch.Generator().manual_seed(0))[
        :, 0
    ]
    expected = decode_latents(models.vae, torch.zeros(3, 4, 16, 16))
    torch.testing.assert_close(drawn, expected, atol=1e-4, rtol=1e-4)
