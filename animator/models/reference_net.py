"""ReferenceNet R: a portrait's latents -> appearance features of every self-attention layer (X-NeMo section 3.1)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

# Not used here: DiffusionPipeline.from_pretrained looks in a component's module for the base class that can load it.
from diffusers import ModelMixin as ModelMixin
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from animator.models.attention import (
    ReadImageToken,
    ReferenceFeatures,
    Shared,
    WriteReference,
    checkpoint_keeping,
    spatial_processors,
)
from animator.models.linear import multiply_by_onednn


class ReferenceNet(UNet2DConditionModel):
    """The denoiser's image UNet without its output layers, run on the clean portrait.

    Configuration and keys are those of `UNet2DConditionModel` (where `attention_head_dim` is the number of heads),
    so the UNet folder of Stable Diffusion loads as it is, but for `conv_norm_out` and `conv_out`. Parameters behind
    the last layer that is written to the features get no gradient.
    """

    # Keeps the signature of UNet2DConditionModel, and with it the configuration that is saved and loaded.
    @functools.wraps(UNet2DConditionModel.__init__)  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conv_norm_out = None
        self.conv_out = nn.Identity()
        self.written: Shared[dict[str, Tensor]] = Shared()
        self.set_attn_processor(
            spatial_processors(self.attn_processors, lambda name: WriteReference(name, self.written), ReadImageToken())
        )
        multiply_by_onednn(self)

    def enable_gradient_checkpointing(self, gradient_checkpointing_func: Callable[..., Any] | None = None) -> None:
        """Recompute layers in the backward pass (without writing features twice)."""
        super().enable_gradient_checkpointing(gradient_checkpointing_func or checkpoint_keeping(self.written))

    def forward(self, sample: Tensor, image_embeds: Tensor, timestep: Tensor | int = 0) -> ReferenceFeatures:
        """Extract appearance features.

        Args:
            sample: clean latents of the portraits, (B, channels, h, w).
            image_embeds: image token of each portrait, (B, 1, cross_attention_dim); zeros where there is no image
                encoder.
            timestep: 0, as the portrait is clean; X-Portrait tells the denoiser's.
        Returns:
            The input of each self-attention, path of the transformer block -> (B, N, C), and the latents.
        """
        features: dict[str, Tensor] = {}
        with self.written.holding(features):
            super().forward(sample, timestep, encoder_hidden_states=image_embeds, return_dict=False)
        return ReferenceFeatures(features, sample)
