"""Weights and inputs that follow from names and shapes alone: two implementations can be compared without files.

The golden numbers in `test_paper_networks.py` are what the official modules give with these weights and inputs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def weights(shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """A value for every entry of a state dict, of a size that keeps activations near 1."""
    made = {}
    for number, (name, shape) in enumerate(sorted(shapes.items())):
        if name.endswith("num_batches_tracked"):
            made[name] = torch.zeros(shape, dtype=torch.long)
            continue
        count = math.prod(shape)
        wave = torch.sin(torch.arange(count, dtype=torch.float64) * (1.1 + 0.013 * (number % 17)) + number)
        made[name] = _scaled(name, wave, shape).float().reshape(shape)
    return made


def _scaled(name: str, wave: Tensor, shape: torch.Size) -> Tensor:
    if name.endswith("running_var"):
        return 1 + 0.5 * wave.square()
    if name.endswith(("running_mean", "bias")):
        return 0.1 * wave
    if len(shape) == 1:  # scales of normalisation, slopes of activations
        return 0.6 + 0.2 * wave
    return wave * math.sqrt(2 / math.prod(shape[1:]))


def picture(side: int) -> Tensor:
    """A smooth picture in [0, 1], (1, 3, side, side)."""
    y, x = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    waves = [torch.sin(9 * x + 4 * y * n) * torch.cos(7 * y - n * x) for n in range(1, 4)]
    return (torch.stack(waves)[None] + 1) / 2
