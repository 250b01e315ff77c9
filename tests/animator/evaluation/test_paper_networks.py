"""ArcFace and EmoNet compute what the official modules do, from the files that people have, on the right pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from animator.errors import XNeMoError
from animator.evaluation.arcface import MESH_POINTS, TEMPLATE, ArcFace, ArcFaceBackbone, align, similarity
from animator.evaluation.emonet import EmoNet, EmoNetNetwork, emotion_crop
from animator.evaluation.landmarks import FaceMeasures
from animator.evaluation.networks import find_networks
from tests.animator.evaluation.faces import lose, made_face
from tests.animator.evaluation.rule import picture, weights

DEPTHS = (2, 2, 2, 2)

# What arcface_torch's iresnet18 and face-analysis/emonet's EmoNet give with the weights and pictures of rule.py.
ARCFACE = (-0.02300, 0.10916, 0.13426, -0.03322, -0.14716, -0.02204)
ARCFACE_LENGTH = 2.0398417
EMONET = (-0.03518, 0.14985, -0.02494, 0.03555, -0.0552, -0.14397, 0.17128, 0.07983, -0.13146, 0.01042)


def state_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return weights({name: value.shape for name, value in network.state_dict().items()})


@pytest.fixture(scope="module")
def arcface_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arcface") / "backbone.safetensors"
    save_file(state_of(ArcFaceBackbone(DEPTHS)), path)
    return path


@pytest.fixture(scope="module")
def emonet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("emonet") / "emonet_8.pth"
    torch.save({f"module.{name}": value for name, value in state_of(EmoNetNetwork()).items()}, path)
    return path


def test_arcface_equals_the_official_backbone(arcface_file: Path) -> None:
    network = ArcFace(arcface_file).backbone
    with torch.no_grad():
        found = network(picture(112) * 2 - 1)[0]
    np.testing.assert_allclose(found[:6], ARCFACE, atol=2e-5)
    assert float(found.norm()) == pytest.approx(ARCFACE_LENGTH, abs=1e-4)


def test_emonet_equals_the_official_network(emonet_file: Path) -> None:
    with torch.no_grad():
        found = EmoNet(emonet_file).network(picture(256))[0]
    np.testing.assert_allclose(found, EMONET, atol=2e-5)


def test_descriptors_are_unit_vectors_and_lost_faces_nan(
    arcface_file: Path, talking: np.ndarray, measured: FaceMeasures
) -> None:
    found = ArcFace(arcface_file).describe(talking[:3], lose(measured.at([0, 1, 2]), 1))
    assert found.shape == (3, 512) and np.isnan(found[1]).all()
    np.testing.assert_allclose(np.linalg.norm(found[[0, 2]], axis=1), 1, atol=1e-5)


def test_valence_and_arousal_are_the_last_two(emonet_file: Path, talking: np.ndarray, measured: FaceMeasures) -> None:
    network = EmoNet(emonet_file)
    found = network.feel(talking[:2], lose(measured.at([0, 1]), 0))
    assert np.isnan(found[0]).all()
    crop = emotion_crop(talking[1], measured.points[1])
    with torch.no_grad():
        read = network.network(torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255)
    np.testing.assert_allclose(found[1], read[0, -2:], atol=1e-6)


def test_alignment_puts_eyes_nose_and_mouth_where_arcface_has_them() -> None:
    turn = np.exp(0.3j) * 1.7
    placed = (TEMPLATE[:, 0] + 1j * TEMPLATE[:, 1]) * turn + (60 + 40j)
    places = np.stack([placed.real, placed.imag], axis=1)
    points = made_face(1).points[0].copy()
    points[list(MESH_POINTS)] = places
    frame = np.zeros((360, 360, 3), np.uint8)
    for x, y in places.round().astype(int):
        frame[y - 2 : y + 3, x - 2 : x + 3] = 255
    aligned = align(frame, points)[..., 0].astype(float)
    for x, y in TEMPLATE:
        v, u = np.mgrid[:112, :112]
        near = aligned * (np.hypot(u - x, v - y) < 5)
        assert (near * u).sum() / near.sum() == pytest.approx(x, abs=0.4)
        assert (near * v).sum() / near.sum() == pytest.approx(y, abs=0.4)


def test_a_known_similarity_is_found() -> None:
    moved = 2 * TEMPLATE @ np.array([[0.8, 0.6], [-0.6, 0.8]]) + (5, -3)
    (a, b), shift = similarity(TEMPLATE, moved)
    assert (a, b) == pytest.approx((1.6, 1.2)) and shift == pytest.approx((5, -3))


def test_the_papers_networks_are_used_where_the_user_has_them(
    models: Path, arcface_file: Path, emonet_file: Path
) -> None:
    stand_ins, own = find_networks([models]), find_networks([models], arcface_file, emonet_file)
    assert (stand_ins.identity.stands_for, stand_ins.emotion.stands_for) == ("ArcFace", "EmoNet")
    assert "ID-SIM" not in stand_ins.identity.figure and "EMO-SIM" not in stand_ins.emotion.figure
    assert (own.identity.figure, own.emotion.figure) == ("ID-SIM (ArcFace)", "EMO-SIM (EmoNet)")
    assert own.identity.stands_for is None and not own.identity.known and stand_ins.identity.known
    assert len(own.plain()["identity"]["sha256"]) == 64


def test_files_of_something_else_are_named(tmp_path: Path, emonet_file: Path, arcface_file: Path) -> None:
    with pytest.raises(XNeMoError, match=r"emonet_8.pth: not an ArcFace backbone"):
        ArcFace(emonet_file)
    with pytest.raises(XNeMoError, match=r"backbone.safetensors: not EmoNet's weights"):
        EmoNet(arcface_file)
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"not a file of torch")
    with pytest.raises(XNeMoError, match=r"broken.pth: not an ArcFace backbone"):
        ArcFace(broken)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "backbone.pth"
    torch.save({"conv1.weight": Path("anything")}, path)
    with pytest.raises(XNeMoError, match="not an ArcFace backbone"):
        ArcFace(path)


def test_a_missing_file_says_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XNEMO_HOME", str(tmp_path))
    with pytest.raises(XNeMoError, match=r"lpips_alexnet.safetensors .*models=FOLDER"):
        find_networks([tmp_path])
