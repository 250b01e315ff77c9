"""What a representation of faces holds, asked linearly: does it know the motion, and does it know the person?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]

# Strengths of the ridge that are tried, times the number of samples.
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


@dataclass(frozen=True)
class Linear:
    """A linear map with an offset, of standardised inputs."""

    mean: Array
    scale: Array
    weights: Array
    offset: Array

    def __call__(self, x: Array) -> Array:
        """Predictions (n, K) for inputs (n, D)."""
        return (x - self.mean) / self.scale @ self.weights + self.offset


def fit_linear(x: Array, y: Array, groups: Numbers) -> Linear:
    """Ridge regression; for each target its strength is chosen on a quarter of the groups, then all are used.

    Args:
        x: inputs, (n, D).
        y: targets, (n, K).
        groups: samples of one group (a head) are never on both sides of the choice, (n,).
    """
    known = np.unique(groups)
    held = np.isin(groups, known[-max(1, len(known) // 4) :])
    errors = np.stack([((_ridge(x[~held], y[~held], ridge)(x[held]) - y[held]) ** 2).mean(axis=0) for ridge in RIDGES])
    chosen = errors.argmin(axis=0)
    made = [_ridge(x, y, ridge) for ridge in RIDGES]
    weights = np.stack([made[choice].weights[:, target] for target, choice in enumerate(chosen)], axis=1)
    return Linear(made[0].mean, made[0].scale, weights, made[0].offset)


def r_squared(predicted: Array, true: Array) -> Array:
    """Share of the variance that is predicted, for each column, (K,): 1 is all of it, 0 what the mean would do, and
    below 0 worse than that."""
    rest = ((predicted - true) ** 2).sum(axis=0)
    whole = ((true - true.mean(axis=0)) ** 2).sum(axis=0)
    return np.where(whole > 0, 1 - rest / np.where(whole > 0, whole, 1), np.nan)


def read_out(x: Array, labels: Numbers, train: NDArray[np.bool_]) -> float:
    """Share of the samples outside `train` whose label a linear map of the others names."""
    known = np.unique(labels[train])
    target = (labels[train, None] == known).astype(np.float64)
    # No groups: every label has to be in the training samples.
    spread = np.arange(int(train.sum())) % 8
    made = fit_linear(x[train], target, spread)
    named = known[made(x[~train]).argmax(axis=1)]
    return float((named == labels[~train]).mean())


@dataclass(frozen=True)
class Ordering:
    """Whether one motion on two heads lies closer than two motions on one head.

    Attributes:
        closer: share of (same motion, other head) and (other motion, same head) of all anchors in which the first is
            closer; 0.5 is chance, 1 is a representation without the person.
        nearest: share of samples whose nearest neighbour on other heads shows the same motion; chance is one over the
            number of motions.
        ratio: mean distance of the first kind over that of the second; below 1 is right.
        anchors: number of samples asked.
    """

    closer: float
    nearest: float
    ratio: float
    anchors: int


def ordering(x: Array, heads: Numbers, motions: Numbers) -> Ordering:
    """Compare distances (Euclidean) between samples.

    Args:
        x: (n, D).
        heads, motions: number of the head and of the motion of each, (n,).
    """
    squares = (x * x).sum(axis=1)
    distances = np.sqrt(np.clip(squares[:, None] + squares - 2 * x @ x.T, 0, None))
    same_motion = (motions[:, None] == motions) & (heads[:, None] != heads)
    same_head = (heads[:, None] == heads) & (motions[:, None] != motions)
    closer, nearest, near, far = [], [], [], []
    for n in range(len(x)):
        a, b = distances[n][same_motion[n]], distances[n][same_head[n]]
        if not len(a) or not len(b):
            continue
        closer.append((a[:, None] < b).mean())
        elsewhere = np.flatnonzero(heads != heads[n])
        nearest.append(motions[elsewhere[distances[n][elsewhere].argmin()]] == motions[n])
        near.append(a.mean())
        far.append(b.mean())
    if not closer:
        return Ordering(float("nan"), float("nan"), float("nan"), 0)
    ratio = float(np.mean(near) / np.mean(far)) if np.mean(far) else float("nan")
    return Ordering(float(np.mean(closer)), float(np.mean(nearest)), ratio, len(closer))


def _ridge(x: Array, y: Array, strength: float) -> Linear:
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-8
    z, offset = (x - mean) / scale, y.mean(axis=0)
    # In the smaller of the two spaces: samples or dimensions.
    if z.shape[0] < z.shape[1]:
        inner = z @ z.T + strength * len(z) * np.eye(len(z))
        weights = z.T @ np.linalg.solve(inner, y - offset)
    else:
        weights = np.linalg.solve(z.T @ z + strength * len(z) * np.eye(z.shape[1]), z.T @ (y - offset))
    return Linear(mean, scale, weights, offset)
