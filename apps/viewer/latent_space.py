"""The space of motion latents, made legible: principal components, and what a linear map reads out of a latent.

Both are fitted once over a motion dataset and kept in a file, so that a direction means the same thing on every page
and for every clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

COMPONENTS = 8
SIGNALS = ("mouth", "blink", "smile", "yaw")


@dataclass(frozen=True, eq=False)
class Pca:
    """Principal components of latents.

    Attributes:
        mean: (512,).
        components: unit directions, the one with most variance first, (k, 512).
        deviation: standard deviation along each, (k,).
        share: of the whole variance, (k,).
    """

    mean: Array
    components: Array
    deviation: Array
    share: Array

    def __call__(self, latents: Array) -> Array:
        """Coordinates (n, k) of latents (n, 512), in standard deviations."""
        return ((latents - self.mean) @ self.components.T / self.deviation).astype(np.float32)


def fit_pca(latents: Array, components: int = COMPONENTS) -> Pca:
    """Fit principal components.

    Args:
        latents: (n, 512), n above 1.
        components: how many; fewer where there are not so many frames.
    """
    mean = latents.mean(axis=0)
    centred = (latents - mean).astype(np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred / max(1, len(latents) - 1))
    order = np.argsort(values)[::-1][: min(components, len(latents) - 1)]
    kept = np.clip(values[order], 1e-12, None)
    directions = vectors[:, order].T
    # A direction and its opposite are as good: the largest entry is positive, so that a fit can be repeated.
    signs = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)])
    total = max(float(np.clip(values, 0, None).sum()), 1e-12)
    return Pca(
        mean.astype(np.float32),
        (directions * signs[:, None]).astype(np.float32),
        np.sqrt(kept).astype(np.float32),
        (kept / total).astype(np.float32),
    )


@dataclass(frozen=True, eq=False)
class Readout:
    """What a linear map reads out of a latent: mouth, blink and smile from 0 to 1, yaw in degrees.

    Attributes:
        weights: (512, 4), in the order of `SIGNALS`.
        offset: (4,).
        correlation: with MediaPipe's Face Landmarker over the frames of held-out people, (4,).
    """

    weights: Array
    offset: Array
    correlation: Array

    def __call__(self, latents: Array) -> dict[str, Array]:
        """Each signal, (n,), of latents (n, 512)."""
        values = latents @ self.weights + self.offset
        values[:, :3] = values[:, :3].clip(0, 1)
        return {name: values[:, column] for column, name in enumerate(SIGNALS)}


def fit_readout(latents: Array, signals: Array, groups: NDArray[np.int64], held_out: NDArray[np.bool_]) -> Readout:
    """Fit the linear map (ridge; its strength is chosen on people left out) and measure it on held-out frames.

    Args:
        latents: (n, 512).
        signals: (n, 4), in the order of `SIGNALS`.
        groups: number of the person, (n,).
        held_out: frames that are not fitted, (n,).
    """
    from animator.evaluation.probes import fit_linear

    fit = ~held_out
    made = fit_linear(latents[fit].astype(np.float64), signals[fit].astype(np.float64), groups[fit])
    weights = made.weights / made.scale[:, None]
    offset = made.offset - made.mean @ weights
    read = latents[held_out] @ weights + offset
    correlation = [np.corrcoef(read[:, n], signals[held_out][:, n])[0, 1] for n in range(len(SIGNALS))]
    return Readout(weights.astype(np.float32), offset.astype(np.float32), np.array(correlation, np.float32))


def to_arrays(pca: Pca, readout: Readout | None) -> dict[str, Array]:
    """Both as named arrays, for a file."""
    arrays = {f"pca.{name}": getattr(pca, name) for name in ("mean", "components", "deviation", "share")}
    if readout is not None:
        arrays |= {f"readout.{name}": getattr(readout, name) for name in ("weights", "offset", "correlation")}
    return arrays


def from_arrays(arrays: Mapping[str, Array]) -> tuple[Pca, Readout | None]:
    """What `to_arrays` made.

    Raises:
        KeyError: an array is missing.
    """
    pca = Pca(*(arrays[f"pca.{name}"] for name in ("mean", "components", "deviation", "share")))
    if "readout.weights" not in arrays:
        return pca, None
    return pca, Readout(*(arrays[f"readout.{name}"] for name in ("weights", "offset", "correlation")))
