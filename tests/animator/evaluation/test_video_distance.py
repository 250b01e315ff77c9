"""The distance between sets of videos is about 0 for one set, grows with the change, and says nothing about few."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from animator.evaluation.lpips import Lpips
from animator.evaluation.video_distance import LEAST_CLIPS, RUN, describe_run, video_distance


def clips(rng: np.random.Generator, shift: float, count: int = 40) -> list[np.ndarray]:
    return [rng.normal(shift, 1, (3, 16)) for _ in range(count)]


def test_two_samples_of_one_thing_are_about_0_apart_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    same = video_distance(clips(rng, 1.0), clips(rng, 1.0))
    near = video_distance(clips(rng, 1.2), clips(rng, 1.0))
    far = video_distance(clips(rng, 1.6), clips(rng, 1.0))
    assert abs(same) < 0.2 * near < 0.2 * far


def test_equal_sets_are_0_exactly() -> None:
    runs = clips(np.random.default_rng(0), 1.0, LEAST_CLIPS)
    assert video_distance(runs, runs) == pytest.approx(0, abs=1e-9)


def test_sets_that_do_not_match_clip_by_clip_are_refused() -> None:
    runs = clips(np.random.default_rng(0), 1.0, LEAST_CLIPS)
    with pytest.raises(ValueError, match="as many runs"):
        video_distance([runs[0][:1], *runs[1:]], runs)


def test_few_clips_say_nothing() -> None:
    rng = np.random.default_rng(0)
    few = clips(rng, 0.0, LEAST_CLIPS - 1)
    assert np.isnan(video_distance(few, few))
    empty = [np.zeros((0, 16))] * LEAST_CLIPS
    assert np.isnan(video_distance(empty, empty))


def test_a_run_is_described_by_look_and_change(models: Path, talking: np.ndarray) -> None:
    lpips = Lpips(models / "lpips_alexnet.safetensors")
    moving, still = describe_run(lpips, talking[:RUN]), describe_run(lpips, np.repeat(talking[:1], RUN, axis=0))
    assert moving.shape == (512,)
    assert still[256:] == pytest.approx(0, abs=1e-6) and moving[256:].max() > 1e-4
    backwards = describe_run(lpips, talking[:RUN][::-1].copy())
    np.testing.assert_allclose(moving, backwards, atol=1e-5)
