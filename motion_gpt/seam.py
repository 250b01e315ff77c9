"""Where the driving ends and made-up motion begins: how rough that is, and how it is made smooth.

The driving part of a continued clip is the driving clip itself, but its continuation comes out of a decoder that knows
the driving only through tokens. At the seam the two differ, in place and in velocity. A cross-fade would need frames of
the driving that lie in the future. So the difference is carried into the continuation and fades there: a cubic that
starts with the offset and the velocity error of the last driving frame and ends, flat, at zero.

Motion is features, (frames, 515), as the tokenizer sees it: latents, dx, dy and the logarithm of the head's size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from animator.config_loader import key
from motion_tokenizer.features import BOXES, LATENTS

REACH = 2
"""Frames before and after the first new one whose jerk makes the roughness of a seam."""

_ORDER = 3  # a jerk is a third difference
_LEAST_WINDOWS = 8  # of real motion, below which a percentile says nothing


@dataclass
class SeamSettings:
    """How a continuation is joined to what it continues."""

    fade: int = key(
        10, "frames at the tokenizer's rate over which the difference at the seam fades", minimum=1, maximum=100
    )
    velocity: float = key(
        0.25,
        "share of the velocity error that is carried over and fades too; most of it is jitter from frame to frame; "
        "0: only the offset",
        minimum=0,
        maximum=1,
    )
    attempts: int = key(
        8,
        "first tokens drawn at most until the seam is no rougher than the driving; the smoothest is taken where none "
        "is; 1: no choice",
        minimum=1,
        maximum=8,
    )
    percentile: float = key(
        99.0, "percentile of the driving's own roughness above which a seam is drawn again", minimum=50, maximum=100
    )


class Seam:
    """The correction of one continuation; its frames come in order, in pieces of any length.

    Args:
        driving: the last two frames of the driving, (2, 515).
        decoded: what the decoder makes of the same two frames, (2, 515).
        settings: how it fades.
    """

    def __init__(self, driving: Tensor, decoded: Tensor, settings: SeamSettings) -> None:
        error = driving - decoded
        self._offset = error[1]
        self._velocity = settings.velocity * (error[1] - error[0])
        self._fade = settings.fade
        self._done = 0

    def __call__(self, frames: Tensor) -> Tensor:
        """The next frames, (n, 515), corrected."""
        if self._done >= self._fade:
            return frames
        time = torch.arange(self._done + 1, self._done + len(frames) + 1, dtype=frames.dtype)[:, None]
        self._done += len(frames)
        # Cubic Hermite from (offset, velocity) at time 0 to (0, 0) at the end of the fade; time counts frames.
        s = (time / self._fade).clamp(max=1)
        offset_share = (1 + 2 * s) * (1 - s) ** 2
        velocity_frames = self._fade * s * (1 - s) ** 2
        return frames + offset_share * self._offset + velocity_frames * self._velocity


class Onset:
    """The beginning of a clip that continues nothing: its head is put to (0, 0, 1) in the first frame.

    All frames are moved and scaled alike, for f_rts is relative to a clip's own first frame.
    """

    def __init__(self) -> None:
        self._first: Tensor | None = None

    def __call__(self, frames: Tensor) -> Tensor:
        """The next frames, (n, 515), placed."""
        if self._first is None and len(frames):
            self._first = frames[0, BOXES].clone()
        if self._first is None:
            return frames
        boxes = frames[:, BOXES] - self._first
        boxes[:, :2] *= (-self._first[2]).exp()
        return torch.cat([frames[:, LATENTS], boxes], dim=1)


def jerk(features: Tensor) -> Tensor:
    """Length of the third difference of the latents, for each frame with three before it.

    Args:
        features: (T, 515) or latents alone, (T, 512).
    Returns:
        (T - 3,), in units of the latent per frame cubed; entry 0 belongs to frame 3.
    """
    return features[:, LATENTS].diff(n=_ORDER, dim=0).norm(dim=1)


def roughness(features: Tensor) -> Tensor:
    """Mean jerk over five frames, t - 2 to t + 2, for each t that has them.

    Args:
        features: as in `jerk`, T frames.
    Returns:
        (T - 7,); entry 0 belongs to frame 5. Empty where there are fewer than 8 frames.
    """
    width = 2 * REACH + 1
    values = jerk(features)
    return values.unfold(0, width, 1).mean(dim=1) if len(values) >= width else values[:0]


def seam_roughness(features: Tensor, t0: int) -> Tensor:
    """`roughness` at the frame t0, where new motion begins.

    Args:
        features: as in `jerk`; at least 5 frames before t0 and, from it on, 3.
        t0: the first new frame.
    Raises:
        ValueError: there are fewer.
    """
    first, stop = t0 - REACH - _ORDER, t0 + REACH + 1
    if first < 0 or stop > len(features):
        raise ValueError(f"the seam at frame {t0} of {len(features)} needs 5 frames before it and 3 from it on")
    return jerk(features[first:stop]).mean()


def real_limit(driving: Tensor, percentile: float) -> float | None:
    """Roughness that real motion rarely has.

    Args:
        driving: observed motion, (T, 515).
        percentile: of its roughness, 0 to 100.
    Returns:
        None where there is too little of it to tell.
    """
    values = roughness(driving)
    if len(values) < _LEAST_WINDOWS:
        return None
    return float(torch.quantile(values, percentile / 100))
