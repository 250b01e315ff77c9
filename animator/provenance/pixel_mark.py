"""An invisible mark in the pixels of a video, and its reader.

A spread-spectrum mark (Cox et al. 1997): a faint pattern, the same in every picture, added to the brightness. The
pattern is a tile that repeats, half as large as the picture's shorter side, so that it scales with the picture and a
part of the picture still holds whole tiles. A third of the tile's frequencies is a fixed signal, which tells where the
tiles lie and how large they are, after a crop and a resize too; the others carry 24 bits: 16 of an identifier, and 8
of a checksum, which keeps chance from being taken for a mark.

Nothing here is secret: the pattern follows from a public key, so anyone can read the mark, and whoever sets out to can
remove it. `docs/provenance.md` says what it survives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

ID_BITS, CHECK_BITS = 16, 8
BITS = ID_BITS + CHECK_BITS
KEY = b"xnemo pixel mark 1"

UNITS = 256  # the shorter side of a picture, in the units that the pattern is made in
TILE = 128  # units; two tiles along the shorter side
LONGEST = 8  # longer side of what is read, in shorter sides: of a strip of 8192 x 2 pixels a billion units would be
BAND = (3, 24)  # periods in a tile: coarser ones drown in the picture, finer ones do not survive compression
SYNC_EVERY = 3  # one in so many frequencies belongs to the fixed signal

# Strength in grey levels: faint where the picture is smooth, stronger where its own detail hides the mark.
FAINT, SHARE_OF_DETAIL, STRONGEST = 1.0, 0.11, 3.5
DETAIL_SIDE = 8  # units; surroundings that the detail of a place is taken from
BRIGHTNESS = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # BT.709, as the videos are written

# Reading. The scales are those of the picture's shorter side to the marked one's: up to 1.4 for what a crop left, from
# 0.75 for a picture with a border. A step moves the pattern by half a unit at the edge.
SCALES = np.exp(np.arange(np.log(0.7), np.log(1.35), 0.005))
PLACES = 12  # at each scale, those where the fixed signal is strongest
# Scores that prove the mark: alone, and where the checksum agrees too. docs/provenance.md has both kinds of error.
SURE, LIKELY = 8.0, 6.5
MOST_PICTURES = 48  # a video is judged by so many pictures at most

Luma = NDArray[np.float32]
Tile = NDArray[np.float64]
Spectrum = NDArray[np.complex128]


@dataclass(frozen=True, eq=False)
class PixelMark:
    """What the pixels of a video hold.

    Attributes:
        found: the mark is there.
        identifier: the 16 bits that it carries; None where it is not there, or its bits do not agree with its checksum.
        score: of fixed signal and bits together, in standard deviations of chance at one place.
        scale: size of the marked picture, relative to what is shown, each by its shorter side; above 1 after a crop.
        bits: the bits as they were read, right or wrong, bool (BITS,).
    """

    found: bool
    identifier: int | None
    score: float
    scale: float
    bits: NDArray[np.bool_]


class PixelMarker:
    """Marks the pictures of one video.

    Args:
        identifier: 0 to 65535, what the mark shall say.
    Raises:
        ValueError: another identifier.
    """

    def __init__(self, identifier: int) -> None:
        if not 0 <= identifier < 2**ID_BITS:
            raise ValueError(f"identifier must be 0 to {2**ID_BITS - 1}, not {identifier}")
        self._tile = _tile(bits_of(identifier))
        self._pattern = np.empty((0, 0), dtype=np.float32)

    def mark(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A marked copy of a picture.

        Args:
            picture: uint8 RGB, (height, width, 3).
        """
        if self._pattern.shape != picture.shape[:2]:
            self._pattern = _laid_out(self._tile, *picture.shape[:2])
        luma = _luma(picture)
        side = max(3, round(DETAIL_SIDE * min(luma.shape) / UNITS))
        mean = ndimage.uniform_filter(luma, side)
        detail = np.sqrt(np.maximum(ndimage.uniform_filter(luma * luma, side) - mean * mean, 0))
        change = np.minimum(FAINT + SHARE_OF_DETAIL * detail, STRONGEST) * self._pattern
        marked = picture + change[..., None]
        return np.clip(np.rint(marked, out=marked), 0, 255).astype(np.uint8)


