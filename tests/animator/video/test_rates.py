"""Another frame rate shows, at each time, the nearest frame."""

from __future__ import annotations

import numpy as np
import pytest

from animator.video import resample_indices


def test_resampling_takes_the_nearest_frame() -> None:
    assert resample_indices(10, 60, 25).tolist() == [0, 2, 5, 7]  # times 0, 2.4, 4.8, 7.2 in old frames
    assert resample_indices(4, 25, 60, 10).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 3, 3]
    assert resample_indices(7, 30, 30).tolist() == list(range(7))
    assert resample_indices(1, 60, 25).tolist() == [0]


@pytest.mark.parametrize("fps", [60, 30, 29.97, 24000 / 1001, 50, 12])
def test_resampling_there_and_back_keeps_length_and_time(fps: float) -> None:
    there = resample_indices(1000, fps, 25)
    assert len(there) == pytest.approx(1000 / fps * 25, abs=0.51)
    back = resample_indices(len(there), 25, fps, 1000)
    assert len(back) == 1000
    slowest = max(1 / 25, 1 / fps)
    assert np.abs(there[back] - np.arange(1000)).max() / fps <= slowest + 1e-9
    assert (np.diff(back) >= 0).all()
    assert back[-1] <= len(there) - 1


def test_resampling_refuses_nonsense() -> None:
    for arguments in ((0, 25, 25), (5, 0, 25), (5, 25, -1)):
        with pytest.raises(ValueError, match="must be"):
            resample_indices(*arguments)
