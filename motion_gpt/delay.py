"""The delay pattern for tokens of several levels (MusicGen, Copet et al. 2023, section 2.2).

A row of the sequence holds level k of the token k steps earlier, so that a network which predicts all levels of a row
at once still sees the coarser levels of a token before it says the finer ones. One level is left as it is.

    token   0  1  2                  row      0  1  2  3
    level 0 a0 b0 c0       apply     level 0  a0 b0 c0 .
    level 1 a1 b1 c1       ----->    level 1  .  a1 b1 c1
"""

from __future__ import annotations

import torch
from torch import Tensor


def apply_delay(ids: Tensor, fill: int) -> Tensor:
    """Shift level k by k rows.

    Args:
        ids: (n, levels).
        fill: id for the holes at both ends.
    Returns:
        (n + levels - 1, levels).
    """
    n, levels = ids.shape
    delayed = ids.new_full((n + levels - 1, levels), fill)
    for level in range(levels):
        delayed[level : level + n, level] = ids[:, level]
    return delayed


def undo_delay(delayed: Tensor) -> Tensor:
    """Back from `apply_delay`: (n + levels - 1, levels, ...) to (n, levels, ...)."""
    rows, levels = delayed.shape[:2]
    n = rows - levels + 1
    return torch.stack([delayed[level : level + n, level] for level in range(levels)], dim=1)
