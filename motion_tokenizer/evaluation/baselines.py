"""What a tokenizer has to beat: the same motion through a few numbers a token, without a network.

A token stands for `stride` frames, counted from the end of the clip, as the tokenizer counts; frames that are missing
at the beginning are repetitions of the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from torch import Tensor

# Features (T, 515) -> what is left of them, (T, 515).
Reconstruct = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Baseline:
    """A way to keep a motion in little room.

    Attributes:
        name: how tables call it.
        about: what it does, in words.
        numbers: how many numbers a token are kept.
        reconstruct: the way itself.
    """

    name: str
    about: str
    numbers: int
    reconstruct: Reconstruct


def simple_baselines(frames: Tensor, blocks: Tensor, mean: Tensor, deviation: Tensor, numbers: int) -> list[Baseline]:
    """PCA twice, and every fourth frame.

    Args:
        frames: features of training frames, (N, 515).
        blocks: training frames in runs of one token's, (M, stride, 515).
        mean, deviation: of the training split, (515,).
        numbers: numbers a token, as the tokenizer's codes have (8).
    """
    stride = blocks.shape[1]
    scale = torch.where(deviation > 0, deviation, 1)

    def normalised(reconstruct: Reconstruct) -> Reconstruct:
        return lambda clip: reconstruct((clip - mean) / scale) * scale + mean

    by_frame = _pca((frames - mean) / scale, numbers)
    by_block = _pca(rearrange((blocks - mean) / scale, "m s d -> m (s d)"), numbers)

    def hold(clip: Tensor) -> Tensor:
        return _ungrouped(repeat(by_frame(_grouped(clip, stride).mean(dim=1)), "n d -> n s d", s=stride), len(clip))

    def block(clip: Tensor) -> Tensor:
        groups = rearrange(_grouped(clip, stride), "n s d -> n (s d)")
        return _ungrouped(rearrange(by_block(groups), "n (s d) -> n s d", s=stride), len(clip))

    return [
        Baseline(
            f"pca{numbers}_hold",
            f"{numbers} principal components of the mean of a token's {stride} frames, held for all of them",
            numbers,
            normalised(hold),
        ),
        Baseline(
            f"pca{numbers}_block",
            f"{numbers} principal components of a token's {stride} frames together",
            numbers,
            normalised(block),
        ),
        Baseline(
            f"every_{stride}th_linear",
            f"every {stride}th frame whole, straight lines in between (looks {stride - 1} frames ahead)",
            frames.shape[1],
            lambda clip: _kept_frames(clip, stride),
        ),
    ]


def blocks_of(clip: Tensor, stride: int) -> Tensor:
    """Whole runs of `stride` frames from the end of a clip (T, D), (T // stride, stride, D)."""
    return rearrange(clip[len(clip) % stride :], "(n s) d -> n s d", s=stride)


def _pca(rows: Tensor, numbers: int) -> Reconstruct:
    """Projection of rows (N, D) on the principal components that another set of rows has."""
    mean = rows.mean(dim=0)
    centred = (rows - mean).double()
    # The covariance is small where the rows are many; its eigenvectors come in rising order.
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -numbers:].float()
    return lambda x: (x - mean) @ axes @ axes.T + mean


def _grouped(clip: Tensor, stride: int) -> Tensor:
    missing = -len(clip) % stride
    return rearrange(torch.cat([clip[:1].expand(missing, -1), clip]), "(n s) d -> n s d", s=stride)


def _ungrouped(groups: Tensor, frames: int) -> Tensor:
    return rearrange(groups, "n s d -> (n s) d")[-frames:]


def _kept_frames(clip: Tensor, stride: int) -> Tensor:
    """The last frame of each token, and straight lines between them; before the first it is held."""
    last = len(clip) - 1
    kept = torch.arange(last % stride, last + 1, stride)
    time = torch.arange(len(clip)).clamp(min=int(kept[0]))
    before = ((time - kept[0]) // stride).clamp(max=len(kept) - 1)
    after = (before + 1).clamp(max=len(kept) - 1)
    weight = ((time - kept[before]) / stride)[:, None]
    return torch.lerp(clip[kept[before]], clip[kept[after]], weight)
