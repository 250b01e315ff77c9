"""Pictures that put results beside what they came from: labelled tiles, side-by-side frames, contact sheets.

Pictures are uint8 RGB, (height, width, 3); sequences of frames (frames, height, width, 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]

BACKGROUND = (24, 24, 27)
INK = (228, 228, 231)
MARK = (245, 158, 11)


@dataclass(frozen=True)
class Row:
    """One row of a contact sheet: its label and its pictures, of any sizes."""

    label: str
    pictures: Sequence[Picture]


def fit(picture: Picture, width: int, height: int) -> Picture:
    """Scale a picture to fit into width x height, whole and undistorted, centred on the background colour."""
    scale = min(width / picture.shape[1], height / picture.shape[0])
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    canvas = Image.new("RGB", (width, height), BACKGROUND)
    scaled = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
    canvas.paste(scaled, ((width - size[0]) // 2, (height - size[1]) // 2))
    return np.asarray(canvas)


def framed(picture: Picture, share: float = 0.02) -> Picture:
    """A copy of a picture with a coloured frame, whose width is a share of the picture's height."""
    width = max(2, round(share * picture.shape[0]))  # colour has half of the resolution in a video
    marked = np.empty_like(picture)
    marked[:] = MARK
    marked[width:-width, width:-width] = picture[width:-width, width:-width]
    return marked


def dimmed(picture: Picture, share: float = 0.35) -> Picture:
    """A copy of a picture at a share of its brightness."""
    return (picture * share).astype(np.uint8)


def side_by_side(tiles: Sequence[tuple[str, Picture]], side: int) -> Picture:
    """Put labelled square tiles beside each other.

    Args:
        tiles: label and picture of each, left to right.
        side: side of a tile in pixels.
    Returns:
        (side + label strip, len(tiles) * side, 3), with even sides as video needs them.
    """
    strip = _label_height(side)
    columns = [np.concatenate([fit(picture, side, side), _label(text, side, strip)]) for text, picture in tiles]
    joined = np.concatenate(columns, axis=1)
    return joined[: joined.shape[0] // 2 * 2, : joined.shape[1] // 2 * 2]


def contact_sheet(rows: Sequence[Row], side: int = 160, gap: int = 4) -> Picture:
    """Lay rows of pictures out as a table, each row under its label.

    Args:
        rows: as many rows as wanted, of as many pictures as wanted.
        side: side of a tile in pixels.
        gap: pixels between tiles and around the sheet.
    Raises:
        ValueError: there are no pictures.
    """
    columns = max((len(row.pictures) for row in rows), default=0)
    if columns == 0:
        raise ValueError("a contact sheet needs at least one picture")
    strip = _label_height(side)
    sheet = np.empty((len(rows) * (side + strip + gap) + gap, columns * (side + gap) + gap, 3), np.uint8)
    sheet[:] = BACKGROUND
    for r, row in enumerate(rows):
        top = gap + r * (side + strip + gap)
        sheet[top : top + strip, gap:-gap] = _label(row.label, sheet.shape[1] - 2 * gap, strip)
        for c, picture in enumerate(row.pictures):
            left = gap + c * (side + gap)
            sheet[top + strip : top + strip + side, left : left + side] = fit(picture, side, side)
    return sheet


def tiles_of(sheet: Picture, rows: int, side: int, gap: int = 4) -> list[list[Picture]]:
    """The pictures of a contact sheet, row by row: `contact_sheet` undone.

    Args:
        sheet: what `contact_sheet` made of so many rows.
        rows, side, gap: as it was made.
    """
    strip, columns = _label_height(side), (sheet.shape[1] - gap) // (side + gap)
    tops = [gap + row * (side + strip + gap) + strip for row in range(rows)]
    lefts = [gap + column * (side + gap) for column in range(columns)]
    return [[sheet[top : top + side, left : left + side] for left in lefts] for top in tops]


def captioned(picture: Picture, text: str) -> Picture:
    """A copy of a picture with a line of text in its lower left corner, as long as it fits."""
    height, width = picture.shape[:2]
    strip = _label_height(min(height, width))
    long = ImageFont.load_default(size=max(9, int(strip * 0.7))).getlength(text) + strip // 2
    label = _label(text, min(width, round(long)), strip)
    picture = picture.copy()
    picture[height - label.shape[0] :, : label.shape[1]] = label
    return picture


def _label_height(side: int) -> int:
    return max(14, side // 10)


@lru_cache(maxsize=64)
def _label(text: str, width: int, height: int) -> Picture:
    canvas = Image.new("RGB", (width, height), BACKGROUND)
    font = ImageFont.load_default(size=max(9, int(height * 0.7)))
    ImageDraw.Draw(canvas).text((height // 4, height // 2), text, fill=INK, font=font, anchor="lm")
    return np.asarray(canvas)
