"""Flows: pictures warped by them, and the one that moves a face as a whole.

Tensors are (batch, channels, height, width); flows are (batch, 2, height, width), backward displacements (x, y) in
the [-1, 1] coordinates of `grid_sample`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Distances from the face's centre, in sides of its box, between which the similarity flow fades out.
SIMILARITY_START = 0.6
SIMILARITY_END = 1.6


def identity_grid(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Sampling grid that leaves an image as it is, (1, height, width, 2) for `align_corners=False`."""
    ys = (torch.arange(height, device=device, dtype=dtype) + 0.5) * (2 / height) - 1
    xs = (torch.arange(width, device=device, dtype=dtype) + 0.5) * (2 / width) - 1
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    return torch.stack([x, y], dim=-1)[None]


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Sample `image` (B, C, H, W) where `flow` (B, 2, h, w), resized to the image, points.

    In float32 whatever the format of the image: bfloat16 cannot tell neighbouring pixels of 256 apart, and torch's
    half-precision `grid_sample` reads beyond the picture on CPUs.
    """
    height, width = image.shape[-2:]
    if flow.shape[-2:] != (height, width):
        flow = F.interpolate(flow, size=(height, width), mode="bilinear", align_corners=False)
    grid = identity_grid(height, width, image.device, torch.float32) + flow.float().permute(0, 2, 3, 1)
    sampled = F.grid_sample(image.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.to(image.dtype)


def similarity_flow(box: Tensor, rts: Tensor, side: int) -> Tensor:
    """The flow that moves and scales the face as f_rts says, and fades out around it.

    Args:
        box: the reference's face, (B, 3): centre x, y and longer side in [-1, 1] coordinates.
        rts: dx / s_r, dy / s_r, s_d / s_r, (B, 3).
        side: of the flow in pixels.
    Returns:
        (B, 2, side, side), float32.
    """
    box, rts = box.float(), rts.float()
    points = identity_grid(side, side, box.device, torch.float32)
    centre, length = box[:, None, None, :2], box[:, None, None, 2:]
    moved, ratio = centre + length * rts[:, None, None, :2], rts[:, None, None, 2:]
    from_face = points - moved
    distance = from_face.norm(dim=-1, keepdim=True) / (length * ratio)
    near = ((SIMILARITY_END - distance) / (SIMILARITY_END - SIMILARITY_START)).clamp(0, 1)
    # Smoothstep: neither edge shows in the picture.
    weight = near * near * (3 - 2 * near)
    return ((centre + from_face / ratio - points) * weight).permute(0, 3, 1, 2)
