"""Frames that two windows share, computed once: the second window knows them by what the first one made of them.

Windows overlap so that the temporal layers of each see the same frames at their common edge; for everything else of the
denoiser a frame could stand alone. So the later window need not compute the shared frames again: at each temporal layer
it is given what entered that layer in the window before, at the same step, and only its own frames come out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

Features = dict[nn.Module, Tensor]  # temporal layer -> what entered it, (B, frames, C, h, w)


@dataclass
class OverlapFeatures:
    """What goes into one forward pass of the denoiser about the frames before its own, and what comes out for the next.

    Args:
        before: features of the frames before, the same number in each layer; empty, there are none.
        keep: so many last frames of the window, those before included, are kept.
        kept: their features; the pass puts them here.
    """

    before: Features
    keep: int
    kept: Features = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """Number of frames before."""
        return next(iter(self.before.values())).shape[1] if self.before else 0

    def extended(self, layer: nn.Module, own: Tensor) -> Tensor:
        """All frames that a temporal layer is to see.

        Args:
            layer: the layer, which is about to run.
            own: what enters it of the pass's own frames, (B, F, C, h, w).
        Returns:
            The frames before and the own ones, (B, E + F, C, h, w).
        Raises:
            KeyError: it did not run in the window before.
        """
        window = torch.cat([self.before[layer], own], dim=1) if self.before else own
        if self.keep:
            # A copy: a part of the window would keep the memory of all of it.
            self.kept[layer] = window[:, -self.keep :].clone()
        return window


class WindowOverlaps:
    """Features of shared frames on their way from each window to the next; those of one step at a time for each pair.

    Args:
        windows: from `plan_windows`, at least one.
    Attributes:
        own: the frames that each window computes itself: those that are not in the one before.
    """

    def __init__(self, windows: list[range]) -> None:
        self.own = [windows[0], *(range(before.stop, after.stop) for before, after in pairwise(windows))]
        self._shared = {before.stop: before.stop - after.start for before, after in pairwise(windows)}
        self._waiting: dict[tuple[int, int], Features] = {}  # (first own frame, step) -> features

    def recall(self, frames: range, step: int) -> OverlapFeatures:
        """What a window's next pass is given; the window before must have taken this step.

        Args:
            frames: its own frames.
            step: denoising steps done.
        """
        before = self._waiting.pop((frames.start, step)) if self._shared.get(frames.start) else {}
        return OverlapFeatures(before, self._shared.get(frames.stop, 0))

    def keep(self, frames: range, step: int, features: OverlapFeatures) -> None:
        """Keep what a pass has left for the next window."""
        if features.kept:
            self._waiting[frames.stop, step] = features.kept
