"""The Face Landmarker's measures: angles and mouth opening as defined, missing faces counted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from animator.errors import XNeMoError
from animator.evaluation.landmarks import (
    CHIN,
    FOREHEAD,
    LOWER_INNER_LIP,
    UPPER_INNER_LIP,
    FaceLandmarker,
    FaceMeasures,
    head_angles,
    mouth_opening,
)
from animator.image import resize
from animator.video import VideoReader


def test_angles_of_a_known_rotation() -> None:
    yaw, pitch, roll = 25.0, -12.0, 7.0
    matrix = np.eye(4)
    matrix[:3, :3] = 2.5 * Rotation.from_euler("YXZ", [yaw, pitch, roll], degrees=True).as_matrix()
    matrix[:3, 3] = 1.0, 2.0, -30.0  # neither place nor scale matters
    np.testing.assert_allclose(head_angles(matrix), [yaw, pitch, roll], atol=1e-9)


def test_mouth_opening_is_lip_distance_over_face_height() -> None:
    points = np.zeros((478, 2))
    points[FOREHEAD], points[CHIN] = (50, 10), (50, 110)
    points[UPPER_INNER_LIP], points[LOWER_INNER_LIP] = (50, 80), (53, 84)
    assert mouth_opening(points) == pytest.approx(0.05)
    assert mouth_opening(points * 3) == pytest.approx(0.05)


def test_a_real_face_is_found_in_every_frame(measured: FaceMeasures, talking: np.ndarray) -> None:
    assert len(measured) == len(talking) and measured.missing == 0
    assert len(measured.names) == 52 and measured.blendshapes.shape == (len(talking), 52)
    x0, y0, x1, y1 = measured.boxes[0]
    assert 0 < x0 < x1 < 256 and 0 < y0 < y1 < 256 and y1 - y0 > 80


def test_measures_agree_with_the_labels_of_the_clip(measured: FaceMeasures, shared_data: Path, clip: Path) -> None:
    labels = np.load(shared_data / "labels" / f"{clip.stem}.npz")
    frames = slice(20, 20 + len(measured))
    assert tuple(labels["blendshape_names"]) == measured.names
    assert np.abs(labels["blendshapes"][frames] - measured.blendshapes).mean() < 0.01
    angles = np.stack([head_angles(matrix) for matrix in labels["head_matrix"][frames]])
    assert np.abs(angles - measured.angles).max() < 2


def test_the_mouth_opens_where_the_jaw_does(measured: FaceMeasures) -> None:
    assert np.corrcoef(measured.mouth, measured.blendshape("jawOpen"))[0, 1] > 0.7
    assert measured.mouth.max() > measured.mouth.min() + 0.02


def test_turning_a_picture_counter_clockwise_adds_to_roll(
    landmarker: FaceLandmarker, portrait_face: np.ndarray
) -> None:
    turned = np.asarray(Image.fromarray(portrait_face).rotate(15, Image.Resampling.BICUBIC))
    straight, tilted = (landmarker.measure(picture[None]).angles[0] for picture in (portrait_face, turned))
    assert tilted[2] - straight[2] == pytest.approx(15, abs=2)


def test_mirroring_a_turned_head_turns_it_the_other_way(landmarker: FaceLandmarker, shared_data: Path) -> None:
    labels = np.load(shared_data / "labels" / "vasa_3_01.npz")
    furthest = int(np.argmax([head_angles(matrix)[0] for matrix in labels["head_matrix"]]))
    with VideoReader(shared_data / "clips" / "vasa_3_01.mp4") as reader:
        frame = reader.frame(furthest)
    straight, mirrored = (landmarker.measure(picture[None]).angles[0] for picture in (frame, frame[:, ::-1]))
    assert straight[0] > 15  # he looks to the right of the picture
    np.testing.assert_allclose(mirrored, straight * [-1, 1, -1], atol=3)


def test_size_changes_neither_mouth_nor_angles(landmarker: FaceLandmarker, talking: np.ndarray) -> None:
    frame = talking[8]
    small, large = (landmarker.measure(picture[None]) for picture in (frame, resize(frame, (512, 512))))
    assert abs(small.mouth[0] - large.mouth[0]) < 0.01
    assert np.abs(small.angles - large.angles).max() < 1.5
    np.testing.assert_allclose(large.boxes / 2, small.boxes, atol=3)


def test_a_face_that_is_not_found_is_counted_and_nan(landmarker: FaceLandmarker, talking: np.ndarray) -> None:
    frames = np.concatenate([talking[:1], np.zeros_like(talking[:1]), talking[1:2]])
    measures = landmarker.measure(frames)
    assert measures.found.tolist() == [True, False, True] and measures.missing == 1
    for values in (measures.mouth, measures.angles, measures.blendshapes, measures.boxes):
        assert np.isnan(values[1]).all() and not np.isnan(values[[0, 2]]).any()


def test_a_picture_without_any_face_has_no_signal(landmarker: FaceLandmarker) -> None:
    measures = landmarker.measure(np.zeros((2, 64, 64, 3), np.uint8))
    assert measures.missing == 2 and np.isnan(measures.blendshape("jawOpen")).all()


def test_measuring_in_parts_is_measuring_whole(
    landmarker: FaceLandmarker, talking: np.ndarray, measured: FaceMeasures
) -> None:
    parts = FaceMeasures.joined([landmarker.measure(talking[:3]), landmarker.measure(talking[3:6])])
    np.testing.assert_array_equal(parts.mouth, measured.mouth[:6])
    np.testing.assert_array_equal(parts.blendshapes, measured.blendshapes[:6])


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    wrong = tmp_path / "face.task"
    with pytest.raises(XNeMoError, match="face.task: cannot be read"):
        FaceLandmarker(wrong)
    wrong.write_bytes(b"not a bundle")
    with pytest.raises(XNeMoError, match="face.task: not a Face Landmarker"):
        FaceLandmarker(wrong)


def test_the_landmarker_is_silent_to_the_end_of_the_program(models: Path, portrait: Path) -> None:
    script = f"""
from animator.evaluation.landmarks import FaceLandmarker
from animator.image import read_image
landmarker = FaceLandmarker({str(models / "face_landmarker.task")!r})
print(landmarker.measure(read_image({str(portrait)!r})[None]).missing)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")
