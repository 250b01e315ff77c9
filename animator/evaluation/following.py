"""Does the result do what the driver does: correlation over frames of mouth, blink, gaze, smile, yaw and pitch.

A correlation says nothing about a signal that does not move: the driver's standard deviation stands beside it, and
clips whose driver stays below `STILL` in a signal do not count for that signal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from animator.evaluation.landmarks import FaceMeasures

# The driver's standard deviation below which a signal counts as still: three to four times the frame-to-frame noise of
# the Face Landmarker, which on 123 talking-head clips is, in the median, 0.012 for jawOpen, 0.006 for blink, 0.003 (for
# every tenth clip 0.024) for smile, 0.022 for gaze, 0.14 degrees of yaw and 0.24 of pitch; 0.003 for mouth, on one.
STILL = {"mouth": 0.01, "jaw_open": 0.04, "blink": 0.03, "gaze": 0.08, "smile": 0.03, "yaw": 1.0, "pitch": 1.2}

# Two points always lie on a line.
_LEAST_FRAMES = 3


@dataclass(frozen=True)
class Following:
    """How a result follows its driver in one signal.

    Attributes:
        correlation: Pearson's, over the frames in which both faces were found; 0 where the result's face does not move
            at all or is found in fewer than 3 of them; NaN where the driver's does.
        driver_deviation: standard deviation of the driver's signal over its frames with a face; NaN without any.
        result_deviation: the same of the result. A correlation does not see how far a face moves; beside the driver's
            this does.
        moves: the driver moves enough in this signal for the correlation to mean something.
        frames: number of frames that the correlation is over.
    """

    correlation: float
    driver_deviation: float
    result_deviation: float
    moves: bool
    frames: int


def signals(face: FaceMeasures) -> dict[str, NDArray[np.float64]]:
    """The signals of a face, each (T,), NaN where no face was found.

    `mouth`: lip distance over face height; `jaw_open`: blendshape jawOpen; `blink`: mean of eyeBlinkLeft and -Right;
    `gaze`: how far both eyes look to the person's left, by eyeLookOutLeft and eyeLookInRight less the opposite ones;
    `smile`: mean of mouthSmileLeft and -Right; `yaw` and `pitch` in degrees.
    """
    left = face.blendshape("eyeLookOutLeft", "eyeLookInRight")
    right = face.blendshape("eyeLookOutRight", "eyeLookInLeft")
    return {
        "mouth": face.mouth,
        "jaw_open": face.blendshape("jawOpen"),
        "blink": face.blendshape("eyeBlinkLeft", "eyeBlinkRight"),
        "gaze": left - right,
        "smile": face.blendshape("mouthSmileLeft", "mouthSmileRight"),
        "yaw": face.angles[:, 0],
        "pitch": face.angles[:, 1],
    }


def follow(driver: FaceMeasures, result: FaceMeasures) -> dict[str, Following]:
    """Compare a result with its driver, frame by frame, in every signal.

    Raises:
        ValueError: they differ in length.
    """
    if len(driver) != len(result):
        raise ValueError(f"the driver has {len(driver)} frames, the result {len(result)}")
    theirs, ours = signals(driver), signals(result)
    return {name: _follow(theirs[name], ours[name], STILL[name]) for name in STILL}


@dataclass(frozen=True)
class MeanFollowing:
    """One signal over many clips; only those count whose driver moves in it.

    Attributes:
        correlation: mean of the correlations; NaN without such a clip.
        extent: mean of the result's standard deviation over the driver's; 1 is as much movement as the driver's, 0 a
            still picture. Results without a face count as still.
        clips: number of clips that count.
    """

    correlation: float
    extent: float
    clips: int


def mean_following(clips: Iterable[dict[str, Following]]) -> dict[str, MeanFollowing]:
    """Average over clips, for each signal."""
    clips = list(clips)
    means = {}
    for name in STILL:
        moving = [clip[name] for clip in clips if clip[name].moves]
        extents = [np.nan_to_num(found.result_deviation) / found.driver_deviation for found in moving]
        correlations = [found.correlation for found in moving]
        means[name] = MeanFollowing(_mean(correlations), _mean(extents), len(moving))
    return means


def overall(clip: dict[str, Following]) -> float:
    """One number to rank clips by: the mean correlation over the signals in which the driver moves; NaN if in none."""
    return _mean([following.correlation for following in clip.values() if following.moves])


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _deviation(signal: NDArray[np.float64]) -> float:
    seen = signal[~np.isnan(signal)]
    return float(seen.std()) if len(seen) else float("nan")


def _follow(driver: NDArray[np.float64], result: NDArray[np.float64], still: float) -> Following:
    seen = ~np.isnan(driver)
    deviation = _deviation(driver)
    both = seen & ~np.isnan(result)
    frames = int(both.sum())
    moves = bool(seen.sum() >= _LEAST_FRAMES and deviation >= still)
    correlation = _correlation(driver[seen], driver[both], result[both])
    return Following(correlation, deviation, _deviation(result), moves, frames)


def _correlation(driver: NDArray[np.float64], theirs: NDArray[np.float64], ours: NDArray[np.float64]) -> float:
    """Correlation of `theirs` and `ours` (frames with both faces); `driver` is all that is known of the driver."""
    if len(driver) < _LEAST_FRAMES or np.ptp(driver) == 0:
        return float("nan")
    if len(ours) < _LEAST_FRAMES or np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return 0.0
    return float(np.corrcoef(theirs, ours)[0, 1])
