"""Stage 3 (X-NeMo section 3.3): the temporal modules alone, on clips of neighbouring frames.

Everything else is frozen, the motion encoder too, so that a frame by itself is drawn as before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from animator.models import AnimatorModels
from animator.training.clips import ClipBatch, ClipSampler
from animator.training.config import TrainAnimatorConfig
from animator.training.crops import FaceCrops
from animator.training.diffusion import clip_loss
from animator.training.randomness import Share
from animator.training.stages.stage import (
    Given,
    Stage,
    StepLosses,
    latents_without_content,
    temporal_layers,
    without_content,
)


class TemporalStage(Stage):
    """The denoiser's temporal modules, by the diffusion loss."""

    needs = ("motion_encoder", "reference_net", "unet", "vae")

    def __init__(self, config: TrainAnimatorConfig, models: AnimatorModels, given: Given) -> None:
        super().__init__(config, models, given)
        self._train("unet", models.unet, temporal_layers(models.unet))

    def stream(self, crops: FaceCrops, step: int, shares: Sequence[Share]) -> Iterator[list[ClipBatch]]:
        return clip_sampler(self.config, self.models, crops, "train").stream(self.config.clips, step, shares)

    def example(self, share: Share) -> ClipBatch:
        config, crop = self.config, self.models.motion_encoder.config.image_size
        numbers = share.of(config.clips)
        clips, frames, side = len(numbers), config.frames, config.picture_size
        return ClipBatch(
            frames=without_content(clips, frames, 3, side, side),
            references=without_content(clips, 3, side, side),
            crops=without_content(clips, frames, 3, crop, crop),
            reference_crops=without_content(clips, 3, crop, crop),
            rts=without_content(clips, frames, 3),
            landmarks=without_content(clips, frames, 478, 2),
            numbers=numbers,
            latents=latents_without_content(config, self.models, clips, frames),
            reference_latents=latents_without_content(config, self.models, clips),
        )

    def losses(self, batch: ClipBatch, step: int) -> StepLosses:
        loss = clip_loss(self.models, self.given.image_tokens, batch, self.config, step)
        return StepLosses({"diffusion": self.config.losses.diffusion * loss})


def clip_sampler(
    config: TrainAnimatorConfig, models: AnimatorModels, crops: FaceCrops, split: str, seed: int | None = None
) -> ClipSampler:
    """The clips of a run."""
    size = models.motion_encoder.config.image_size
    chosen = config.seed if seed is None else seed
    kept = config.cached_latents and split == "train"
    return ClipSampler(crops, split, config.frames, config.picture_size, size, chosen, kept)
