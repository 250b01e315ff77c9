"""Stage 2 (X-NeMo section 3.3): motion encoder and motion attention, end to end.

The motion latent learns from two sides: the diffusion loss (Eq. 1) through the motion attention, and the dual GAN head
(Eq. 3 to 7), which asks for details of expression that the diffusion loss hears last. Settings choose parts of it: the
head alone (`train_diffusion=false`), the diffusion model alone, everything with the backbone, or one after the other
(`end_to_end=false`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import torch

from animator.models import AnimatorModels
from animator.models.gan_head import GanOutput
from animator.training.config import TrainAnimatorConfig
from animator.training.crops import FaceCrops
from animator.training.diffusion import diffusion_loss
from animator.training.pairs import PairBatch
from animator.training.randomness import Share
from animator.training.ranks import Terms
from animator.training.stages.image import pair_sampler, pairs_without_content
from animator.training.stages.stage import Given, Stage, StepLosses, image_layers, motion_layers
from animator.training.steps import (
    R1_INTERVAL,
    LabelHead,
    discriminator_losses,
    encode_motion,
    gan_losses,
    generate,
    label_losses,
)


class MotionStage(Stage):
    """Motion encoder, GAN head, motion attention and, with `train_backbone`, reference net and image layers."""

    def __init__(self, config: TrainAnimatorConfig, models: AnimatorModels, given: Given) -> None:
        super().__init__(config, models, given)
        if config.train_diffusion:
            self.needs += ("vae",) if config.train_backbone else ("vae", "reference_net", "unet")
        if config.train_encoder:
            self._train("motion_encoder", models.motion_encoder)
        else:
            self.needs += ("motion_encoder",)
        self.label_head: LabelHead | None = None
        if config.losses.label:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)
                self.label_head = LabelHead(models.motion_encoder.config.latent_dim, given.label_scale)
            self._train("label_head", self.label_head)
        if config.train_gan:
            self._train("gan_head", models.gan_head)
            if config.losses.adversarial:
                self.adversary = models.discriminator.train().requires_grad_(True)
        if config.train_diffusion and config.train_backbone:
            self._train("reference_net", models.reference_net)
            self._train("unet", models.unet, image_layers(models.unet) | motion_layers(models.unet))
        elif config.train_diffusion:
            self._train("unet", models.unet, motion_layers(models.unet))

    def stream(self, crops: FaceCrops, step: int, shares: Sequence[Share]) -> Iterator[list[PairBatch]]:
        return pair_sampler(self.config, self.models, crops, "train").stream(self.config.pairs, step, shares)

    def example(self, share: Share) -> PairBatch:
        return pairs_without_content(self.config, self.models, share)

    def losses(self, batch: PairBatch, step: int) -> StepLosses:
        config, models, weights = self.config, self.models, self.config.losses
        warming_up = step < config.schedule.label_warm_up_steps
        with_head, with_diffusion = self._phase(step)
        # Without end-to-end training the encoder is finished when the diffusion model begins.
        finished = not config.end_to_end and with_diffusion
        if finished:
            models.motion_encoder.eval()
        terms: Terms = {}
        drawn = None
        with torch.no_grad() if finished else nullcontext():
            motion = encode_motion(models.motion_encoder, batch)
        if self.label_head is not None and not finished:
            terms |= label_losses(self.label_head, motion, batch, self._label_weight(step))
        if with_head and not warming_up:
            drawn = generate(models.gan_head, motion, batch, config)
            if self.adversary is not None:
                self.adversary.requires_grad_(False)  # here it judges; it learns in `adversary_losses`
            terms |= gan_losses(drawn, batch, weights, self.given.networks, self.adversary)
        if with_diffusion and not warming_up:
            loss = diffusion_loss(models, self.given.image_tokens, motion, batch, config, step)
            terms["diffusion"] = weights.diffusion * loss
        return StepLosses(terms, drawn)

    def adversary_losses(self, batch: PairBatch, drawn: GanOutput, step: int) -> Terms:
        assert self.adversary is not None
        self.adversary.requires_grad_(True)
        return discriminator_losses(self.adversary, drawn, batch, self.config.losses, step % R1_INTERVAL == 0)

    def _phase(self, step: int) -> tuple[bool, bool]:
        """Whether the GAN head and the diffusion model are trained at a step."""
        config = self.config
        if config.end_to_end:
            return config.train_gan, config.train_diffusion
        alone = step < config.schedule.head_steps
        return config.train_gan and alone, config.train_diffusion and not alone

    def _label_weight(self, step: int) -> float:
        """Full during the warm-up, then falling in a straight line to its floor."""
        schedule, weights = self.config.schedule, self.config.losses
        share = min(max((step - schedule.label_warm_up_steps) / schedule.label_fade_steps, 0.0), 1.0)
        return weights.label + (weights.label_floor - weights.label) * share
