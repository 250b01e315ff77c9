"""Cross-entropy with a target that is not the right code alone: near codes would have been nearly right.

The codes are places in a space of few dimensions, and which of several near ones stands in a clip is often chance. A
target that says so keeps a small data set from teaching that all other codes are equally wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from motion_gpt.training.batches import IGNORED
from motion_gpt.training.config import SmoothingConfig

_CODES_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The codes near each code.

    Attributes:
        codes: the k nearest others, nearest first, (levels, codes, k), int64.
        weights: softmax(-d^2 / s^2) over them, (levels, codes, k), float32; s^2 is the mean squared distance of a code
            and its nearest one that is not a duplicate of it.
    """

    codes: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> Neighbours:
        """The same on another device."""
        return Neighbours(self.codes.to(device), self.weights.to(device))

    @staticmethod
    def of(codebooks: Tensor, k: int) -> Neighbours:
        """Look them up.

        Args:
            codebooks: (levels, codes, d).
            k: how many, fewer where there are not as many codes.
        """
        found = [_nearest(codebook, min(k, len(codebook) - 1)) for codebook in codebooks]
        return Neighbours(torch.stack([codes for codes, _ in found]), torch.stack([weights for _, weights in found]))


def token_losses(
    logits: Tensor, targets: Tensor, neighbours: Neighbours, settings: SmoothingConfig
) -> dict[str, Tensor]:
    """Weighted loss terms, nats a token.

    Args:
        logits: (..., levels, codes + 1), the last class is EOS.
        targets: classes, (..., levels), or `IGNORED`.
        neighbours: the codes near each code.
        settings: shares of the target.
    Returns:
        right: of the right class; near and uniform: of what the target spreads. EOS has no neighbours.
    """
    counted = targets != IGNORED
    levels = torch.arange(targets.shape[-1], device=targets.device).expand_as(targets)[counted]
    classes = targets[counted]
    logs = logits[counted].float().log_softmax(dim=-1)
    right = logs.gather(-1, classes[:, None])[:, 0]
    is_code = classes < neighbours.codes.shape[1]
    codes = torch.where(is_code, classes, 0)
    k = settings.neighbours
    spread = neighbours.weights[levels, codes, :k]
    near = (logs.gather(-1, neighbours.codes[levels, codes, :k]) * spread / spread.sum(-1, keepdim=True)).sum(dim=-1)
    near = torch.where(is_code, near, right)
    return {
        "right": -(1 - settings.near - settings.uniform) * right.mean(),
        "near": -settings.near * near.mean(),
        "uniform": -settings.uniform * logs.mean(),
    }


def _nearest(codebook: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest other codes of each, (codes, k), and their weights, (codes, k)."""
    squares, codes = [], []
    for first in range(0, len(codebook), _CODES_AT_ONCE):
        part = codebook[first : first + _CODES_AT_ONCE]
        # Exact differences: the quick way by products loses what small distances have.
        distances = torch.cdist(part, codebook, compute_mode="donot_use_mm_for_euclid_dist").square()
        # Itself is left out by number: a duplicate is as near.
        distances[torch.arange(len(part)), torch.arange(first, first + len(part))] = torch.inf
        nearest = distances.topk(k, largest=False, sorted=True)
        squares.append(nearest.values)
        codes.append(nearest.indices)
    squared = torch.cat(squares)
    apart = squared[:, 0][squared[:, 0] > 0]
    scale = apart.mean() if len(apart) else torch.ones(())
    return torch.cat(codes), (-squared / scale).softmax(dim=-1)
