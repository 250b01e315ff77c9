"""Intervals of means over clips."""

from __future__ import annotations

import numpy as np
import pytest

from animator.evaluation.bootstrap import draws, mean_interval


def test_equal_clips_have_no_spread() -> None:
    found = mean_interval(np.full(6, 0.25), 200, 0)
    assert (found.value, found.low, found.high, found.clips) == (0.25, 0.25, 0.25, 6)


def test_the_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(3, 1, 200)
    found = mean_interval(values, 2000, 0)
    # 95 % of a normal mean: 1.96 standard errors to either side.
    half = 1.96 * values.std() / np.sqrt(200)
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)


def test_clips_that_say_nothing_do_not_count() -> None:
    found = mean_interval(np.array([1.0, np.nan, 3.0]), 200, 0)
    assert (found.value, found.clips) == (2, 2)
    assert np.isnan(mean_interval(np.array([np.nan]), 200, 0).value)


def test_one_clip_has_no_interval() -> None:
    found = mean_interval(np.array([2.0]), 200, 0)
    assert found.value == 2 and np.isnan(found.low) and np.isnan(found.high)


def test_the_same_seed_draws_the_same_clips() -> None:
    np.testing.assert_array_equal(draws(5, 10, 3), draws(5, 10, 3))
    assert not np.array_equal(draws(5, 10, 3), draws(5, 10, 4))
