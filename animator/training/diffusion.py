"""L_ldm, Eq. 1: the denoising loss, with reference feature masking and condition dropout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler
from torch import Tensor
from torch.nn import functional as F

from animator.errors import XNeMoError
from animator.models import AnimatorModels
from animator.models.autoencoder import decode_latents, encode_images
from animator.models.motion_control import ControlResiduals
from animator.training.clips import ClipBatch
from animator.training.config import TrainAnimatorConfig
from animator.training.image_token import ImageTokens
from animator.training.losses import region_weights
from animator.training.pairs import PairBatch
from animator.training.randomness import sample_generators
from animator.training.steps import Motion

FINER = 4  # of the map of weights, before it is averaged to latent pixels
# Noisy latents of windows and their noise levels -> what a control adds.
Told = Callable[[Tensor, Tensor], ControlResiduals | None]


@dataclass(frozen=True)
class Denoising:
    """What the denoiser is trained on: B windows of F frames.

    Attributes:
        clean: latents of the target frames, (B, channels, F, h, w).
        references: latents of the reference pictures, (B, channels, h, w).
        image_tokens: of the references, (B, 1, D).
        tokens: the motion of each frame, (B, F, L, d); None: it is not read.
        dropped: so many windows at the start are trained on Eq. 2's negative condition: no reference features, and no
            image token; their tokens hold the reference's own motion.
        weights: of the latent pixels, (B, 1, F, h, w) of mean 1; None: all count alike, as in the paper.
        told: what a control adds to the windows that are not dropped (`animator.controls`); the reference net then
            hears their noise levels, and `image_tokens` is a prompt, which dropped windows keep. None: X-NeMo.
    """

    clean: Tensor
    references: Tensor
    image_tokens: Tensor
    tokens: Tensor | None
    dropped: int
    weights: Tensor | None = None
    told: Told | None = None


def denoising_loss(
    models: AnimatorModels,
    given: Denoising,
    masking: float,
    generators: Sequence[torch.Generator],
    temporal: bool,
) -> Tensor:
    """Mean squared error of the denoiser's prediction, Eq. 1, weighted if there are weights.

    Args:
        models: scheduler, reference net and denoiser.
        given: targets and conditions.
        masking: masked share of the reference features.
        generators: one CPU generator for each window, from which its noise, its noise level and its mask are drawn.
        temporal: let frames attend to each other.
    """
    device, dropped = given.clean.device, given.dropped
    clean = given.clean - models.unet.origin(given.references)[:, :, None]
    noise = torch.stack([torch.randn(clean.shape[1:], generator=own) for own in generators]).to(device)
    levels = models.scheduler.config.num_train_timesteps
    timesteps = torch.cat([torch.randint(levels, (1,), generator=own) for own in generators]).to(device)
    noisy = models.scheduler.add_noise(clean, noise, timesteps)

    image_tokens, residuals = given.image_tokens, None
    if given.told is None:
        image_tokens = torch.cat([torch.zeros_like(image_tokens[:dropped]), image_tokens[dropped:]])
    features = None
    if dropped < len(clean):
        level: Tensor | int = 0
        if given.told is not None:
            level, residuals = timesteps[dropped:], given.told(noisy[dropped:], timesteps[dropped:])
        features = models.reference_net(given.references[dropped:], image_tokens[dropped:], level)
        features = features.masked(masking, generators[dropped:])
    predicted = models.unet(
        noisy,
        timesteps,
        image_tokens,
        given.tokens,
        features,
        unconditional=dropped,
        temporal=temporal,
        residuals=residuals,
    )
    error = (predicted.float() - denoising_target(models.scheduler, clean, noise, timesteps)).square()
    return (error if given.weights is None else error * given.weights).mean()


def cell_weights(config: TrainAnimatorConfig, landmarks: Tensor, clean: Tensor) -> Tensor | None:
    """Weight of each latent pixel by what the target shows there; None where all count alike.

    Args:
        config: with `losses.diffusion_regions` the regions' weights are those of Eq. 3.
        landmarks: of the targets, (B, F, 478, 2) in [-1, 1].
        clean: their latents, (B, channels, F, h, w).
    Returns:
        (B, 1, F, h, w), of mean 1.
    """
    if not config.losses.diffusion_regions:
        return None
    frames, cells = clean.shape[2], clean.shape[-1]
    regions = (config.losses.background, config.losses.face, config.losses.eyes, config.losses.mouth)
    # An eye may be smaller than a cell: the map is drawn finer and averaged.
    fine = region_weights(landmarks.flatten(0, 1), FINER * cells, *regions)
    return F.avg_pool2d(fine, FINER).unflatten(0, (-1, frames)).transpose(1, 2)


def diffusion_loss(
    models: AnimatorModels,
    image_tokens: ImageTokens,
    motion: Motion | None,
    batch: PairBatch,
    config: TrainAnimatorConfig,
    step: int,
) -> Tensor:
    """Eq. 1 on single frames, each drawn from its partner; gradients reach the motion encoder.

    Args:
        motion: what the encoder says of the batch; None leaves the motion out (the image stage).
        step: with `config.seed` and the samples' numbers it decides every draw.
    """
    pairs, half = len(batch.numbers) // 2, min(config.diffusion_pairs, config.pairs)
    picked = torch.nonzero(batch.numbers[:pairs].cpu() < half).flatten()
    numbers = torch.cat([batch.numbers.cpu()[picked], batch.numbers.cpu()[picked] + half])
    # The first samples of the step's whole batch; in each process' part of it they come first as well.
    dropped = int((numbers < round(2 * half * config.condition_dropout)).sum())
    picked = torch.cat([picked, picked + pairs])
    images = batch.images[picked]
    references = latents_of(models, images, None if batch.latents is None else batch.latents[picked])
    tokens = None
    if motion is not None:
        tokens = torch.cat([motion.reference_tokens[picked[:dropped]], motion.tokens[picked[dropped:]]])[:, None]
    clean = PairBatch.swap(references)[:, :, None]
    weights = cell_weights(config, PairBatch.swap(batch.landmarks[picked])[:, None], clean)
    given = Denoising(clean, references, image_tokens(images), tokens, dropped, weights)
    generators = sample_generators(config.seed + 1, step, numbers.tolist())
    return denoising_loss(models, given, config.reference_masking, generators, temporal=False)


def clip_loss(
    models: AnimatorModels, image_tokens: ImageTokens, batch: ClipBatch, config: TrainAnimatorConfig, step: int
) -> Tensor:
    """Eq. 1 on clips, with frames that attend to each other (the temporal stage); arguments as `diffusion_loss`."""
    dropped = int((batch.numbers < round(config.clips * config.condition_dropout)).sum())
    references, clean = clip_latents(models, batch)
    with torch.no_grad():
        tokens = clip_motion(models, batch)
        if dropped:
            own = models.motion_encoder.encode(batch.reference_crops[:dropped])
            in_place = torch.tensor([0.0, 0.0, 1.0], device=own.device).expand(dropped, 3)
            tokens[:dropped] = models.motion_encoder.fuse(own, in_place)[:, None].to(tokens.dtype)
    weights = cell_weights(config, batch.landmarks, clean)
    given = Denoising(clean, references, image_tokens(batch.references), tokens, dropped, weights)
    generators = sample_generators(config.seed + 1, step, batch.numbers.tolist())
    return denoising_loss(models, given, config.reference_masking, generators, temporal=True)


def latents_of(models: AnimatorModels, images: Tensor, kept: Tensor | None) -> Tensor:
    """Latents of pictures: those that were kept, or what the autoencoder makes of them now."""
    if kept is not None:
        return kept
    assert models.vae is not None
    with torch.no_grad():
        return encode_images(models.vae, images)


def clip_latents(models: AnimatorModels, batch: ClipBatch) -> tuple[Tensor, Tensor]:
    """Latents of the references, (C, channels, h, w), and of the frames, (C, channels, F, h, w)."""
    kept = None if batch.latents is None else batch.latents.flatten(0, 1)
    frames = latents_of(models, batch.frames.flatten(0, 1), kept)
    references = latents_of(models, batch.references, batch.reference_latents)
    return references, frames.unflatten(0, batch.frames.shape[:2]).transpose(1, 2)


def clip_motion(models: AnimatorModels, batch: ClipBatch) -> Tensor:
    """Motion tokens of every frame of the clips, (C, F, L, d)."""
    latents = models.motion_encoder.encode(batch.crops.flatten(0, 1))
    tokens = models.motion_encoder.fuse(latents, batch.rts.flatten(0, 1))
    return tokens.unflatten(0, batch.crops.shape[:2])


def denoising_target(scheduler: DDIMScheduler, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the denoiser has to predict, by the scheduler's `prediction_type`: the noise, the velocity or the sample.

    Args:
        clean: latents without noise, (N, channels, ...).
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
def draw(
    models: AnimatorModels,
    image_tokens: Callable[[Tensor], Tensor],
    tokens: Tensor | None,
    references: Tensor,
    steps: int,
    generator: torch.Generator,
    temporal: bool = False,
    told: Told | None = None,
) -> Tensor:
    """Draw windows of frames: DDIM without guidance.

    Args:
        tokens: the motion, (N, F, L, d); None draws one frame each without any.
        references: (N, 3, S, S) in [-1, 1].
        steps: DDIM steps.
        generator: CPU generator of the starting noise.
        temporal: let the frames of a window attend to each other.
        told: as in `Denoising`, for single frames.
    Returns:
        (N, F, 3, S, S) in [-1, 1].
    """
    assert models.vae is not None
    frames = 1 if tokens is None else tokens.shape[1]
    token = image_tokens(references)
    clean = encode_images(models.vae, references)
    reference = models.unet.project_reference(models.reference_net(clean, token))
    scheduler = DDIMScheduler.from_config(models.scheduler.config)
    scheduler.set_timesteps(steps)
    count, channels, height, width = clean.shape
    latents = torch.randn(count, channels, frames, height, width, generator=generator).to(references.device)
    for timestep in scheduler.timesteps:
        residuals = None
        if told is not None:
            reference = models.unet.project_reference(models.reference_net(clean, token, timestep))
            residuals = told(latents, timestep)
        predicted = models.unet(latents, timestep, token, tokens, reference, temporal=temporal, residuals=residuals)
        latents = scheduler.step(predicted, timestep, latents).prev_sample
    latents = latents + models.unet.origin(clean)[:, :, None]
    # One by one: a decoder that sees neighbouring frames would take those of different clips for such.
    pictures = decode_latents(models.vae, latents.transpose(1, 2).flatten(0, 1), chunk=1)
    return pictures.unflatten(0, (count, frames))
