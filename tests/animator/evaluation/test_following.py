"""Following: what moves alike correlates, what stands still is said to, and nothing is dropped in silence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from animator.evaluation.following import STILL, Following, follow, mean_following, overall, signals
from animator.evaluation.landmarks import FaceMeasures


def reversed_in_time(face: FaceMeasures) -> FaceMeasures:
    return face.at(slice(None, None, -1))


def standing(face: FaceMeasures) -> FaceMeasures:
    """The first frame all the time, as a copied picture gives it."""
    return face.at([0] * len(face))


def without_face(face: FaceMeasures, frames: slice) -> FaceMeasures:
    found, mouth, angles, blendshapes = (
        part.copy() for part in (face.found, face.mouth, face.angles, face.blendshapes)
    )
    found[frames] = False
    for part in (mouth, angles, blendshapes):
        part[frames] = np.nan
    return replace(face, found=found, mouth=mouth, angles=angles, blendshapes=blendshapes)


def test_a_driver_follows_itself_exactly(measured: FaceMeasures) -> None:
    for following in follow(measured, measured).values():
        assert following.correlation == pytest.approx(1)
        assert following.result_deviation == following.driver_deviation
        assert following.frames == len(measured)


def test_its_time_reverse_does_not_follow(measured: FaceMeasures) -> None:
    following = follow(measured, reversed_in_time(measured))
    assert following["mouth"].moves and following["mouth"].correlation < 0.5
    assert following["jaw_open"].correlation < 0.5
    assert following["mouth"].driver_deviation == pytest.approx(following["mouth"].result_deviation)


def test_signals_are_what_they_are_called(measured: FaceMeasures) -> None:
    found = signals(measured)
    assert set(found) == set(STILL)
    left, right = (measured.blendshapes[:, measured.names.index(f"eyeBlink{side}")] for side in ("Left", "Right"))
    np.testing.assert_allclose(found["blink"], (left + right) / 2)
    np.testing.assert_array_equal(found["pitch"], measured.angles[:, 1])
    # Who looks as far to one side as another looks to the other has the opposite gaze.
    swap = {"eyeLookOutLeft": "eyeLookInLeft", "eyeLookOutRight": "eyeLookInRight"}
    swap |= {other: name for name, other in swap.items()}
    columns = [measured.names.index(swap.get(name, name)) for name in measured.names]
    turned = replace(measured, blendshapes=measured.blendshapes[:, columns])
    np.testing.assert_allclose(signals(turned)["gaze"], -found["gaze"], atol=1e-6)
    assert np.nanstd(found["gaze"]) > 0.02


def test_less_movement_correlates_but_its_extent_shows(measured: FaceMeasures) -> None:
    half = replace(measured, mouth=measured.mouth * 0.5 + 0.1)
    clip = follow(measured, half)
    assert clip["mouth"].correlation == pytest.approx(1)
    assert mean_following([clip])["mouth"].extent == pytest.approx(0.5)


def test_a_picture_that_stands_still_follows_nothing(measured: FaceMeasures) -> None:
    following = follow(measured, standing(measured))
    assert {value.correlation for value in following.values()} == {0.0}
    assert mean_following([following])["mouth"].correlation == 0
    assert mean_following([following])["mouth"].extent == 0


def test_a_driver_that_stands_still_says_nothing(measured: FaceMeasures) -> None:
    following = follow(standing(measured), measured)
    assert all(np.isnan(value.correlation) and not value.moves for value in following.values())
    assert np.isnan(overall(following))


def test_a_driver_that_hardly_moves_is_marked_and_left_out_of_the_mean(measured: FaceMeasures) -> None:
    jitter = 0.5 * STILL["yaw"] * np.sin(np.arange(len(measured)))
    angles = np.stack([jitter, measured.angles[:, 1], measured.angles[:, 2]], axis=1)
    driver = replace(measured, angles=angles)
    following = follow(driver, driver)
    assert following["yaw"].correlation == pytest.approx(1) and not following["yaw"].moves
    assert mean_following([following])["yaw"].clips == 0 and np.isnan(mean_following([following])["yaw"].correlation)
    assert mean_following([following])["mouth"].clips == 1


def test_frames_without_a_face_are_left_out_and_counted(measured: FaceMeasures) -> None:
    result = without_face(measured, slice(0, 5))
    following = follow(measured, result)["mouth"]
    assert following.frames == len(measured) - 5 and following.correlation == pytest.approx(1)


def test_a_result_without_any_face_follows_nothing_and_counts(measured: FaceMeasures) -> None:
    lost = without_face(measured, slice(None))
    following = follow(measured, replace(lost, names=()))
    assert following["mouth"].correlation == 0 and following["mouth"].frames == 0
    means = mean_following([following, follow(measured, measured)])["mouth"]
    assert (means.correlation, means.extent, means.clips) == (pytest.approx(0.5), pytest.approx(0.5), 2)


def test_the_overall_number_is_the_mean_over_moving_signals() -> None:
    clip = {
        "mouth": Following(0.8, 1, 1, True, 9),
        "yaw": Following(0.4, 1, 1, True, 9),
        "blink": Following(-1, 0, 1, False, 9),
    }
    assert overall(clip) == pytest.approx(0.6)


def test_clips_of_different_length_are_refused(measured: FaceMeasures) -> None:
    with pytest.raises(ValueError, match="24 frames, the result 48"):
        follow(measured, FaceMeasures.joined([measured, measured]))
