"""Pauses: single frames, or a few, in which a head hardly moves, as often and as long as in what is continued.

Heads rest between movements, and some videos repeat frames. Neither survives tokens of four frames, nor noise on top of
them, so pauses are put in last: a chain of two states, whose chances are counted in the driving.
"""

from __future__ import annotations

import torch
from torch import Tensor

STILL = 0.25  # of a clip's own median speed; slower is a pause
_KEPT = 0.1  # of the movement, in a pause
_CAUGHT_UP = 0.5  # of what was held back, with every frame behind it
# Of the frames of clips in general, and frames that a pause lasts; both count as much as _PRIOR frames of a driving.
_SHARE, _LENGTH, _PRIOR = 0.09, 1.6, 25.0


class Pauses:
    """Pauses of one clip; what is held back in one is caught up behind it.

    Args:
        driving: frames so far, relative to what is a usual size for each feature, (n, features); None for none.
        last: the last frame before those that come, (features,); None for none.
        generator: of the random numbers; none other may draw from it.
    """

    def __init__(self, driving: Tensor | None, last: Tensor | None, generator: torch.Generator) -> None:
        self._last, self._generator = last, generator
        self._held_back = torch.zeros(())
        self._paused = False
        share, self._length = pauses_of(driving)
        # So that in the long run that share of the frames is in pauses of that length.
        self._begin = min(1.0, share / (1 - share) / self._length)

    def __call__(self, frames: Tensor) -> Tensor:
        """The same frames, (n, features), with pauses; any pieces give the same in the end."""
        made = torch.empty_like(frames)
        for number, frame in enumerate(frames):
            drawn = float(torch.rand(1, generator=self._generator))
            self._paused = drawn >= 1 / self._length if self._paused else drawn < self._begin
            if not self._paused:
                self._held_back = (1 - _CAUGHT_UP) * self._held_back
            elif self._last is not None:
                self._held_back = self._held_back + (1 - _KEPT) * (frame - self._last)
            made[number], self._last = frame - self._held_back, frame
        return made


def pauses_of(driving: Tensor | None) -> tuple[float, float]:
    """Share of frames in pauses, below 1, and mean length of a pause in frames, at least 1.

    Args:
        driving: as in `Pauses`. A short one is told by what clips have in general.
    """
    resting: list[bool] = []
    if driving is not None and len(driving) > 1:
        speeds = driving.diff(dim=0).norm(dim=1)
        resting = (speeds < STILL * speeds.median()).tolist()
    begun = sum(now and not before for before, now in zip([False, *resting], resting, strict=False))
    frames = sum(resting) + _PRIOR * _SHARE
    return frames / (len(resting) + _PRIOR), frames / (begun + _PRIOR * _SHARE / _LENGTH)
