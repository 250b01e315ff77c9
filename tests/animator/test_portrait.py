"""A picture is the same whether it comes as a file, as a Pillow image or as an array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animator.errors import XNeMoError
from animator.image import read_image
from animator.portrait import as_array


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_opened_picture_is_turned_like_its_file(tmp_path: Path, portrait: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "camera.png"
    with Image.open(portrait) as image:
        image.crop((0, 0, 512, 300)).save(path, exif=exif)
    expected = read_image(path)
    assert expected.shape == ((300, 512, 3) if orientation < 5 else (512, 300, 3))
    with Image.open(path) as opened:
        np.testing.assert_array_equal(as_array(opened), expected)
        assert opened.size == (512, 300)  # the caller's own stays as it is
    np.testing.assert_array_equal(as_array(path), expected)
    assert as_array(expected) is expected


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "LA", "CMYK"])
def test_other_kinds_of_pixels_look_like_their_file(tmp_path: Path, portrait: Path, mode: str) -> None:
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    with Image.open(portrait) as image:
        image.convert("RGBA" if mode == "LA" else "RGB").convert(mode).save(path)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(as_array(opened), read_image(path))


@pytest.mark.parametrize("wrong", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)])
def test_other_arrays_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(XNeMoError, match=r"must be uint8 \(height, width, 3\), not"):
        as_array(wrong)