def read_pixel_mark(pictures: Iterable[NDArray[np.uint8]]) -> PixelMark:
    """Look for the mark in pictures of one video.

    Args:
        pictures: uint8 RGB, (height, width, 3), all of one size; more of them make it surer. At least one.
    """
    total: Luma | None = None
    for picture in pictures:
        flat = _whitened(picture)
        total = flat if total is None else total + flat
    if total is None:
        raise ValueError("there must be at least one picture")
    return _read(total)


def identifier_of(*parts: str) -> int:
    """16 bits that follow from texts, for `PixelMarker`."""
    return int.from_bytes(hashlib.sha256("\n".join(parts).encode()).digest()[: ID_BITS // 8], "big")


@dataclass(frozen=True)
class _Code:
    """What the key says of each frequency in use; of two opposite ones, which a real pattern ties, one is listed.

    Attributes:
        rows, columns: where they stand in the spectrum that `rfft2` gives of a tile, int (frequencies,).
        turns: unit complex numbers, the fixed signal's and each bit's when it is set, (frequencies,).
        owner: whose a frequency is, one-hot, float (1 + BITS, frequencies): the fixed signal's, then the bits'.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    turns: Spectrum
    owner: NDArray[np.float64]


@cache
def _code() -> _Code:
    numbers = np.fft.fftfreq(TILE, 1 / TILE).astype(int)
    y, x = np.meshgrid(numbers, numbers[: TILE // 2], indexing="ij")
    radius = np.hypot(y, x)
    rows, columns = np.nonzero((radius >= BAND[0]) & (radius < BAND[1]) & ((x > 0) | (y > 0)))
    count = len(rows)
    # From a hash and not from a generator, whose numbers may change with the version of numpy.
    drawn = np.frombuffer(hashlib.shake_256(KEY).digest(8 * count), dtype="<u4").reshape(2, count)
    # Dealt like cards: one for the fixed signal, the next ones for bits, and so on.
    card = np.arange(count)
    hands = np.where(card % SYNC_EVERY == 0, 0, 1 + (card - card // SYNC_EVERY - 1) % BITS)
    owners = np.empty(count, dtype=np.int64)
    owners[np.argsort(drawn[1], kind="stable")] = hands
    return _Code(rows, columns, np.exp(2j * np.pi * drawn[0] / 2**32), np.eye(1 + BITS)[:, owners])


def _tile(bits: NDArray[np.bool_]) -> Tile:
    """The pattern of some bits, (TILE, TILE), of standard deviation 1."""
    code = _code()
    signs = np.concatenate([[1.0], np.where(bits, 1.0, -1.0)])
    tile = fft.irfft2(_spread(code.turns * (signs @ code.owner)), s=(TILE, TILE))
    return np.asarray(tile / tile.std())


def _spread(values: Spectrum) -> Spectrum:
    """Values at the frequencies in use as a spectrum for `irfft2`, (TILE, TILE / 2 + 1)."""
    code = _code()
    spectrum = np.zeros((TILE, TILE // 2 + 1), dtype=np.complex128)
    spectrum[code.rows, code.columns] = values
    lonely = code.columns == 0  # only there are opposite frequencies both in the half that is stored
    spectrum[-code.rows[lonely], 0] = values[lonely].conj()
    return spectrum


def _laid_out(tile: Tile, height: int, width: int) -> Luma:
    """The pattern over a whole picture, float32 (height, width)."""
    unit = min(height, width) / UNITS
    rows, columns = ((np.arange(side) + 0.5) / unit - 0.5 for side in (height, width))
    places = np.meshgrid(rows, columns, indexing="ij")
    return np.asarray(ndimage.map_coordinates(tile, places, order=3, mode="grid-wrap"), dtype=np.float32)


def _luma(picture: NDArray[np.uint8]) -> Luma:
    return picture.astype(np.float32) @ BRIGHTNESS


def _whitened(picture: NDArray[np.uint8]) -> Luma:
    """A picture's fine structure at UNITS to the shorter side, as strong everywhere."""
    most = LONGEST * min(picture.shape[:2])
    top, left = (max(0, side - most) // 2 for side in picture.shape[:2])
    luma = _luma(picture[top : top + most, left : left + most])
    height, width = luma.shape
    unit = min(height, width) / UNITS
    if unit != 1:
        size = (round(width / unit), round(height / unit))
        way = Image.Resampling.BOX if unit > 1 else Image.Resampling.BICUBIC
        luma = np.asarray(Image.fromarray(luma).resize(size, way))
    # Boxes, twice, are nearly Gaussians of 4.5 units, in a tenth of the time.
    coarse = ndimage.uniform_filter(ndimage.uniform_filter(luma, 11), 11)
    fine = ndimage.gaussian_filter(luma, 0.8, truncate=3) - coarse
    strength = ndimage.uniform_filter(ndimage.uniform_filter(fine * fine, 11), 11)
    return np.asarray(fine / np.sqrt(strength + 0.25), dtype=np.float32)


def _read(structure: Luma) -> PixelMark:
    """Try every scale and the likely places at each, and take the one that fixed signal and bits together speak for."""
    code = _code()
    sizes = code.owner.sum(axis=1)
    best, agreed, scale = -np.inf, np.zeros(1 + BITS), 1.0
    for tried in SCALES:
        turns = _folded_turns(structure, tried)
        found = turns * code.turns.conj()
        fixed = fft.irfft2(_spread(found * code.owner[0]), s=(TILE, TILE))
        places = np.argpartition(fixed, -PLACES, axis=None)[-PLACES:]
        rows, columns = np.divmod(places, TILE)
        shifts = np.exp(2j * np.pi / TILE * (np.outer(rows, code.rows) + np.outer(columns, code.columns)))
        # In standard deviations of chance, for which all turns are as likely: the mean square of a cosine is 1/2.
        agreement = (shifts * found).real @ code.owner.T / np.sqrt(sizes / 2)
        scores = (agreement[:, 0] + _evidence(agreement[:, 1:])) / np.sqrt(2)
        winner = int(scores.argmax())
        if scores[winner] > best:
            best, agreed, scale = float(scores[winner]), agreement[winner], float(tried)
    bits = agreed[1:] > 0
    identifier = _identifier(bits)
    found_it = best >= (SURE if identifier is None else LIKELY)
    return PixelMark(found_it, identifier if found_it else None, best, 1 / scale, bits)


def _evidence(agreement: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far bits, each of either sign, stand out from chance together, in standard deviations; (places,)."""
    mean, deviation = np.sqrt(2 / np.pi), np.sqrt(1 - 2 / np.pi)  # of the size of a standard normal number
    return np.asarray((np.abs(agreement).mean(axis=1) - mean) * np.sqrt(BITS) / deviation)


def _folded_turns(structure: Luma, scale: float) -> Spectrum:
    """The phases of all tiles laid over each other, as unit numbers at the frequencies in use.

    Without their sizes, for spectra of pictures are steep, and a few strong frequencies would decide alone.
    """
    rows, columns = (np.floor((np.arange(side) + 0.5) * scale % TILE).astype(np.int64) for side in structure.shape)
    cells = (rows[:, None] * TILE + columns[None]).ravel()
    sums = np.bincount(cells, weights=structure.ravel(), minlength=TILE * TILE).reshape(TILE, TILE)
    counts = np.outer(np.bincount(rows, minlength=TILE), np.bincount(columns, minlength=TILE))
    code = _code()
    values = fft.rfft2(sums / np.maximum(counts, 1))[code.rows, code.columns]
    return np.asarray(values / np.maximum(np.abs(values), 1e-9))


def bits_of(identifier: int) -> NDArray[np.bool_]:
    """Identifier and checksum as the bits that the mark carries, bool (BITS,)."""
    word = identifier << CHECK_BITS | _checksum(identifier)
    return np.array([word >> bit & 1 for bit in reversed(range(BITS))], dtype=bool)


def _identifier(bits: NDArray[np.bool_]) -> int | None:
    """The identifier that bits spell, where they agree with their checksum."""
    word = int("".join("1" if bit else "0" for bit in bits), 2)
    identifier = word >> CHECK_BITS
    return identifier if word & (2**CHECK_BITS - 1) == _checksum(identifier) else None


def _checksum(identifier: int) -> int:
    return hashlib.sha256(KEY + identifier.to_bytes(ID_BITS // 8, "big")).digest()[0]
