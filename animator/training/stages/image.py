"""Stage 1 (X-NeMo section 3.3): the backbone UNet and the reference net learn on pairs of frames.

Eq. 1 without motion: given one frame of a person, denoise another. What the reference shows must come from it; what it
cannot show, the other frame's motion, stays undecided until stage 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from animator.models import AnimatorModels
from animator.training.config import TrainAnimatorConfig
from animator.training.crops import FaceCrops
from animator.training.diffusion import diffusion_loss
from animator.training.pairs import PairBatch, PairSampler
from animator.training.randomness import Share
from animator.training.stages.stage import (
    Given,
    Stage,
    StepLosses,
    image_layers,
    latents_without_content,
    without_content,
)


class ImageStage(Stage):
    """Reference net and the denoiser's image layers, by the diffusion loss."""

    needs = ("vae",)

    def __init__(self, config: TrainAnimatorConfig, models: AnimatorModels, given: Given) -> None:
        super().__init__(config, models, given)
        self._train("reference_net", models.reference_net)
        self._train("unet", models.unet, image_layers(models.unet))

    def stream(self, crops: FaceCrops, step: int, shares: Sequence[Share]) -> Iterator[list[PairBatch]]:
        return pair_sampler(self.config, self.models, crops, "train").stream(self.config.pairs, step, shares)

    def example(self, share: Share) -> PairBatch:
        return pairs_without_content(self.config, self.models, share)

    def losses(self, batch: PairBatch, step: int) -> StepLosses:
        loss = diffusion_loss(self.models, self.given.image_tokens, None, batch, self.config, step)
        return StepLosses({"diffusion": self.config.losses.diffusion * loss})


def pair_sampler(config: TrainAnimatorConfig, models: AnimatorModels, crops: FaceCrops, split: str) -> PairSampler:
    """The pairs of a run."""
    augment = config.augment if config.augmented else None
    size = models.motion_encoder.config.image_size
    return PairSampler(crops, split, config.picture_size, size, augment, config.seed, config.cached_latents)


def pairs_without_content(config: TrainAnimatorConfig, models: AnimatorModels, share: Share) -> PairBatch:
    """A share of a run's batch that has sizes alone."""
    taken = share.of(config.pairs)
    count, crop = 2 * len(taken), models.motion_encoder.config.image_size
    return PairBatch(
        images=without_content(count, 3, config.picture_size, config.picture_size),
        crops=without_content(count, 3, crop, crop),
        boxes=without_content(count, 3),
        rts=without_content(count, 3),
        landmarks=without_content(count, 478, 2),
        blendshapes=without_content(count, 52),
        rotation=without_content(count, 3, 3),
        numbers=torch.cat([taken, taken + config.pairs]),
        latents=latents_without_content(config, models, count),
    )
