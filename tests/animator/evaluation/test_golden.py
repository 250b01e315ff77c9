"""Golden numbers: what LPIPS's reference implementation gives, and conventions that shift a metric unnoticed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from animator.evaluation.lpips import Lpips
from animator.evaluation.metrics import PictureMetrics, l1, lpips_distance, ssim
from animator.image import read_image, resize


@pytest.fixture(scope="module")
def large(portrait: Path) -> np.ndarray:
    """The astronaut, (512, 512, 3)."""
    return read_image(portrait)


@pytest.fixture(scope="module")
def face(large: np.ndarray) -> np.ndarray:
    return resize(large, (256, 256))[None]


def changed(face: np.ndarray) -> dict[str, np.ndarray]:
    """The picture shifted by 4 pixels (round the edge), mirrored, and with red and blue exchanged."""
    return {
        "shifted": np.roll(face, 4, axis=2),
        "mirrored": np.ascontiguousarray(face[:, :, ::-1]),
        "bgr": np.ascontiguousarray(face[..., ::-1]),
    }


# lpips 0.1.4 (richzhang/PerceptualSimilarity), net="alex", with these very weights, on the CPU in float32.
@pytest.mark.parametrize(("change", "reference"), [("shifted", 0.1017396), ("mirrored", 0.6367888), ("bgr", 0.2069367)])
def test_lpips_is_the_reference_implementations(change: str, reference: float, face: np.ndarray, models: Path) -> None:
    lpips = Lpips(models / "lpips_alexnet.safetensors")
    assert lpips_distance(lpips, face, changed(face)[change])[0] == pytest.approx(reference, abs=2e-6)


def test_known_changes_of_a_known_picture(face: np.ndarray) -> None:
    found = {name: (l1(face, other)[0], ssim(face, other)[0]) for name, other in changed(face).items()}
    assert found["shifted"] == pytest.approx((0.116569, 0.350706), abs=1e-5)
    assert found["mirrored"] == pytest.approx((0.337294, 0.093957), abs=1e-5)
    assert found["bgr"] == pytest.approx((0.125063, 0.817116), abs=1e-5)


def test_ssim_agrees_with_torchmetrics_inside_the_picture(face: np.ndarray) -> None:
    a, b = (torch.from_numpy(x.astype(np.float32) / 255).permute(0, 3, 1, 2) for x in (face, changed(face)["shifted"]))
    result = structural_similarity_index_measure(b, a, data_range=1.0, return_full_image=True)
    inside = result[1][..., 5:-5, 5:-5].mean()
    assert ssim(face, changed(face)["shifted"])[0] == pytest.approx(float(inside), abs=1e-4)


def test_pictures_are_made_smaller_by_lanczos(large: np.ndarray, face: np.ndarray) -> None:
    assert face[0, 100, 100].tolist() == [14, 8, 5] and face[0, 31, 200].tolist() == [113, 83, 15]
    assert int(face.astype(np.int64).sum()) == 22533729
    others = {name: l1(face, resize(large, (256, 256), name)[None])[0] for name in ("area", "bilinear", "bicubic")}
    assert others["area"] == pytest.approx(0.00533, abs=1e-5)
    assert others["bilinear"] == pytest.approx(0.00824, abs=1e-5)
    assert others["bicubic"] == pytest.approx(0.00291, abs=1e-5)


def test_frames_are_compared_in_order(talking: np.ndarray, models: Path) -> None:
    metrics = PictureMetrics(models / "lpips_alexnet.safetensors")
    straight, reversed_ = metrics(talking[:4], talking[:4]), metrics(talking[:4], talking[[3, 2, 1, 0]])
    assert straight.means() == {"l1": 0, "ssim": 1, "lpips": 0}
    assert (reversed_.l1 > 0).all()
    np.testing.assert_allclose(reversed_.l1, reversed_.l1[::-1])
