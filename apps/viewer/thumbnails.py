"""Small pictures of a take: one strip of them for the timeline, and single frames."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from apps.viewer import networks
from apps.viewer.analysis import fingerprint
from apps.viewer.stills import BATCH
from apps.viewer.takes import Take, shown_motion, token_frames

SIDE = 88  # pixels of a small picture
MOST = 150  # small pictures of a clip: with 88 px they make a strip that every browser can hold
STRIPS = 20  # that are kept
DRAWN = 24  # of these, where they have to be drawn
FILM_SIDE = 240  # pixels of the pictures that are kept of a video
FILM_MOST = 3000  # so many of a video, about 10 kB each; of longer ones every second, third, ...
FILMS = 10  # videos of which they are kept
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


def strip(take: Take, portrait: Path, told: Callable[[float], object] = lambda share: None) -> Strip:
    """The strip of a take: of its video, or else drawn with a portrait.

    Args:
        take: the clip.
        portrait: what is drawn, where there is no video.
        told: called with the share that is drawn.
    Raises:
        XNeMoError: the video cannot be read, or the portrait not be drawn.
    """
    source = _source(take, portrait)
    known = known_strip(take, portrait)
    if known is None:
        known = _of_video(take) if take.frames is not None else _drawn(take, portrait, told)
        strips = _strips()
        strips[fingerprint(take), source] = known
        while len(strips) > STRIPS:
            strips.pop(next(iter(strips)), None)
    return known


def known_strip(take: Take, portrait: Path) -> Strip | None:
    """The strip if it was made already."""
    return _strips().get((fingerprint(take), _source(take, portrait)))


def _source(take: Take, portrait: Path) -> str:
    return f"drawn {portrait}" if take.frames is None else str(take.frames)


@st.cache_resource(show_spinner=False)
def _strips() -> dict[tuple[str, str], Strip]:
    """The strips that were made last."""
    return {}


def _of_video(take: Take) -> Strip:
    frames = thinned(list(range(take.length)), MOST)
    return _joined(video_frames(take, frames), frames, drawn=False)


def _drawn(take: Take, portrait: Path, told: Callable[[float], object]) -> Strip:
    parts = token_frames(take, networks.tokenizer().frames_per_token)
    frames = thinned([(start + stop) // 2 for start, stop in parts], DRAWN)
    motion, preview = shown_motion(take, networks.tokenizer()), networks.preview(portrait)
    pictures: list[Picture] = []
    for first in range(0, len(frames), BATCH):
        told(first / len(frames))
        chosen = frames[first : first + BATCH]
        pictures += list(preview.draw(motion.latents[chosen], motion.boxes[chosen]))
    return _joined(pictures, frames, drawn=True)


def _joined(pictures: list[Picture], frames: list[int], drawn: bool) -> Strip:
    small = [
        np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for picture in pictures
    ]
    return Strip(data_url(np.concatenate(small, axis=1)), frames, SIDE, drawn)


@dataclass(frozen=True)
class Film:
    """Small pictures of a take's video.

    Attributes:
        pictures: JPEGs, of frame 0, `step`, 2 `step`, ... of the take.
        step: 1 for videos of ordinary length.
    """

    pictures: list[bytes]
    step: int


@st.cache_resource(show_spinner="Reading the pictures …", max_entries=FILMS)
def _film(video: Path, changed: int, fps: float, length: int, crop: tuple[int, int, int, int] | None) -> Film:
    from animator.video import VideoReader

    step = -(-length // FILM_MOST)
    pictures: list[bytes] = []
    with VideoReader(video) as reader:
        wanted = [min(round(frame * reader.info.fps / fps), len(reader) - 1) for frame in range(0, length, step)]
        number = 0
        for chunk in reader.chunks(stop=wanted[-1] + 1):
            for picture in chunk:
                while len(pictures) < len(wanted) and wanted[len(pictures)] == number:
                    pictures.append(_small_jpeg(squared(picture, crop)))
                number += 1
    return Film(pictures, step)


def _small_jpeg(picture: Picture) -> bytes:
    image = Image.fromarray(picture)
    image.thumbnail((FILM_SIDE, FILM_SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


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
    """Frames of a take's video, square around the face where it is known where that is; `FILM_SIDE` pixels at most.

    The first call for a clip decodes the whole of it and keeps small pictures, so that a click need not.

    Args:
        take: has a video.
        frames: which, at the take's rate.
    """
    assert take.frames is not None
    crop = None if take.motion is None else take.motion.crop
    film = _film(take.frames, take.frames.stat().st_mtime_ns, take.fps, take.length, crop)
    return [
        np.asarray(Image.open(io.BytesIO(film.pictures[min(frame // film.step, len(film.pictures) - 1)])))
        for frame in frames
    ]


def squared(picture: Picture, crop: tuple[int, int, int, int] | None) -> Picture:
    """The square of a picture around the face `crop`; the middle where nobody knows where the face is."""
    height, width = picture.shape[:2]
    side = min(height, width)
    centre = (width / 2, height / 2)
    if crop is not None:
        x, y, wide, high = crop
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
