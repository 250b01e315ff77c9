"""Square crops about a face: for the motion encoder and for the portrait (the released preprocessing).

Boxes are (x0, y0, x1, y1) in pixels, y down. "Side" of a box is its longer side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from animator.face_detector import Box
from animator.image import resize

# The encoder's crop is this much larger than the detector's box.
CROP_SCALE = 1.1


def crop_side(box: Box) -> int:
    """Side of the encoder's square crop for a face: the box x 1.1, its longer side rounded and made even, in pixels."""
    return max(_even(CROP_SCALE * (box[2] - box[0])), _even(CROP_SCALE * (box[3] - box[1])))


def _even(length: float) -> int:
    """The nearest whole number, made even by taking one away (as the release does), at least 2."""
    return max(2, round(length) // 2 * 2)


def place_square(x: float, y: float, side: int, width: int, height: int) -> tuple[int, int, int, int]:
    """A square of whole pixels about (x, y), shifted back inside the picture.

    Along an axis that is too short for it, it covers the whole axis and reaches outside.

    Returns:
        (x0, y0, x1, y1), x1 - x0 = y1 - y0 = side.
    """
    x0, y0 = (
        int(np.clip(centre - side / 2, min(0, length - side), max(0, length - side)))
        for centre, length in ((x, width), (y, height))
    )
    return x0, y0, x0 + side, y0 + side


def cut(picture: np.ndarray, box: Sequence[int], mode: Literal["edge", "constant"]) -> np.ndarray:
    """Cut a box of whole pixels out of a picture (H, W, 3); beyond it the edge is repeated, or black ("constant")."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = (int(value) for value in box)
    inside = picture[max(0, y0) : min(height, y1), max(0, x0) : min(width, x1)]
    outside = ((max(0, -y0), max(0, y1 - height)), (max(0, -x0), max(0, x1 - width)), (0, 0))
    # Padding by nothing costs as much as decoding a small frame.
    return np.pad(inside, outside, mode=mode) if any(map(any, outside)) else inside


def face_box_square(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """The encoder's crop of a still picture: the box x 1.1, square, shifted inside the picture.

    Args:
        box: the face's box in pixels.
        width: width of the picture.
        height: height of the picture.
    Returns:
        (x0, y0, x1, y1) in whole pixels; larger than the picture if the face is, see `crop_face`.
    """
    return place_square((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, crop_side(box), width, height)


def crop_face(frame: np.ndarray, crop_box: Sequence[int], size: int) -> np.ndarray:
    """Cut out a crop and resize it for the encoder (Lanczos).

    Args:
        frame: RGB picture, (H, W, 3), uint8.
        crop_box: (x0, y0, x1, y1), whole pixels; where it reaches outside the picture, the edge is repeated.
        size: side of the result in pixels (224 for the paper's encoder).
    Returns:
        (size, size, 3), uint8.
    """
    return resize(cut(frame, crop_box, "edge"), (size, size))


@dataclass(frozen=True, eq=False)
class PortraitCrop:
    """A portrait cut to the model's frame.

    Attributes:
        image: RGB picture, (size, size, 3), uint8.
        box: the face's box in pixels of `image`.
        window: the square (x0, y0, x1, y1) of the original picture, in its pixels, that `image` shows; where it reaches
            over the edges of the original, `image` is black.
    """

    image: np.ndarray
    box: Box
    window: tuple[int, int, int, int]


def crop_portrait(
    image: np.ndarray, box: Box, size: int, margin: float = 0.5, least_margin: float = 0.25
) -> PortraitCrop:
    """Cut a portrait to a square about the face.

    The square has the face's side plus `margin` of it on each side, and is shifted inside the picture. In a picture
    that is too small for it, the margin shrinks, so that no border shows; below `least_margin` it does not, and the
    picture is padded with black (the release keeps its margin of 0.5 and pads at once).

    Args:
        image: RGB picture, (H, W, 3), uint8.
        box: the face's box in pixels.
        size: side of the result in pixels (512 for the paper's model).
        margin: part of the face's side that is added on each side, at least 0.
        least_margin: what it may shrink to, at most `margin`.
    """
    height, width = image.shape[:2]
    face = max(box[2] - box[0], box[3] - box[1])
    wanted, least = ((1 + 2 * part) * face for part in (margin, least_margin))
    side = max(1, round(min(wanted, max(least, min(height, width)))))
    window = place_square((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, side, width, height)
    scale = size / side
    x0, y0 = window[:2]
    moved = ((box[0] - x0) * scale, (box[1] - y0) * scale, (box[2] - x0) * scale, (box[3] - y0) * scale)
    return PortraitCrop(resize(cut(image, window, "constant"), (size, size)), moved, window)
