"""AED, APD and the correlations behind EMO-SIM have the values that their definitions give, and drop no lost face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchmetrics.functional.regression import concordance_corrcoef, pearson_corrcoef

from animator.evaluation.agreement import Moments, emotion_moments, emotion_similarity, motion_errors
from animator.evaluation.landmarks import FaceMeasures
from tests.animator.evaluation.faces import lose, made_face


def test_identical_faces_are_0_exactly(measured: FaceMeasures) -> None:
    found = motion_errors(measured, measured)
    assert (found.aed, found.apd, found.yaw, found.pitch, found.roll) == (0, 0, 0, 0, 0)
    assert (found.frames, found.missing) == (len(measured), 0)


def test_apd_is_the_mean_over_yaw_pitch_and_roll_in_degrees() -> None:
    driver = made_face(4)
    turned = replace(driver, angles=driver.angles + np.array([6.0, -3.0, 1.5]))
    found = motion_errors(driver, turned)
    assert (found.yaw, found.pitch, found.roll) == (6, 3, 1.5)
    assert found.apd == pytest.approx(3.5)


def test_angles_are_compared_the_short_way_round() -> None:
    driver = made_face(2)
    a = replace(driver, angles=np.array([[0.0, 0, 178]] * 2))
    b = replace(driver, angles=np.array([[0.0, 0, -179]] * 2))
    assert motion_errors(a, b).roll == pytest.approx(3)


def test_aed_is_the_mean_over_all_52_blendshapes() -> None:
    driver = made_face(3)
    shapes = driver.blendshapes.copy()
    shapes[:, 25] = 0.52
    assert motion_errors(driver, replace(driver, blendshapes=shapes)).aed == pytest.approx(0.01)


def test_a_lost_face_is_counted_as_one_at_rest_and_not_dropped() -> None:
    driver = replace(made_face(4), angles=np.array([[12.0, 0, 0]] * 4))
    found = motion_errors(driver, lose(driver, 1, 2))
    assert (found.frames, found.missing) == (4, 2)
    assert found.yaw == pytest.approx(6)  # 12 degrees in two of four frames
    everything = motion_errors(driver, lose(driver, 0, 1, 2, 3))
    assert everything.yaw == pytest.approx(12) and everything.missing == 4


def test_frames_without_a_driving_face_say_nothing() -> None:
    driver = lose(made_face(4), 0)
    assert motion_errors(driver, made_face(4)).frames == 3
    assert np.isnan(motion_errors(lose(made_face(2), 0, 1), made_face(2)).aed)


def test_clips_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="4 frames, the result 3"):
        motion_errors(made_face(4), made_face(3))


def test_correlations_are_the_published_ones() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    y = 0.6 * x + 0.3 + 0.5 * rng.normal(size=500)
    found = Moments.of(x, y)
    a, b = torch.from_numpy(x), torch.from_numpy(y)
    assert float(found.pearson()) == pytest.approx(float(pearson_corrcoef(a, b)), abs=1e-9)
    # torchmetrics divides variances by n - 1; Lin's definition, and EmoNet's code, divide by n.
    assert float(found.concordance()) == pytest.approx(float(concordance_corrcoef(a, b)), abs=2e-3)
    lin = 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    assert float(found.concordance()) == pytest.approx(lin, abs=1e-9)


def test_concordance_sees_a_shift_that_correlation_does_not() -> None:
    x = np.array([0.0, 1, 2, 3])
    found = Moments.of(x, x + 1)
    assert float(found.pearson()) == pytest.approx(1)
    assert float(found.concordance()) == pytest.approx(2 * 1.25 / (1.25 + 1.25 + 1))


def test_a_face_that_shows_no_change_correlates_0() -> None:
    x = np.array([0.0, 1, 2, 3])
    assert float(Moments.of(x, np.full(4, 0.3)).pearson()) == 0
    assert float(Moments.of(np.full(4, 0.3), np.full(4, 0.3)).concordance()) == 0


def test_moments_of_clips_add_up_to_those_of_all_frames() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 40))
    parts = Moments(Moments.of(x[:10], y[:10]).values + Moments.of(x[10:], y[10:]).values)
    assert float(parts.concordance()) == pytest.approx(float(Moments.of(x, y).concordance()))


def test_emotion_similarity_is_the_mean_of_four_correlations() -> None:
    rng = np.random.default_rng(2)
    driver = rng.normal(size=(30, 2))
    result = driver + 0.5 * rng.normal(size=(30, 2))
    v, a = emotion_moments(driver, result)
    each = [v.concordance(), v.pearson(), a.concordance(), a.pearson()]
    assert float(emotion_similarity(v, a)) == pytest.approx(np.mean(each))
    assert float(emotion_similarity(*emotion_moments(driver, driver))) == pytest.approx(1)


def test_a_lost_face_has_no_emotion_and_counts() -> None:
    driver = np.array([[0.5, 0.1], [-0.5, 0.2], [0.2, 0.3]])
    result = driver.copy()
    result[1] = np.nan
    valence, _ = emotion_moments(driver, result)
    assert valence.values[0] == 3
    assert valence.values[2] == pytest.approx(0.7)
