"""Classifier-free guidance towards the driving motion: X-NeMo's Eq. 2.

    eps~(z_t, c_ref, f_mot) = (1 + w) eps(z_t, c_ref, f_mot) - w eps(z_t, none, f_ref_mot)

The negative branch has its appearance fully masked, that is, it reads no reference (and a zero image token), and moves
like the reference image itself. What it is told of the motion is the control's affair (`animator.controls`); another
control may have no motion in it.

Two numbers are called guidance scale. This project's `guidance_scale` is diffusers' sense, 1 + w: 4.5 is the paper's
w = 3.5, and 1 is no guidance at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from animator.controls.control import PreparedControl, Step
from animator.models.attention import ReferenceKeyValues
from animator.models.deep_cache import DeepFeatures
from animator.models.motion_unet import MotionUNet
from animator.models.overlap import OverlapFeatures


def guidance_scale_of(w: float) -> float:
    """The paper's w -> `guidance_scale` (diffusers' sense)."""
    return 1 + w


def guide(conditional: Tensor, negative: Tensor, guidance_scale: float) -> Tensor:
    """Eq. 2 with w = guidance_scale - 1, in the form that the field computes it."""
    return negative + guidance_scale * (conditional - negative)


@dataclass(frozen=True)
class PortraitConditions:
    """All that the denoiser knows of a portrait; computed once, used at every step and window.

    Args:
        reference: projected keys and values of one portrait, or timestep -> these, where they change from step to step.
        image_embeds: its image token, or the prompt that stands in its place, (1, L, D).
        negative_embeds: what the negative branch has in its place: zeros, or the prompt again, (1, L, D).
        latents: the portrait itself, clean, (1, channels, h, w), where denoising starts from it; the denoiser does not
            read them.
    """

    reference: ReferenceKeyValues | Callable[[Tensor], ReferenceKeyValues]
    image_embeds: Tensor
    negative_embeds: Tensor
    latents: Tensor | None = None

    def reference_at(self, timestep: Tensor) -> ReferenceKeyValues:
        """The reference at a step."""
        return self.reference if isinstance(self.reference, ReferenceKeyValues) else self.reference(timestep)


@dataclass(frozen=True)
class GuidedDenoiser:
    """The denoiser with Eq. 2 around it.

    Args:
        unet: the denoiser.
        portrait: what it knows of the portrait.
        control: tells it the motion.
        guidance_scale: diffusers' sense, 1 + w; at 1 or below the negative branch is not computed.
    """

    unet: MotionUNet
    portrait: PortraitConditions
    control: PreparedControl
    guidance_scale: float

    def __call__(self, latents: Tensor, timestep: Tensor, frames: Sequence[int]) -> Tensor:
        """Predict the noise in one window, guided: (F, channels, h, w); arguments as in `branches`."""
        return self.combine(self.branches(latents, timestep, frames))

    def branches(
        self,
        latents: Tensor,
        timestep: Tensor,
        frames: Sequence[int],
        guided: bool = True,
        deep: DeepFeatures | None = None,
        overlap: OverlapFeatures | None = None,
    ) -> Tensor:
        """Predict the noise in one window, unguided.

        Args:
            latents: (F, channels, h, w).
            timestep: scalar.
            frames: which frames of the clip they are.
            guided: whether this step is to be guided; if not, the negative branch is not computed.
            deep: deep features of the same branches to compute, or to use, see `animator.models.deep_cache`.
            overlap: features of shared frames, of the same branches, to use and to keep, see `animator.models.overlap`.
        Returns:
            (F, 2, channels, h, w): without and with the condition; (F, 1, channels, h, w), with it, where guidance is
            off.
        """
        portrait, both = self.portrait, guided and self.guidance_scale > 1
        condition = self.control.condition(Step(latents, timestep, frames, both))
        sample = latents.transpose(0, 1)[None]  # (F, C, h, w) -> (1, C, F, h, w)
        embeds = portrait.image_embeds
        if both:
            sample, embeds = sample.expand(2, -1, -1, -1, -1), torch.cat([portrait.negative_embeds, embeds])
        predicted = self.unet(
            sample,
            timestep,
            embeds,
            condition.tokens,
            portrait.reference_at(timestep),
            unconditional=1 if both else 0,
            deep=deep,
            overlap=overlap,
            residuals=condition.residuals,
        )
        return rearrange(predicted, "b c f h w -> f b c h w")

    def combine(self, branches: Tensor) -> Tensor:
        """Eq. 2 on what `branches` gives, or on an average of it: (F, 1 or 2, ...) -> (F, ...)."""
        if branches.shape[1] == 1:
            return branches[:, 0]
        negative, conditional = branches.unbind(dim=1)
        return guide(conditional, negative, self.guidance_scale)
