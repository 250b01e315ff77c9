"""Discriminator of the GAN head (X-NeMo appendix A): judges images and lends its features to Eq. 6."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from animator.models.global_batch import mean_over_processes


class DownBlock(nn.Module):
    """StyleGAN2's residual block: two 3x3 convolutions, the second one halving the picture."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, in_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.conv1(x), 0.2)
        y = F.avg_pool2d(F.leaky_relu(self.conv2(y), 0.2), 2)
        return (y + self.skip(F.avg_pool2d(x, 2))) / math.sqrt(2)


class Discriminator(ModelMixin, ConfigMixin):
    """Residual discriminator of StyleGAN2.

    Args:
        image_size: side of its pictures in pixels, 4 * 2 ** len(channels[1:]).
        channels: widths from the full resolution down to 4 x 4.
    """

    @register_to_config
    def __init__(self, image_size: int = 256, channels: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512)) -> None:
        super().__init__()
        if image_size != 4 * 2 ** (len(channels) - 1):
            raise ValueError(f"{len(channels)} widths end at 4 x 4 only from {4 * 2 ** (len(channels) - 1)} px")
        self.from_rgb = nn.Conv2d(3, channels[0], 1)
        self.blocks = nn.ModuleList(DownBlock(narrow, wide) for narrow, wide in pairwise(channels))
        self.final = nn.Conv2d(channels[-1] + 1, channels[-1], 3, padding=1)
        self.score = nn.Linear(channels[-1] * 16, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Judge images (B, 3, image_size, image_size) in [-1, 1].

        Returns:
            Logits (B,), positive for "real", and the feature maps D^i of Eq. 6, one per block.
        """
        features = []
        x = F.leaky_relu(self.from_rgb(images), 0.2)
        for block in self.blocks:
            x = block(x)
            features.append(x)
        # StyleGAN's minibatch statistic: one plane with the batch's mean deviation shows a collapsed generator.
        centred = x - mean_over_processes(x.mean(dim=0))
        # A root of exactly zero (a batch of one) has no slope.
        deviation = (mean_over_processes(centred.square().mean(dim=0)) + 1e-8).sqrt().mean()
        deviation = deviation.expand(len(x), 1, *x.shape[2:])
        x = F.leaky_relu(self.final(torch.cat([x, deviation], dim=1)), 0.2)
        return self.score(x.flatten(1)).squeeze(1), features
