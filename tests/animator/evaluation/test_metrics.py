"""L1, SSIM and LPIPS have the values that their definitions give, on pictures whose values can be worked out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import correlate1d, gaussian_filter

from animator.errors import XNeMoError
from animator.evaluation.lpips import Lpips
from animator.evaluation.metrics import PictureErrors, PictureMetrics, at_measured_size, l1, lpips_distance, ssim
from animator.image import read_image, resize


def plain(value: int, side: int = 32) -> np.ndarray:
    return np.full((1, side, side, 3), value, np.uint8)


@pytest.fixture(scope="module")
def face(portrait: Path) -> np.ndarray:
    return resize(read_image(portrait), (256, 256))[None]


def test_identical_pictures_are_0_1_0_exactly(models: Path, face: np.ndarray) -> None:
    errors = PictureMetrics(models / "lpips_alexnet.safetensors")(face, face)
    assert (errors.l1[0], errors.ssim[0], errors.lpips[0]) == (0.0, 1.0, 0.0)


def test_l1_is_the_mean_over_pixels_and_channels_in_units_of_1() -> None:
    assert l1(plain(0), plain(51))[0] == pytest.approx(0.2)
    assert l1(plain(51), plain(0))[0] == pytest.approx(0.2)  # 8-bit numbers must not wrap around
    one = plain(0, 2)
    one[0, 0, 0, 1] = 255  # one of 2 x 2 x 3 numbers
    assert l1(one, plain(0, 2))[0] == pytest.approx(1 / 12)


def test_l1_is_given_for_each_frame() -> None:
    np.testing.assert_allclose(l1(np.concatenate([plain(0), plain(102)]), plain(0).repeat(2, axis=0)), [0, 0.4])


def test_ssim_of_plain_pictures_compares_their_means() -> None:
    # Without variance SSIM is (2ab + C1) / (a^2 + b^2 + C1), C1 = 0.01^2, here for a = 0.2, b = 0.4.
    assert ssim(plain(51), plain(102))[0] == pytest.approx((0.16 + 1e-4) / (0.2 + 1e-4), abs=1e-5)


def test_ssim_is_the_published_formula_with_an_11_pixel_gaussian() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 24, 24, 3), dtype=np.uint8)
    x, y = a / 255, b / 255
    kernel = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()

    def blur(image: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(image, kernel, axis=0), kernel, axis=1)

    mx, my = blur(x), blur(y)
    vx, vy, vxy = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    map_ = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(a[None], b[None])[0] == pytest.approx(map_[5:-5, 5:-5].mean(), abs=1e-5)


def test_lpips_grows_with_blur_and_sees_it_as_published(models: Path, face: np.ndarray) -> None:
    lpips = Lpips(models / "lpips_alexnet.safetensors")
    blurred = [gaussian_filter(face.astype(float), (0, s, s, 0)).round().astype(np.uint8) for s in (0.5, 1, 2)]
    weak, middle, strong = (lpips_distance(lpips, face, other)[0] for other in blurred)
    assert 0 < weak < middle < strong
    assert strong == pytest.approx(0.42, abs=0.005)  # what the weights were checked with


def test_frames_are_compared_at_256(models: Path, portrait: Path) -> None:
    large = read_image(portrait)[None]  # 512 x 512
    assert at_measured_size(large).shape == (1, 256, 256, 3)
    small = resize(large[0], (256, 256), "lanczos")[None]
    errors = PictureMetrics(models / "lpips_alexnet.safetensors")(small, large)
    assert errors.l1[0] == 0


def test_frames_that_are_not_square_are_refused() -> None:
    with pytest.raises(XNeMoError, match="64 x 48"):
        at_measured_size(np.zeros((1, 48, 64, 3), np.uint8))


def test_a_mean_over_chunks_counts_frames_and_not_chunks() -> None:
    ones, zeros = (PictureErrors(*(np.full(n, value),) * 3) for n, value in ((3, 1.0), (1, 0.0)))
    assert PictureErrors.joined([ones, zeros]).means() == {"l1": 0.75, "ssim": 0.75, "lpips": 0.75}


def test_a_file_that_is_not_lpips_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"not weights")
    with pytest.raises(XNeMoError, match="wrong.safetensors"):
        PictureMetrics(wrong)
