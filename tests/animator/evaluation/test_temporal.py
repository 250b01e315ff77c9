"""Flicker and jitter have the values that their definitions give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from animator.evaluation.landmarks import FaceMeasures
from animator.evaluation.temporal import RIGID_POINTS, Flicker, jitter, still_frames
from tests.animator.evaluation.faces import lose, made_face


def greys(*values: int) -> np.ndarray:
    return np.stack([np.full((8, 8, 3), value, np.uint8) for value in values])


def flicker(*chunks: np.ndarray) -> float:
    made = Flicker()
    for chunk in chunks:
        made.add(chunk)
    return made.value


def test_a_still_picture_and_steady_change_do_not_flicker() -> None:
    assert flicker(greys(7, 7, 7, 7)) == 0
    assert flicker(greys(10, 20, 30, 40)) == 0


def test_brightness_that_jumps_to_and_fro_counts_fully() -> None:
    assert flicker(greys(0, 51, 0, 51)) == pytest.approx(0.4)  # |0 - 2 x 51 + 0| / 255


def test_chunks_do_not_matter(talking: np.ndarray) -> None:
    whole = flicker(talking)
    assert whole > 0
    assert flicker(talking[:1], talking[1:2], talking[2:9], talking[9:]) == pytest.approx(whole)


def test_order_of_frames_matters(talking: np.ndarray) -> None:
    mixed = talking[np.random.default_rng(0).permutation(len(talking))]
    assert flicker(mixed) > 1.3 * flicker(talking)


def test_less_than_three_frames_say_nothing() -> None:
    assert np.isnan(flicker(greys(1, 2)))


def trembling(frames: int, size: float) -> FaceMeasures:
    """A still head whose rigid points jump by `size` pixels to and fro, its face 100 pixels high."""
    face = made_face(frames)
    points = face.points.copy()
    points[1::2, list(RIGID_POINTS), 0] += size
    return replace(face, points=points)


def test_trembling_is_measured_in_thousandths_of_the_face() -> None:
    found = jitter(trembling(12, 0.5), trembling(12, 1.5))
    # A jump of 1.5 pixels to and fro is a second difference of 3, of 100 pixels: 30 thousandths.
    assert found.result == pytest.approx(30) and found.driver == pytest.approx(10)
    assert found.frames == 12 - 4


def test_only_a_still_head_counts() -> None:
    face = made_face(20)
    angles = face.angles.copy()
    angles[10:, 0] = 4 * np.arange(10)
    turning = replace(face, angles=angles)
    still = still_frames(turning)
    assert still[2:8].all() and not still[10:].any()
    shifted = face.points + np.linspace(0, 40, 20, dtype=np.float32)[:, None, None]
    assert not still_frames(replace(face, points=shifted)).any()


def test_lost_faces_are_left_out() -> None:
    face = trembling(20, 1.0)
    found = jitter(face, lose(face, 9))
    assert found.result == pytest.approx(20)
    assert found.frames == jitter(face, face).frames - 3
    assert jitter(lose(face, *range(20)), face).frames == 0
