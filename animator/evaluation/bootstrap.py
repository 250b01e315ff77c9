"""How sure a mean over clips is: percentile bootstrap, with clips as the units that are drawn.

Frames of one clip are alike, so drawing frames would promise far too much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure over clips.

    Attributes:
        value: the figure.
        low, high: the 95 % interval; NaN where fewer than two clips count.
        clips: number of clips that count.
    """

    value: float
    low: float
    high: float
    clips: int


def draws(count: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Numbers of the clips in each resample, (resamples, count); the same for every metric, so that rows compare."""
    return np.random.default_rng(seed).integers(0, count, (resamples, count))


def mean_interval(values: Array, resamples: int, seed: int) -> Interval:
    """Mean over clips, (n,); those that are NaN have nothing to say and do not count."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    sampled = known[draws(len(known), resamples, seed)].mean(axis=1)
    return interval(float(known.mean()), sampled, len(known))


def interval(value: float, sampled: Array, clips: int) -> Interval:
    """The interval of a figure from its values in the resamples."""
    if clips < 2:
        return Interval(value, float("nan"), float("nan"), clips)
    low, high = np.quantile(sampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), clips)
