"""Deep features of the denoiser, reused over steps: after DeepCache (Ma, Fang and Wang, 2023).

From one denoising step to the next the coarse levels of a UNet change little. A step may therefore compute the finest
levels alone, on top of what the coarse ones said a step or more before. What they say depends on the frames and on the
branch of guidance, so it is kept for each of both by itself.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class DeepFeatures:
    """What goes into one forward pass of the denoiser in place of its deep levels, or comes out of them.

    Args:
        levels: finest levels, counted from 1, that are computed at every step; those below are kept.
        kept: what enters the kept levels' successor on the way up, (B F, C, h, w). Given, the deep levels are not
            computed; None, they are, and the pass puts it here.
    """

    levels: int
    kept: Tensor | None = None


class DeepCache:
    """Deep features of the windows that are under way; a window's are gone when it is done.

    Args:
        levels: see `DeepFeatures`.
        every: the deep levels are computed at every step whose number it divides, and where nothing is kept.
    """

    def __init__(self, levels: int, every: int) -> None:
        self.levels = levels
        self.every = every
        self.entries: dict[Hashable, dict[bool, Tensor]] = {}

    def recall(self, window: Hashable, branches: Sequence[bool], step: int) -> DeepFeatures:
        """What a window's next pass is given.

        Args:
            window: its name.
            branches: what the pass computes, in its order: True with the condition, False without. Features of
                others are dropped.
            step: denoising steps done.
        """
        kept = self.entries.pop(window, {})
        if step % self.every == 0 or any(branch not in kept for branch in branches):
            return DeepFeatures(self.levels)
        self.entries[window] = {branch: kept[branch] for branch in branches}
        return DeepFeatures(self.levels, torch.cat([kept[branch] for branch in branches]))

    def keep(self, window: Hashable, branches: Sequence[bool], features: DeepFeatures) -> None:
        """Keep what a pass has computed, unless it was given it; the arguments are those of `recall`."""
        if window not in self.entries and features.kept is not None:
            # Copies: a part of the batch would keep the memory of all of it.
            parts = [part.clone() for part in features.kept.chunk(len(branches))]
            self.entries[window] = dict(zip(branches, parts, strict=True))

    def drop(self, window: Hashable) -> None:
        """Forget a window that is done."""
        self.entries.pop(window, None)
