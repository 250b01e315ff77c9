"""LPIPS with AlexNet features (Zhang et al. 2018), version 0.1, from one safetensors file.

The `lpips` and torchmetrics packages need torchvision; the metric itself is five convolutions and a weighted sum.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from animator.errors import XNeMoError

# (index in the published AlexNet, in, out, kernel, stride, padding); a 3x3 max-pool of stride 2 follows the first two.
_LAYERS = (
    (0, 3, 64, 11, 4, 2),
    (3, 64, 192, 5, 1, 2),
    (6, 192, 384, 3, 1, 1),
    (8, 384, 256, 3, 1, 1),
    (10, 256, 256, 3, 1, 1),
)


class Lpips(nn.Module):
    """Perceptual distance between image batches; frozen, differentiable in its inputs.

    Args:
        weights: a file with `features.{0,3,6,8,10}.{weight,bias}` (AlexNet, OIHW) and `lin{0..4}.weight`-like entries.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(i, o, k, stride=s, padding=p) for _, i, o, k, s, p in _LAYERS)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[None, :, None, None])
        try:
            state = load_file(weights)
            for conv, (index, *_) in zip(self.convs, _LAYERS, strict=True):
                conv.get_parameter("weight").data.copy_(state[f"features.{index}.weight"])
                conv.get_parameter("bias").data.copy_(state[f"features.{index}.bias"])
            for level in range(len(_LAYERS)):
                self.register_buffer(f"linear{level}", _linear_weight(state, level))
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise XNeMoError(f"{weights}: not LPIPS-AlexNet weights ({type(error).__name__}: {error})") from error
        self.requires_grad_(False).eval()

    def features(self, images: Tensor) -> list[Tensor]:
        """Unit-normalised activations of the five layers for images (B, 3, H, W) in [-1, 1]."""
        x = (images - self.shift) / self.scale
        maps = []
        for level, conv in enumerate(self.convs):
            if level in (1, 2):
                x = F.max_pool2d(x, 3, stride=2)
            x = F.relu(conv(x))
            maps.append(x * torch.rsqrt(x.square().sum(dim=1, keepdim=True) + 1e-10))
        return maps

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """LPIPS distance per image, (B,), for two batches (B, 3, H, W) in [-1, 1]; 0 is identical."""
        total = images.new_zeros(len(images))
        for level, (a, b) in enumerate(zip(self.features(images), self.features(targets), strict=True)):
            weighted = (a - b).square() * self.get_buffer(f"linear{level}")
            total = total + weighted.sum(dim=1).mean(dim=(1, 2))
        return total


def _linear_weight(state: dict[str, Tensor], level: int) -> Tensor:
    """The layer's channel weights as (1, C, 1, 1), whatever suffix the file gives them."""
    key = next(key for key in sorted(state) if key.startswith(f"lin{level}"))
    return state[key].reshape(1, -1, 1, 1).clone()
