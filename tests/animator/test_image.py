"""Promises of animator.image, kept on real pictures."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from animator.errors import XNeMoError
from animator.image import read_image, resize, write_image


@pytest.fixture(scope="session")
def face(portrait: Path) -> NDArray[np.uint8]:
    """A real photograph, uint8 (512, 512, 3)."""
    return np.array(Image.open(portrait).convert("RGB"))


def test_rgb_is_read_as_it_is(portrait: Path, face: NDArray[np.uint8]) -> None:
    image = read_image(portrait)
    assert image.dtype == np.uint8
    assert np.array_equal(image, face)
    assert image.flags.writeable


def test_transparency_is_laid_over_white(tmp_path: Path, face: NDArray[np.uint8]) -> None:
    alpha = np.full((512, 512, 1), 255, dtype=np.uint8)
    alpha[:100], alpha[100:200] = 0, 128
    Image.fromarray(np.concatenate([face, alpha], axis=2)).save(tmp_path / "alpha.png")
    image = read_image(tmp_path / "alpha.png")
    assert (image[:100] == 255).all()
    assert np.abs(image[100:200] - (0.5 * face[100:200] + 127.5)).max() <= 1.5
    assert np.array_equal(image[200:], face[200:])


def test_transparent_palette_colour_is_laid_over_white(tmp_path: Path, face: NDArray[np.uint8]) -> None:
    picture = Image.fromarray(face).quantize(64)
    picture.save(tmp_path / "palette.png", transparency=0)
    indices = np.asarray(picture)
    image = read_image(tmp_path / "palette.png")
    assert (image[indices == 0] == 255).all()
    assert np.array_equal(image[indices != 0], np.asarray(picture.convert("RGB"))[indices != 0])


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_grey_becomes_rgb(tmp_path: Path, face: NDArray[np.uint8], suffix: str) -> None:
    Image.fromarray(face).convert("L").save(tmp_path / f"grey{suffix}")
    image = read_image(tmp_path / f"grey{suffix}")
    assert image.shape == (512, 512, 3)
    assert (image[..., 0] == image[..., 1]).all()
    assert (image[..., 0] == image[..., 2]).all()


def test_sixteen_bits_keep_their_range(tmp_path: Path, face: NDArray[np.uint8]) -> None:
    grey = np.array(Image.fromarray(face).convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert np.array_equal(read_image(tmp_path / "deep.png")[..., 0], grey)


def test_print_colours_become_rgb(tmp_path: Path, face: NDArray[np.uint8]) -> None:
    Image.fromarray(face).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "cmyk.jpg").astype(float) - face).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_camera_orientation_is_applied(tmp_path: Path, face: NDArray[np.uint8], orientation: int) -> None:
    upright = face[:, :300]
    # How the sensor stored what is upright (EXIF 2.32, tag 0x0112: where row 0 and column 0 are seen).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "camera.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "camera.png"), upright)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_48_megapixels_are_shrunk_to_a_side_of_4096(tmp_path: Path, face: NDArray[np.uint8], suffix: str) -> None:
    Image.fromarray(face).resize((8000, 6000)).save(tmp_path / f"large{suffix}", compress_level=1)
    image = read_image(tmp_path / f"large{suffix}")
    assert image.shape == (3072, 4096, 3)
    small = resize(face, (4096, 3072))
    assert np.abs(image[::16, ::16].astype(float) - small[::16, ::16]).mean() < 3


def header_of_png(width: int, height: int) -> bytes:
    """The beginning of a real PNG that claims a size."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (body, data)
    )


def bad_picture(kind: str, path: Path, face: NDArray[np.uint8]) -> str:
    """Make a file of a kind; what the error must say."""
    if kind == "missing":
        return "no such file"
    if kind == "folder":
        path.mkdir()
        return "is a folder"
    if kind == "empty":
        path.touch()
        return "is empty"
    if kind == "text":
        path.write_text("no picture\n" * 100)
        return "is not a picture"
    if kind in ("JPEG", "PNG"):
        whole = path.with_name("whole")
        Image.fromarray(face).save(whole, format=kind)
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        return "cannot be read as a picture"
    if kind == "tiny":
        Image.fromarray(face[:2, :2]).save(path)
        return "is 2 x 2 pixels"
    path.write_bytes(header_of_png(*{"bomb": (60000, 60000), "huge": (13000, 12000)}[kind]))
    return "is too large" if kind == "bomb" else "is 13000 x 12000 pixels"


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "JPEG", "PNG", "tiny", "bomb", "huge"])
def test_bad_picture_is_one_clear_line(
    tmp_path: Path, face: NDArray[np.uint8], kind: str, recwarn: pytest.WarningsRecorder
) -> None:
    path = tmp_path / "bad.jpg"
    expected = bad_picture(kind, path, face)
    with pytest.raises(XNeMoError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not recwarn.list


def test_written_picture_comes_back(tmp_path: Path, face: NDArray[np.uint8]) -> None:
    write_image(tmp_path / "new" / "face.png", face)
    assert np.array_equal(read_image(tmp_path / "new" / "face.png"), face)
    write_image(tmp_path / "face.JPG", face)
    assert np.abs(read_image(tmp_path / "face.JPG").astype(float) - face).mean() < 2


def test_picture_that_cannot_be_written_is_one_clear_line(tmp_path: Path, face: NDArray[np.uint8]) -> None:
    (tmp_path / "file").touch()
    for name in ("file/face.png", "face.what", "face"):
        with pytest.raises(XNeMoError) as caught:
            write_image(tmp_path / name, face)
        assert str(tmp_path / name) in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    with pytest.raises(ValueError, match="uint8"):
        write_image(tmp_path / "face.png", face / 255)  # type: ignore[arg-type]


def test_resize_takes_width_first_and_averages(face: NDArray[np.uint8]) -> None:
    assert resize(face, (100, 50)).shape == (50, 100, 3)
    for name in ("area", "bilinear", "bicubic", "lanczos"):
        small = resize(face, (8, 8), name)  # type: ignore[arg-type]
        assert np.abs(small - face.reshape(8, 64, 8, 64, 3).mean(axis=(1, 3))).mean() < 12
    assert np.array_equal(resize(face, (512, 512)), face)
