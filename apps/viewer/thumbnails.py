"""Small pictures of a take: one strip of them for the timeline, and single frames."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from apps.viewer import networks
from apps.viewer.analysis import fingerprint
from apps.viewer.takes import Take, shown_motion, token_frames

if TYPE_CHECKING:
    from animator.motion_clip import MotionClip

SIDE = 88  # pixels of a small picture
MOST = 150  # small pictures of a clip: with 88 px they make a strip that every browser can hold
DRAWN = 48  # of these, where they have to be drawn
MARGIN = 1.9  # sides of the face that a picture of a video shows

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Strip:
    """Pictures side by side.

    Attributes:
        image: a JPEG as a data URL, `len(frames)` squares of `side` pixels.
        frames: which frame each shows, rising.
        side: pixels.
        drawn: they were drawn from the motion, as no video of it is there.
    """

    image: str
    frames: list[int]
    side: int
    drawn: bool


def strip(take: Take, portrait: Path) -> Strip:
    """The strip of a take: of its video, or else drawn with a portrait."""
    if take.frames is not None:
        return _strip(fingerprint(take), str(take.frames), take, portrait)
    return _strip(fingerprint(take), f"drawn {portrait}", take, portrait)


@st.cache_resource(show_spinner="Making the frame strip …", max_entries=20)
def _strip(name: str, source: str, _take: Take, _portrait: Path) -> Strip:
    if _take.frames is None:
        parts = token_frames(_take, networks.tokenizer().frames_per_token)
        frames = thinned([(start + stop) // 2 for start, stop in parts], DRAWN)
        pictures = list(drawn(_take, frames, _portrait))
    else:
        frames = thinned(list(range(_take.length)), MOST)
        pictures = video_frames(_take, frames)
    small = [
        np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for picture in pictures
    ]
    return Strip(data_url(np.concatenate(small, axis=1)), frames, SIDE, _take.frames is None)


def thinned(numbers: list[int], most: int) -> list[int]:
    """At most so many of the numbers, at even distances, the first and the last among them."""
    if len(numbers) <= most:
        return numbers
    return [numbers[n] for n in np.unique(np.linspace(0, len(numbers) - 1, most).round().astype(int))]


def drawn(take: Take, frames: list[int], portrait: Path) -> Picture:
    """Frames of a take's motion as the GAN head draws them, (n, side, side, 3)."""
    motion = shown_motion(take, networks.tokenizer())
    return networks.preview(portrait).draw(motion.latents[frames], motion.boxes[frames])


def video_frames(take: Take, frames: list[int]) -> list[Picture]:
    """Frames of a take's video, square around the face where it is known where that is.

    Args:
        take: has a video.
        frames: which, at the take's rate, rising.
    """
    from animator.video import VideoReader

    assert take.frames is not None
    with VideoReader(take.frames) as reader:
        wanted = [min(round(frame * reader.info.fps / take.fps), len(reader) - 1) for frame in frames]
        if len(wanted) < len(reader) // 8:
            return [squared(reader.frame(number), take.motion) for number in wanted]
        # So many that reading on is faster than seeking.
        found: dict[int, Picture] = {}
        number = 0
        for chunk in reader.chunks(stop=wanted[-1] + 1):
            for picture in chunk:
                if number in wanted:
                    found[number] = squared(picture, take.motion)
                number += 1
    return [found[number] for number in wanted]


def squared(picture: Picture, motion: MotionClip | None) -> Picture:
    """The square of a picture around the face; the middle where nobody knows where the face is."""
    height, width = picture.shape[:2]
    side = min(height, width)
    centre = (width / 2, height / 2)
    if motion is not None and motion.crop is not None:
        x, y, wide, high = motion.crop
        side = min(side, round(MARGIN * max(wide, high)))
        centre = (x + wide / 2, y + high / 2)
    left = round(min(max(centre[0] - side / 2, 0), width - side))
    top = round(min(max(centre[1] - side / 2, 0), height - side))
    return picture[top : top + side, left : left + side]


def data_url(picture: Picture, quality: int = 78) -> str:
    """A picture as a JPEG that stands in its own address."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
