"""What single frames hide: flicker of pictures, and landmarks that tremble on a head that stands still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from animator.evaluation.landmarks import FaceMeasures

Frames = NDArray[np.uint8]

# Points of the mesh that no expression moves much: corners of the eyes, bridge and tip of the nose, forehead, temples.
RIGID_POINTS = (33, 133, 362, 263, 168, 6, 1, 10, 151, 127, 356)
# A head stands still over these many frames, if all three angles stay within a range of `STILL_DEGREES` and its middle
# within `STILL_SHIFT` heights of the face.
STILL_FRAMES = 5
STILL_DEGREES = 1.5
STILL_SHIFT = 0.015


class Flicker:
    """Mean |frame[t-1] - 2 frame[t] + frame[t+1]| over pixels, channels and frames, in units of 1: change of change.

    Steady movement hardly counts, brightness that jumps to and fro counts fully. Frames come in chunks.
    """

    def __init__(self) -> None:
        self._last: NDArray[np.int16] | None = None
        self._sum = 0.0
        self._count = 0

    def add(self, frames: Frames) -> None:
        """Go on with frames (n, H, W, 3)."""
        run = frames.astype(np.int16)
        if self._last is not None:
            run = np.concatenate([self._last, run])
        if len(run) > 2:
            second = np.abs(run[:-2] - 2 * run[1:-1] + run[2:])
            self._sum += float(second.mean(axis=(1, 2, 3)).sum()) / 255
            self._count += len(second)
        self._last = run[-2:]

    @property
    def value(self) -> float:
        """The mean so far; NaN before three frames."""
        return self._sum / self._count if self._count else float("nan")


@dataclass(frozen=True)
class Jitter:
    """Trembling of rigid landmarks while the driver's head stands still.

    Attributes:
        result: mean |p[t-1] - 2 p[t] + p[t+1]| over `RIGID_POINTS`, in thousandths of the face's height; NaN without
            such frames.
        driver: the same of the driver: what the landmarker and the camera give by themselves.
        frames: number of frames that count.
    """

    result: float
    driver: float
    frames: int


def jitter(driver: FaceMeasures, result: FaceMeasures) -> Jitter:
    """Compare the trembling of a result with its driver's, where the driver's head stands still.

    Frames in which the result's face was not found, and their neighbours, do not count: there is nothing to compare.
    """
    still = still_frames(driver)
    theirs, ours = _trembling(driver), _trembling(result)
    counted = still & ~np.isnan(theirs) & ~np.isnan(ours)
    if not counted.any():
        return Jitter(float("nan"), float("nan"), 0)
    return Jitter(float(ours[counted].mean()), float(theirs[counted].mean()), int(counted.sum()))


def still_frames(face: FaceMeasures) -> NDArray[np.bool_]:
    """Frames in the middle of `STILL_FRAMES` over which the head stands still, (T,)."""
    heights = face.boxes[:, 3] - face.boxes[:, 1]
    rigid = face.points[:, list(RIGID_POINTS)].astype(np.float64).mean(axis=1)
    still = np.zeros(len(face), bool)
    half = STILL_FRAMES // 2
    for middle in range(half, len(face) - half):
        run = slice(middle - half, middle + half + 1)
        if not face.found[run].all():
            continue
        turned = np.ptp(face.angles[run], axis=0).max()
        moved = np.ptp(rigid[run], axis=0).max() / heights[middle]
        still[middle] = turned <= STILL_DEGREES and moved <= STILL_SHIFT
    return still


def _trembling(face: FaceMeasures) -> NDArray[np.float64]:
    """Second difference of the rigid points at each frame, in thousandths of the face's height, (T,); NaN at the ends
    and beside frames without a face."""
    values = np.full(len(face), np.nan)
    if len(face) < 3:
        return values
    points = face.points[:, list(RIGID_POINTS)].astype(np.float64)
    second = np.linalg.norm(points[:-2] - 2 * points[1:-1] + points[2:], axis=2).mean(axis=1)
    values[1:-1] = 1000 * second / (face.boxes[1:-1, 3] - face.boxes[1:-1, 1])
    return values
