"""Still pictures in and out."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from animator.errors import XNeMoError
from animator.files import atomic_path

MIN_SIDE = 16  # pixels
MAX_SIDE = 4096  # pixels; larger pictures are shrunk to it, a face needs no more
BOMB_PIXELS, BOMB_RATIO = (
    40_000_000,
    1000,
)  # a picture of more, with more pixels to each byte of its file, holds nothing
MAX_PIXELS = 150_000_000  # below Pillow's own limit of 179 million; a small file may unpack to gigabytes

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def read_image(path: str | Path, as_stored: bool = False) -> NDArray[np.uint8]:
    """Read a picture as it is meant to be seen.

    The camera's orientation (EXIF) is applied, transparency laid over white, grey and 16-bit pictures turned into
    8-bit RGB, the first picture taken of an animation. A side above 4096 px is shrunk to that, the other with it.

    Args:
        path: the file.
        as_stored: keep every size, and the colours under transparency as they are in the file.
    Returns:
        uint8 RGB (height, width, 3).
    Raises:
        XNeMoError: missing, empty, no picture, cut off, a side below 16 px, above 150 megapixels, or above 40 in a file
            that is much too small for them.
    """
    path = Path(path)
    if not path.exists():
        raise XNeMoError(f"{path}: no such file")
    if path.is_dir():
        raise XNeMoError(f"{path}: is a folder; name a picture")
    try:
        if path.stat().st_size == 0:
            raise XNeMoError(f"{path}: is empty (0 bytes)")
        with warnings.catch_warnings():
            # Pillow warns from 90 megapixels on; the limit here is ours.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _displayed(path, image, as_stored)
    except Image.DecompressionBombError as error:
        raise XNeMoError(f"{path}: is too large; at most {MAX_PIXELS // 10**6} megapixels are read") from error
    except UnidentifiedImageError as error:
        raise XNeMoError(f"{path}: is not a picture; give a JPEG, PNG or WebP file") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        # Pillow's decoders report damage by all of these.
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise XNeMoError(f"{path}: cannot be read as a picture: {reason}") from error


def _displayed(path: Path, image: Image.Image, as_stored: bool) -> NDArray[np.uint8]:
    width, height = image.size
    if min(width, height) < MIN_SIDE:
        raise XNeMoError(f"{path}: is {width} x {height} pixels; each side must be at least {MIN_SIDE}")
    if width * height > MAX_PIXELS:
        raise XNeMoError(f"{path}: is {width} x {height} pixels; at most {MAX_PIXELS // 10**6} megapixels are read")
    packed = path.stat().st_size
    if width * height > max(BOMB_PIXELS, BOMB_RATIO * packed):
        raise XNeMoError(f"{path}: claims {width} x {height} pixels in {packed} bytes; that is no picture")
    if max(width, height) > MAX_SIDE and not as_stored:
        image.draft("RGB", (MAX_SIDE, MAX_SIDE))  # JPEGs unpack at 1/2, 1/4 or 1/8; others ignore it
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = _grey_of_many_bits(image)
    if not as_stored:
        image = over_white(image)
    image = image.convert("RGB")
    if max(image.size) > MAX_SIDE and not as_stored:
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return np.array(image, dtype=np.uint8)


def over_white(image: Image.Image) -> Image.Image:
    """A picture with its transparency, if it has any, laid over white."""
    if not image.has_transparency_data:
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))


def _grey_of_many_bits(image: Image.Image) -> Image.Image:
    """Bring a 16-bit (0 to 65535) or float (0 to 1) grey picture to 8 bits; Pillow would cut at 255."""
    values = np.asarray(image, dtype=np.float64)
    values = values * 255 if image.mode == "F" and values.max() <= 1 else values / 257
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def write_image(path: str | Path, array: NDArray[np.uint8]) -> None:
    """Write a picture; the suffix says how (.png, .jpg, .webp, ...), JPEG at quality 95.

    Args:
        path: the file to make; it appears only when whole.
        array: uint8 RGB (height, width, 3).
    Raises:
        XNeMoError: unknown suffix, or the file cannot be written.
        ValueError: another type or shape.
    """
    _check(array)
    path = Path(path)
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise XNeMoError(f"{path}: pictures cannot be written as {path.suffix or 'a file without suffix'}; use .png")
    with atomic_path(path) as temporary:
        Image.fromarray(array).save(temporary, quality=95)


def resize(
    array: NDArray[np.uint8],
    size: tuple[int, int],
    filter: Literal["nearest", "area", "bilinear", "bicubic", "lanczos"] = "lanczos",
) -> NDArray[np.uint8]:
    """Scale a picture; every filter but "nearest" averages when it shrinks.

    Args:
        array: uint8 RGB (height, width, 3).
        size: (width, height) of the result.
    Returns:
        uint8 RGB of that size.
    """
    _check(array)
    return np.array(Image.fromarray(array).resize(size, _FILTERS[filter]), dtype=np.uint8)


def _check(array: NDArray[np.uint8]) -> None:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"a picture must be uint8 (height, width, 3), not {array.dtype} {array.shape}")
