"""Laying a driving face on a portrait by landmarks, as X-Portrait does, so that shape and place leak less.

The driving frame whose head has the portrait's pose says how its landmarks' box is to be moved and scaled, each axis
by itself, to become the portrait's box; that map is applied to all frames. Landmarks are the face detector's: eyes
(the picture's left one first), nose, mouth and ears, (6, 2), x and y in pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from animator.face_crop import cut

Points = NDArray[np.float32]

POINTS = 6
PATCHES = (0, 1, 3)  # the points about which patches are cut: both eyes and the mouth
PATCH_SHARE = 4  # a patch's side is the picture's shorter side over this: 128 of 512 pixels


@dataclass(frozen=True)
class Alignment:
    """A map of driving pixels q to result pixels: scale * q + shift, (x, y) each."""

    scale: tuple[float, float]
    shift: tuple[float, float]

    @classmethod
    def between(cls, driving: Points, portrait: Points) -> Alignment:
        """The map that takes the box about the driving landmarks to the box about the portrait's."""
        low, high = driving.min(axis=0), driving.max(axis=0)
        onto_low, onto_high = portrait.min(axis=0), portrait.max(axis=0)
        # A box without width would have no map; landmarks that coincide are no face in any case.
        scale = np.maximum(onto_high - onto_low, 1) / np.maximum(high - low, 1)
        shift = onto_low - scale * low
        return cls((float(scale[0]), float(scale[1])), (float(shift[0]), float(shift[1])))

    def moved(self, points: Points) -> Points:
        """Driving points (..., 2) in result pixels."""
        return (points * self.scale + self.shift).astype(np.float32)

    def picture(self, frame: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
        """A driving frame in result pixels, (height, width, 3); black beyond its edges."""
        x0, x1 = ((x - self.shift[0]) / self.scale[0] for x in (0, width))
        y0, y1 = ((y - self.shift[1]) / self.scale[1] for y in (0, height))
        left, top = math.floor(x0), math.floor(y0)
        seen = cut(frame, (left, top, math.ceil(x1), math.ceil(y1)), "constant")
        part = (x0 - left, y0 - top, x1 - left, y1 - top)
        return np.array(Image.fromarray(seen).resize((width, height), Image.Resampling.BICUBIC, part), np.uint8)


def best_frame(driving: Points, portrait: Points) -> int:
    """The frame whose head is nearest to the portrait's in pose.

    Landmarks are compared after their mean place and mean size are taken out, so that what is left is how the head is
    turned (and a little of who it is, which is the same in all frames).

    Args:
        driving: (T, 6, 2); frames of NaN are never chosen, unless there are no others.
        portrait: (6, 2).
    """
    distance = np.abs(_centred(driving) - _centred(portrait)).sum(axis=(1, 2))
    return int(np.nanargmin(distance)) if np.isfinite(distance).any() else 0


def _centred(points: Points) -> Points:
    moved = points - points.mean(axis=-2, keepdims=True)
    size = np.sqrt(np.square(moved).mean(axis=(-2, -1), keepdims=True))
    centred: Points = moved / np.maximum(size, 1e-6)
    return centred


def patches(picture: NDArray[np.uint8], points: Points) -> NDArray[np.uint8]:
    """The local hint: a black picture into which squares about eyes and mouth are copied in place.

    Args:
        picture: an aligned driving frame, (height, width, 3).
        points: its landmarks.
    """
    height, width = picture.shape[:2]
    half = min(height, width) // PATCH_SHARE // 2
    shown = np.zeros_like(picture)
    for x, y in points[list(PATCHES)]:
        left, top = (
            int(np.clip(round(float(centre)), half, length - half)) - half
            for centre, length in ((x, width), (y, height))
        )
        window = np.s_[top : top + 2 * half, left : left + 2 * half]
        shown[window] = picture[window]
    return shown


def bridged(points: Points) -> Points:
    """Landmarks (T, 6, 2) with frames of NaN filled linearly in time, at the ends by the nearest frame."""
    flat = points.reshape(len(points), -1)
    known = np.flatnonzero(np.isfinite(flat).all(axis=1))
    if len(known) == len(flat):
        return points
    columns = [np.interp(np.arange(len(flat)), known, column[known]) for column in flat.T]
    return np.stack(columns, axis=1).astype(np.float32).reshape(points.shape)
