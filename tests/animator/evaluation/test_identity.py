"""dlib's face network tells people apart, and likeness says whom a result looks like."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from animator.errors import XNeMoError
from animator.evaluation.identity import FaceIdentity, identity_crop, likeness
from animator.evaluation.landmarks import FaceLandmarker
from animator.image import resize
from animator.video import VideoReader
from tests.animator.evaluation.faces import lose, made_face


@pytest.fixture(scope="module")
def identity(models: Path) -> FaceIdentity:
    return FaceIdentity(models / "dlib_face_resnet_fp16.safetensors")


def test_one_person_is_closer_to_herself_than_to_another(
    identity: FaceIdentity, landmarker: FaceLandmarker, shared_data: Path
) -> None:
    frames = []
    for name in ("FeiFeiLi_01", "FeiFeiLi_02", "BobCasey_01", "GRID_05_neutral_01"):
        with VideoReader(shared_data / "clips" / f"{name}.mp4") as reader:
            frames.append(resize(reader.frame(10), (256, 256)))
    found = identity.describe(frames, landmarker.measure(frames))
    same, other, third = (np.linalg.norm(found[0] - found[n]) for n in (1, 2, 3))
    assert same < 0.5 < 0.6 < min(other, third)


def test_descriptors_can_be_trained_through(identity: FaceIdentity) -> None:
    faces = torch.full((1, 3, 150, 150), 128.0, requires_grad=True)
    identity(faces).sum().backward()
    assert faces.grad is not None and faces.grad.abs().sum() > 0


def test_no_face_gives_no_descriptor(identity: FaceIdentity, talking: np.ndarray) -> None:
    box = np.array([[60.0, 60, 190, 200]])
    faces = lose(replace(made_face(2), boxes=np.repeat(box, 2, axis=0)), 1)
    found = identity.describe(talking[:2], faces)
    assert found.shape == (2, 128) and not np.isnan(found[0]).any() and np.isnan(found[1]).all()


def test_the_crop_is_1_15_heights_about_the_centre() -> None:
    picture = np.zeros((400, 400, 3), np.uint8)
    picture[92:208, 142:258] = 255  # a square of 116, about 1.15 x 100, centred on (200, 150)
    crop = identity_crop(picture, np.array([170.0, 100, 230, 200]))
    assert crop.shape == (150, 150, 3) and crop[3:-3, 3:-3].min() > 200


def test_likeness_counts_what_is_closer_and_what_is_lost() -> None:
    portrait, driver = np.zeros(128), np.zeros(128)
    portrait[1], driver[0], driver[1] = 1.0, 1.0, 1.0
    results = np.zeros((4, 128))
    results[:, 1] = 1.0
    results[:, 0] = 0.1, 0.3, 0.8, np.nan  # distances to the portrait
    found = likeness(results, np.repeat(driver[None], 4, axis=0), portrait)
    assert found.closer_to_portrait == pytest.approx(2 / 4)  # a lost face is not closer to the portrait
    assert found.to_portrait == pytest.approx(0.4) and found.to_driver == pytest.approx(0.6)
    assert (found.apart, found.frames, found.missing) == (pytest.approx(1), 4, 1)


def test_similarity_is_a_cosine_in_which_a_lost_face_counts_0() -> None:
    portrait, driver = np.eye(4)[0], np.eye(4)[1]
    results = np.array([[1.0, 0, 0, 0], [1.0, 1, 0, 0], [np.nan] * 4, [0, 2.0, 0, 0]])
    found = likeness(results, np.repeat(driver[None], 4, axis=0), portrait)
    half = np.sqrt(0.5)
    assert found.similarity == pytest.approx((1 + half + 0 + 0) / 4)
    assert found.to_driver_similarity == pytest.approx((0 + half + 0 + 1) / 4)
    assert found.leakage == pytest.approx(found.to_driver_similarity - found.similarity)


def test_frames_without_a_driving_face_do_not_count() -> None:
    drivers = np.array([[1.0, 0], [np.nan, np.nan]])
    found = likeness(np.array([[0.0, 1], [0.0, 1]]), drivers, np.array([0.0, 1]))
    assert (found.frames, found.similarity) == (1, 1)


def test_without_a_face_in_the_portrait_there_is_no_likeness() -> None:
    found = likeness(np.zeros((2, 128)), np.ones((2, 128)), np.full(128, np.nan))
    assert found.frames == 0 and np.isnan(found.closer_to_portrait) and np.isnan(found.similarity)


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"not weights")
    with pytest.raises(XNeMoError, match="wrong.safetensors"):
        FaceIdentity(wrong)
