"""Synthetic heads show what they are told to, and the questions about a representation find what was put into it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from animator.builders import animator_config, build_pipeline
from animator.config_loader import load_config
from animator.errors import XNeMoError
from animator.evaluation.config import LatentConfig
from animator.evaluation.head_model import HeadModel, Looks, Pose
from animator.evaluation.landmarks import FaceLandmarker
from animator.evaluation.latent import evaluate_latent, head_batch
from animator.evaluation.networks import NetworkFile, find_network
from animator.evaluation.probes import fit_linear, ordering, r_squared, read_out
from animator.evaluation.rasteriser import rasterise
from animator.evaluation.synthetic import CONTROLS, Head, Motion, draw, names, random_head, random_motion

GREY = (0.5, 0.5, 0.5)
LOOKS = Looks((0.8, 0.6, 0.5), (0.6, 0.3, 0.3), (0.2, 0.1, 0.1), (0.2, 0.3, 0.5), GREY, np.array([0.0, 0.3, 0.954]))


def triangle(x: float, y: float, size: float) -> list[list[float]]:
    return [[x, y], [x + size, y], [x, y + size]]


def test_a_triangle_covers_the_pixels_whose_centres_it_holds() -> None:
    corners = np.array([triangle(1, 1, 4)])
    picture = rasterise(corners, np.ones((1, 3)), np.array([[1.0, 0, 0]]), 8, (0, 0, 0))
    red = picture[..., 0] == 255
    # Centres at halves; x + y < 6 below the diagonal, whose own centres count.
    assert red[1, 1:5].all() and red[2, 1:4].all() and red[4, 1] and not red[4, 3] and not red[0].any()
    assert red.sum() == 10 and picture[..., 1:].max() == 0


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearest_triangle_is_seen_whatever_their_order(order: tuple[int, int]) -> None:
    corners = np.array([triangle(0, 0, 20), triangle(0, 0, 20)])[list(order)]
    depths = np.array([[5.0] * 3, [3.0] * 3])[list(order)]
    colours = np.array([[1.0, 0, 0], [0, 1.0, 0]])[list(order)]
    assert rasterise(corners, depths, colours, 8, (0, 0, 0))[3, 3].tolist() == [0, 255, 0]


def test_both_ways_round_and_outside_the_picture() -> None:
    corners = np.array([triangle(-30, -30, 90), triangle(40, 40, 5)])
    picture = rasterise(corners[:, ::-1], np.ones((2, 3)), np.ones((2, 3)), 8, (0, 0, 0))
    assert (picture == 255).all()
    empty = rasterise(np.zeros((0, 3, 2)), np.zeros((0, 3)), np.zeros((0, 3)), 8, GREY)
    assert (empty == 128).all()


@pytest.fixture(scope="module")
def head_file(models: Path) -> NetworkFile:
    return find_network("head", [models])


@pytest.fixture(scope="module")
def model(head_file: NetworkFile) -> HeadModel:
    return HeadModel(head_file.path)


AHEAD = Pose()


def shown(model: HeadModel, pose: Pose = AHEAD, **controls: float) -> np.ndarray:
    values = np.array([controls.get(name.replace(" ", "_"), 0.0) for name in CONTROLS])
    return draw(model, Head(np.zeros(50), LOOKS), Motion(values, pose), 256)


def test_a_head_shows_its_expression_and_pose(model: HeadModel, landmarker: FaceLandmarker) -> None:
    rest, opened, turned = (
        shown(model),
        shown(model, jaw_open=1.0),
        shown(model, Pose(yaw=20, pitch=10, roll=8)),
    )
    found = landmarker.measure([rest, opened, turned])
    assert found.missing == 0
    assert found.mouth[1] > found.mouth[0] + 0.1
    change = found.angles[2] - found.angles[0]
    np.testing.assert_allclose(change, [20, 10, 8], atol=6)


def test_two_people_differ_and_one_is_the_same_twice(model: HeadModel) -> None:
    rng = np.random.default_rng(0)
    first, second = (random_head(model, rng, 1.0) for _ in range(2))
    motion = random_motion(np.random.default_rng(1))
    a, b, again = (draw(model, head, motion, 96) for head in (first, second, first))
    np.testing.assert_array_equal(a, again)
    assert np.abs(a.astype(int) - b).mean() > 10
    same = random_head(model, np.random.default_rng(0), 1.0)
    np.testing.assert_array_equal(same.identity, first.identity)


def made_space(leak: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A representation that holds the motion exactly and the person by `leak`: x, heads, motions, truth."""
    rng = np.random.default_rng(0)
    truth, people = rng.normal(size=(12, 3)), rng.normal(size=(8, 12))
    heads, motions = (part.ravel() for part in np.meshgrid(np.arange(8), np.arange(12), indexing="ij"))
    mixed = np.concatenate([truth[motions], leak * people[heads]], axis=1) @ rng.normal(size=(15, 20))
    return mixed, heads, motions, truth[motions]


