"""Pictures as arrays, uint8 (N, H, W, 3), and as tensors for the networks, (N, 3, H, W) in [-1, 1]."""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor


def to_uint8(images: Tensor, truncate: bool = False) -> NDArray[np.uint8]:
    """Images (N, 3, H, W) in [-1, 1] (what is beyond is clipped) -> uint8 (N, H, W, 3).

    Args:
        truncate: take the level below instead of the nearest one, as the published inference code does; half a level
            darker on average.
    """
    scaled = (images.float().clamp(-1, 1) / 2 + 0.5) * 255
    levels = (scaled if truncate else scaled.round()).to(torch.uint8)
    return rearrange(levels, "n c h w -> n h w c").cpu().numpy()


def from_uint8(pictures: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """uint8 (N, H, W, 3) -> images (N, 3, H, W), float32 in [-1, 1], on `device`."""
    return rearrange(torch.from_numpy(pictures).to(device), "n h w c -> n c h w").float() / 127.5 - 1
