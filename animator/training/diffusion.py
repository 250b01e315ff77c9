"""L_ldm, Eq. 1: the denoising loss on image pairs, with reference feature masking and condition dropout."""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler
from torch import Tensor
from torch.nn import functional as F

from animator.errors import XNeMoError
from animator.models import AnimatorModels
from animator.models.autoencoder import decode_latents, encode_images
from animator.training.config import TrainAnimatorConfig
from animator.training.pairs import PairBatch
from animator.training.steps import Motion


def diffusion_loss(
    models: AnimatorModels,
    motion: Motion,
    batch: PairBatch,
    config: TrainAnimatorConfig,
    generator: torch.Generator,
) -> Tensor:
    """Mean squared error of the denoiser's prediction on single frames; gradients reach the motion encoder.

    The first `condition_dropout` share of the samples is trained on Eq. 2's negative condition: no reference
    features, and the reference image's own motion.

    Args:
        generator: CPU generator that noise, noise levels and masks are drawn from; the batch makes no other choice.
    """
    assert models.vae is not None
    pairs = len(batch.images) // 2
    picked = torch.arange(min(config.diffusion_pairs, pairs))
    picked = torch.cat([picked, picked + pairs])
    count = len(picked)
    device = batch.images.device
    with torch.no_grad():
        clean = encode_images(models.vae, batch.images[picked])
    target = PairBatch.swap(clean)
    dropped = round(count * config.condition_dropout)

    noise = torch.randn(target.shape, generator=generator).to(device)
    steps = models.scheduler.config.num_train_timesteps
    timesteps = torch.randint(steps, (count,), generator=generator).to(device)
    noisy = models.scheduler.add_noise(target, noise, timesteps)

    image_token = _no_image_token(models, count, device)
    features = models.reference_net(clean[dropped:], image_token[dropped:])
    features = features.masked(config.reference_masking, generator)
    tokens = torch.cat([motion.reference_tokens[picked[:dropped]], motion.tokens[picked[dropped:]]])
    predicted = models.unet(
        noisy[:, :, None], timesteps, image_token, tokens[:, None], features, unconditional=dropped, temporal=False
    )
    return F.mse_loss(predicted[:, :, 0], denoising_target(models.scheduler, target, noise, timesteps))


def denoising_target(scheduler: DDIMScheduler, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the denoiser has to predict, by the scheduler's `prediction_type`: the noise, the velocity or the sample.

    Args:
        clean: latents without noise, (N, channels, h, w).
        noise: what was added to them, of the same shape.
        timesteps: at which noise levels, (N,).
    Raises:
        XNeMoError: another prediction type.
    """
    kind = scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        return scheduler.get_velocity(clean, noise, timesteps)
    if kind == "sample":
        return clean
    raise XNeMoError(f"prediction_type={kind}: cannot be trained; it may be epsilon, v_prediction or sample")


@torch.no_grad()
def draw(models: AnimatorModels, motion: Motion, references: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    """Draw pictures with their partners' motion, each as a frame by itself: DDIM without guidance.

    Args:
        motion: of the batch whose first images the references are.
        references: (N, 3, S, S) in [-1, 1].
        steps: DDIM steps.
        generator: CPU generator of the starting noise.
    Returns:
        (N, 3, S, S) in [-1, 1].
    """
    assert models.vae is not None
    count, device = len(references), references.device
    image_token = _no_image_token(models, count, device)
    clean = encode_images(models.vae, references)
    reference = models.unet.project_reference(models.reference_net(clean, image_token))
    scheduler = DDIMScheduler.from_config(models.scheduler.config)
    scheduler.set_timesteps(steps)
    latents = torch.randn(clean.shape, generator=generator).to(device)
    for timestep in scheduler.timesteps:
        predicted = models.unet(
            latents[:, :, None], timestep, image_token, motion.tokens[:count, None], reference, temporal=False
        )
        latents = scheduler.step(predicted[:, :, 0], timestep, latents).prev_sample
    # One by one: a decoder that sees neighbouring frames would take these for such.
    return decode_latents(models.vae, latents, chunk=1)


def _no_image_token(models: AnimatorModels, count: int, device: torch.device) -> Tensor:
    """The image token that stands for none, (N, 1, D)."""
    return torch.zeros(count, 1, models.unet.config.cross_attention_dim, device=device)