def test_a_space_without_the_person_orders_perfectly_and_names_nobody() -> None:
    x, heads, motions, truth = made_space(0.0)
    found = ordering(x, heads, motions)
    assert (found.closer, found.nearest, found.anchors) == (1, 1, 96)
    assert found.ratio == pytest.approx(0, abs=1e-6)
    assert read_out(x, heads, motions < 6) < 0.3
    probe = fit_linear(x[heads < 6], truth[heads < 6], heads[heads < 6])
    assert r_squared(probe(x[heads >= 6]), truth[heads >= 6]).min() > 0.99


def test_a_space_full_of_the_person_is_found_out() -> None:
    x, heads, motions, _ = made_space(20.0)
    found = ordering(x, heads, motions)
    assert found.closer < 0.1 and found.ratio > 5
    assert read_out(x, heads, motions < 6) == 1


def test_r_squared_of_the_truth_the_mean_and_nonsense() -> None:
    true = np.random.default_rng(0).normal(size=(50, 1))
    assert r_squared(true, true)[0] == 1
    assert r_squared(np.full_like(true, true.mean()), true)[0] == pytest.approx(0)
    assert r_squared(-true, true)[0] < -1
    assert np.isnan(r_squared(true, np.ones_like(true))[0])


def test_more_dimensions_than_samples_give_the_same_map() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)), rng.normal(size=(40, 2))
    wide = np.concatenate([x, np.zeros((40, 60))], axis=1)
    groups = np.arange(40) % 5
    np.testing.assert_allclose(fit_linear(x, y, groups)(x), fit_linear(wide, y, groups)(wide), atol=1e-6)


def test_a_small_evaluation_runs_goes_on_and_repeats(
    head_file: NetworkFile, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    weights = tmp_path_factory.mktemp("weights") / "tiny"
    build_pipeline(animator_config("tiny"), seed=0).save_pretrained(weights)
    settings = [f"weights={weights}", "device=cpu", "heads=4", "motions=4", "own=4", "side=128", "workers=1"]
    config: LatentConfig = load_config("evaluate_latent", settings)
    report = evaluate_latent(config, head_file, tmp_path)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["frames"] == 32 and report["frames_without_face"] < 8
    assert [row["coefficient"] for row in report["probes"][:-2]] == names()
    assert report["identity"][0]["by_chance"] == 0.25
    assert (tmp_path / "synthetic_heads.jpg").is_file()
    crops = sorted((tmp_path / "records").glob("head_*.npz"))
    assert len(crops) == 4
    crops[0].write_bytes(b"damaged")
    before = crops[1].stat().st_mtime_ns
    assert evaluate_latent(config, head_file, tmp_path) == report
    assert crops[1].stat().st_mtime_ns == before
    other = head_batch(replace(config, seed=1), head_file, 32, tmp_path, 0)
    assert not np.array_equal(other.values, np.load(crops[0])["values"])


def test_a_file_that_is_no_head_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "head.npz"
    wrong.write_bytes(b"no head")
    with pytest.raises(XNeMoError, match=r"head.npz: not the ICT-FaceKit model"):
        HeadModel(wrong)
