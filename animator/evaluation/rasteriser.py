"""Triangles to pixels with a depth buffer, in numpy: for heads whose identity and motion are known exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def rasterise(
    corners: Array, depths: Array, colours: Array, side: int, background: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """Draw flat triangles; where several cover a pixel's centre, the nearest is seen.

    Every triangle walks over the pixels of its box, all triangles at the same time: step (dx, dy) tests the pixel that
    lies so far from the corner of each box that is large enough. That is quick for many small triangles.

    Args:
        corners: x to the right and y down, in pixels, (F, 3, 2).
        depths: of the corners, larger is further away, (F, 3).
        colours: RGB in [0, 1], (F, 3).
        side: of the square picture in pixels.
        background: RGB in [0, 1].
    Returns:
        (side, side, 3), uint8.
    """
    area = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    low = np.clip(np.floor(corners.min(axis=1)), 0, side).astype(int)
    size = np.clip(np.ceil(corners.max(axis=1)), 0, side).astype(int) - low
    drawn = np.flatnonzero((np.abs(area) > 1e-9) & (size > 0).all(axis=1))
    pixels, distances, owners = [], [], []
    for dy in range(int(size[drawn, 1].max(initial=0))):
        rows = drawn[size[drawn, 1] > dy]
        for dx in range(int(size[rows, 0].max(initial=0))):
            chosen = rows[size[rows, 0] > dx]
            x, y = low[chosen, 0] + dx, low[chosen, 1] + dy
            weights = _barycentric(corners[chosen], area[chosen], np.stack([x, y], axis=1) + 0.5)
            inside = (weights >= 0).all(axis=1)
            pixels.append((y * side + x)[inside])
            distances.append((weights * depths[chosen]).sum(axis=1)[inside])
            owners.append(chosen[inside])
    picture = np.empty((side * side, 3))
    picture[:] = background
    if pixels:
        # Of fragments that fall on one pixel the last is kept, and the nearest come last.
        order = np.argsort(-np.concatenate(distances), kind="stable")
        picture[np.concatenate(pixels)[order]] = colours[np.concatenate(owners)[order]]
    return (picture.reshape(side, side, 3).clip(0, 1) * 255).round().astype(np.uint8)


def _barycentric(corners: Array, area: Array, points: Array) -> Array:
    """Weights of a triangle's corners at a point, (n, 3); all at least 0 inside, whichever way round it is."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    parts = (_cross(b - points, c - points), _cross(c - points, a - points), _cross(a - points, b - points))
    return np.stack(parts, axis=1) / area[:, None]


def _cross(a: Array, b: Array) -> Array:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
