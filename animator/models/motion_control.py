"""Motion control by addition, the ablation "w/o cross-attn" of X-NeMo's Table 2.

Instead of being attended to, the motion code is turned into a spatial map by an upsampling decoder, and a ControlNet
(Zhang et al. 2023) adds what it makes of the map to the denoiser's skip connections and to its middle. The ControlNet
is diffusers' own; the decoder takes the place of the small network with which it reads its conditioning picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from diffusers import ControlNetModel
from torch import Tensor, nn
from torch.nn import functional as F

BASE = 4  # side of the decoder's coarsest map


@dataclass(frozen=True)
class ControlResiduals:
    """What is added to the denoiser.

    Attributes:
        skips: to each skip connection, finest first, (B F, C, h, w) each.
        middle: to the output of the middle block.
    """

    skips: list[Tensor]
    middle: Tensor


def add_to_last(x: Tensor, added: Tensor) -> Tensor:
    """Add features to as many items at the end of a batch, (N, C, h, w); those before (without control) stay."""
    if len(added) == len(x):
        return x + added
    alone = len(x) - len(added)
    return torch.cat([x[:alone], x[alone:] + added])


class MapDecoder(nn.Module):
    """Motion code -> spatial map: a linear layer to 4 x 4, then convolutions that double the side.

    Args:
        motion_dim: length of a frame's motion code.
        widths: the denoiser's widths, finest first; the map has the first of them.
        map_size: side up to which the map is doubled; other latent sizes are reached by interpolation.
    """

    def __init__(self, motion_dim: int, widths: tuple[int, ...], map_size: int) -> None:
        super().__init__()
        doublings = max(0, math.ceil(math.log2(map_size / BASE)))
        self.widths = [widths[min(doublings - level, len(widths) - 1)] for level in range(doublings + 1)]
        self.begin = nn.Linear(motion_dim, self.widths[0] * BASE * BASE)
        self.convs = nn.ModuleList(
            nn.Conv2d(self.widths[level], self.widths[min(level + 1, doublings)], 3, padding=1)
            for level in range(doublings + 1)
        )

    def forward(self, code: Tensor, height: int, width: int) -> Tensor:
        """Codes (N, motion_dim) -> maps (N, widths[0], height, width)."""
        x = self.begin(code).unflatten(1, (self.widths[0], BASE, BASE))
        for level, conv in enumerate(self.convs):
            if level:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = conv(F.silu(x))
        if x.shape[-2:] != (height, width):
            x = F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)
        return x


class _Given(nn.Module):
    """Stands where a ControlNet encodes its conditioning picture: the map is made already."""

    def forward(self, conditioning: Tensor) -> Tensor:
        return conditioning


class MotionControl(nn.Module):
    """Decoder and ControlNet; every output starts at zero, so that a new one changes nothing in the denoiser.

    Args:
        in_channels: latent channels.
        down_block_types: diffusers' 2D block classes on the way down, finest level first.
        block_out_channels, layers_per_block, norm_num_groups, cross_attention_dim, num_attention_heads: the denoiser's.
        motion_dim: length of a frame's motion code.
        map_size: latent side that the denoiser is made for.
    """

    def __init__(
        self,
        in_channels: int,
        down_block_types: tuple[str, ...],
        block_out_channels: tuple[int, ...],
        layers_per_block: int,
        norm_num_groups: int,
        cross_attention_dim: int,
        num_attention_heads: int,
        motion_dim: int,
        map_size: int,
    ) -> None:
        super().__init__()
        self.decoder = MapDecoder(motion_dim, block_out_channels, map_size)
        self.net = ControlNetModel(
            in_channels=in_channels,
            down_block_types=down_block_types,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            norm_num_groups=norm_num_groups,
            cross_attention_dim=cross_attention_dim,
            attention_head_dim=num_attention_heads,  # the number of heads, in spite of its name
        )
        self.net.controlnet_cond_embedding = _Given()

    def forward(
        self, latents: Tensor, timesteps: Tensor, image_embeds: Tensor, motion_tokens: Tensor
    ) -> ControlResiduals:
        """Look at noisy frames and their motion.

        Args:
            latents: (B F, channels, h, w).
            timesteps: (B F,).
            image_embeds: image token of each portrait, (B, 1, cross_attention_dim).
            motion_tokens: (B F, tokens, width).
        """
        frames = len(latents) // len(image_embeds)
        condition = self.decoder(motion_tokens.flatten(1), *latents.shape[-2:])
        skips, middle = self.net(
            latents, timesteps, image_embeds.repeat_interleave(frames, dim=0), condition, return_dict=False
        )
        return ControlResiduals(list(skips), middle)
