"""Colours of codes: codes that lie near each other in the codebook have similar ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LIGHTNESS = (60, 80)  # per cent: dark text can be read on all of them
SATURATION = (42, 62)


def palette(codebook: NDArray[np.float32]) -> list[str]:
    """A CSS colour for each code.

    The angle in the plane of the codebook's first two principal components is the hue, the third and the fourth are
    lightness and saturation; each is spread evenly over its range by rank.

    Args:
        codebook: (codes, d).
    """
    centred = codebook - codebook.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(codebook), 4))
    kept = min(4, len(directions))
    places[:, :kept] = centred @ directions[:kept].T
    hue = 360 * _ranks(np.arctan2(places[:, 1], places[:, 0]))
    light = LIGHTNESS[0] + (LIGHTNESS[1] - LIGHTNESS[0]) * _ranks(places[:, 2])
    strong = SATURATION[0] + (SATURATION[1] - SATURATION[0]) * _ranks(places[:, 3])
    return [f"hsl({h:.0f} {s:.0f}% {v:.0f}%)" for h, s, v in zip(hue, strong, light, strict=True)]


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The place of each value among all, from 0 to 1."""
    return np.argsort(np.argsort(values, kind="stable")) / max(1, len(values) - 1)
