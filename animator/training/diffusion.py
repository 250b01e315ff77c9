"""L_ldm, Eq. 1: the denoising loss on image pairs, with reference feature masking and condition dropout."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from animator.models import AnimatorModels
from animator.models.autoencoder import encode_images
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
    """Mean squared error of the predicted noise on single frames; gradients reach the motion encoder.

    The first `condition_dropout` share of the samples is trained on Eq. 2's negative condition: no reference
    features, and the reference image's own motion.
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

    image_token = torch.zeros(count, 1, models.unet.config.cross_attention_dim, device=device)
    features = models.reference_net(clean[dropped:], image_token[dropped:])
    features = features.masked(config.reference_masking, generator)
    tokens = torch.cat([motion.reference_tokens[picked[:dropped]], motion.tokens[picked[dropped:]]])
    predicted = models.unet(
        noisy[:, :, None], timesteps, image_token, tokens[:, None], features, unconditional=dropped, temporal=False
    )
    return F.mse_loss(predicted[:, :, 0], noise)
