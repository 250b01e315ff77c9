"""The animator's networks at a size that tests build in a moment, with weights that make every part matter."""

from __future__ import annotations

import torch
from torch import nn

from animator.models.motion_unet import MotionUNet
from animator.models.reference_net import ReferenceNet

WIDTHS = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (16, 32),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": 8,
}


def shake(module: nn.Module, seed: int = 0) -> nn.Module:
    """Add noise to every parameter, so that projections that start at zero take part."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return module.eval()


def reference_net(seed: int = 1) -> ReferenceNet:
    torch.manual_seed(seed)
    net = ReferenceNet(
        **WIDTHS,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=4,
    )
    shake(net, seed)
    return net


def motion_unet(seed: int = 2, reference_latents: bool = False, motion_norm: bool = False) -> MotionUNet:
    torch.manual_seed(seed)
    net = MotionUNet(
        **WIDTHS,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
        num_attention_heads=4,
        motion_num_attention_heads=4,
        motion_token_dim=16,
        max_frames=32,
        reference_latents=reference_latents,
        motion_norm=motion_norm,
    )
    shake(net, seed)
    return net
