"""Frame rates: the driving as the tokenizer sees it, and a continuation back at the driving's own rate.

Tokens stand for frames at the tokenizer's rate, mostly 25 a second. A driving clip of another rate is looked at from
its end: its last frame is the tokenizer's last frame, and earlier ones lie between. New frames are then made at the
tokenizer's rate, counted from that same last frame, and interpolated linearly at the times of the driving's rate.
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from animator.motion_clip import MotionClip
from animator.video_probe import exact_rate

# Rates closer than this (relative) are one, as for the tokenizer.
_TOLERANCE = 1e-4


def rate_ratio(fps: float, new_fps: float) -> Fraction:
    """Frames at `fps` that last as long as one at `new_fps`; exactly 1 for rates that mean the same."""
    if abs(fps - new_fps) <= _TOLERANCE * new_fps:
        return Fraction(1)
    return exact_rate(fps) / exact_rate(new_fps)


def resample_from_end(motion: MotionClip, fps: float) -> MotionClip:
    """The same motion at another frame rate, with the last frame kept as it is.

    Frame -1 - k of the result shows the time k / fps before the last frame, interpolated linearly; it reaches back as
    far as whole frames go.
    """
    step = rate_ratio(motion.fps, fps)
    if step == 1:
        return motion
    last = len(motion) - 1
    count = math.floor(last / step) + 1
    places = [last - back * step for back in reversed(range(count))]
    before = np.array([math.floor(place) for place in places])
    after = np.minimum(before + 1, last)
    weight = torch.tensor([float(place - math.floor(place)) for place in places])[:, None]
    t0 = None
    if motion.t0 is not None:
        t0 = next(index for index, place in enumerate(places) if place >= motion.t0 or index == count - 1)
    return replace(
        motion,
        latents=torch.lerp(motion.latents[before], motion.latents[after], weight),
        boxes=torch.lerp(motion.boxes[before], motion.boxes[after], weight),
        fps=float(fps),
        t0=t0,
    )


def frames_needed(frames: int, fps: float, made_fps: float) -> int:
    """How many frames at `made_fps` must be made, after a known one, for `frames` frames at `fps` after it."""
    return math.ceil(frames * rate_ratio(made_fps, fps))


class RateChange:
    """Frames at one rate, in pieces, to frames at another; both are counted from a frame 0 that is known.

    Args:
        known: frame 0, (D,).
        fps: rate of the frames that come.
        new_fps: rate of the frames that are wanted.
    """

    def __init__(self, known: Tensor, fps: float, new_fps: float) -> None:
        self._step = rate_ratio(fps, new_fps)
        self._kept = known[None]
        self._first = 0  # number of the first kept frame
        self._given = 0  # frames that were given back

    def __call__(self, frames: Tensor) -> Tensor:
        """Take the next frames, (n, D), and give back those that are known now, (m, D)."""
        if self._step == 1:
            return frames
        self._kept = torch.cat([self._kept, frames])
        newest = self._first + len(self._kept) - 1
        made = []
        while (place := (self._given + 1) * self._step) <= newest:
            before = math.floor(place)
            after = min(before + 1, newest)
            weight = float(place - before)
            made.append(torch.lerp(self._kept[before - self._first], self._kept[after - self._first], weight))
            self._given += 1
        needed = min(math.floor((self._given + 1) * self._step), newest)
        self._kept, self._first = self._kept[needed - self._first :].clone(), needed
        return torch.stack(made) if made else frames[:0]
