"""Key frames and the smooth way through them: keys out of pictures, videos and motion files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from animator.errors import XNeMoError
from animator.motion_clip import SUFFIX, MotionClip

EASINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda time: time,
    "smooth": lambda time: time**2 * (3 - 2 * time),
    "in": lambda time: time**2,
    "out": lambda time: 1 - (1 - time) ** 2,
}
"""Share of time that has passed -> share of the way, both from 0 to 1."""

_TIME = re.compile(r"((?P<hours>\d+):)?((?P<minutes>\d+):)?(?P<seconds>\d+(\.\d*)?|\.\d+)s?")


@dataclass(frozen=True)
class KeySource:
    """Where a key frame comes from.

    Attributes:
        path: the file.
        seconds: for a video, the time of the frame.
        frame: for a motion file, the number of the frame; negative numbers count from the end.
        A picture has neither.
    """

    path: str
    seconds: float | None = None
    frame: int | None = None


def parse_key(text: str) -> KeySource:
    """Read `IMAGE`, `VIDEO@TIME` (seconds, or minutes:seconds) or `NAME.motion.safetensors@FRAME`.

    A file whose own name holds an `@` is taken as a picture.

    Raises:
        XNeMoError: the part behind the `@` is neither a time nor a frame.
    """
    path, at, place = text.rpartition("@")
    if not at or Path(text).is_file():
        if text.endswith(SUFFIX):
            raise XNeMoError(f"{text}: which frame? name one with @, such as {text}@0 or {text}@-1 for the last")
        return KeySource(text)
    if path.endswith(SUFFIX):
        if not re.fullmatch(r"-?\d+", place):
            raise XNeMoError(f"{text}: {place or 'nothing'} is no frame; behind @ stands a whole number, from 0")
        return KeySource(path, frame=int(place))
    return KeySource(path, seconds=parse_time(place, text))


def parse_time(text: str, name: str) -> float:
    """Seconds of "3.2", "3.2s", "0:03.2" or "1:02:03".

    Args:
        text: the time.
        name: what the message calls it.
    Raises:
        XNeMoError: it is none of these.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise XNeMoError(f"{name}: {text or 'nothing'} is no time; write seconds, such as 3.2, or 0:03.2")
    # Of a single number before a colon the pattern makes hours; it means minutes.
    hours, minutes = match["hours"], match["minutes"]
    if hours is not None and minutes is None:
        hours, minutes = None, hours
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(match["seconds"])


def frame_of(motion: MotionClip, key: KeySource) -> MotionClip:
    """The frame of a motion file that a key names.

    Raises:
        XNeMoError: there is no such frame.
    """
    count, frame = len(motion), key.frame or 0
    if not -count <= frame < count:
        raise XNeMoError(f"{key.path}: has frames 0 to {count - 1}, but {frame} was asked for")
    start = frame % count
    return motion[start : start + 1]


def through(
    keys: Sequence[MotionClip],
    seconds: float,
    fps: float,
    mode: Literal["linear", "slerp"] = "slerp",
    easing: str = "smooth",
    hold: float = 0.0,
    loop: bool = False,
) -> MotionClip:
    """A clip that passes from key to key.

    Args:
        keys: clips of one frame, at least two.
        seconds: from each key to the next.
        fps: frames a second of the result.
        mode: see `MotionClip.interpolate`.
        easing: name in `EASINGS`.
        hold: seconds that each key is shown for, beside the moment that it takes anyway.
        loop: add a transition from the last key to the first; its end, which is the beginning, is left out.
    Returns:
        The clip; `t0` is 1, as of its frames only keys were given.
    Raises:
        XNeMoError: fewer than two keys, or keys of several encoders.
        ValueError: no time between keys.
    """
    if len(keys) < 2:
        raise XNeMoError("a transition needs two key frames; name another picture, VIDEO@TIME or motion@FRAME")
    if seconds <= 0:
        raise ValueError(f"seconds must be above 0, not {seconds}")
    steps, shown = max(1, round(seconds * fps)), 1 + round(hold * fps)
    latents, boxes = [], []
    for start, end in pairwise([*keys, keys[0]] if loop else keys):
        way = MotionClip.interpolate(start, end, steps + 1, mode, EASINGS[easing])
        latents += [start.latents.repeat(shown, 1), way.latents[1:-1]]
        boxes += [start.boxes.repeat(shown, 1), way.boxes[1:-1]]
    if not loop:
        latents.append(keys[-1].latents.repeat(shown, 1))
        boxes.append(keys[-1].boxes.repeat(shown, 1))
    joined = torch.cat(latents)
    return replace(
        keys[0],
        latents=joined,
        boxes=torch.cat(boxes),
        fps=fps,
        source=" to ".join(dict.fromkeys(key.source for key in keys if key.source)),
        source_sha256="",
        t0=1 if len(joined) > 1 else None,
        seed=None,
    )
