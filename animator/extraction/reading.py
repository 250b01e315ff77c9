"""What is done with a clip before the encoder sees it: decode, follow the face, cut it out, read the sound."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from animator.audio import read_audio
from animator.errors import XNeMoError
from animator.face import FaceDetector, FaceTrack, face_crops, track_faces
from animator.files import sha256_of
from animator.release_preprocessing import LONGEST, release_track
from animator.video import VideoReader

CROPS = 16  # face crops sent, and encoded, at once
MAX_GAP = 12  # frames at 25 a second without the face that are bridged; the release bridges none
SOUND_RATE = 16_000  # samples a second
KEPT_BYTES = 256 * 2**20  # pictures that a worker holds at most: 54 s of 256 x 256


@dataclass(frozen=True)
class ReadSettings:
    """How clips are read.

    Attributes:
        select, min_score, max_gap, preprocessing: as in `animator.config.FaceConfig`.
        reader: as in `animator.config.RuntimeConfig`.
        side: of the encoder's face crops, in pixels.
        audio: whether the sound is read as well.
    """

    select: str
    min_score: float
    max_gap: int
    preprocessing: str
    reader: Literal["auto", "decord", "pyav"]
    side: int
    audio: bool


@dataclass(frozen=True)
class ReadJob:
    """Reads clips in a worker process (`animator.extraction.worker.Job`)."""

    settings: ReadSettings

    def start(self) -> Callable[[Path], Iterator[ClipStart | np.ndarray]]:
        """Load the detector; gives a function from a video to what is known of it and then its face crops."""
        detector = FaceDetector(min_score=self.settings.min_score)

        def read(path: Path) -> Iterator[ClipStart | np.ndarray]:
            with open_clip(path, self.settings, detector) as (start, crops):
                yield start
                yield from crops

        return read


@dataclass(frozen=True, eq=False)
class ClipStart:
    """All that is known of a clip before its face crops are cut.

    Attributes:
        boxes: f_rts triplets relative to the first frame, (T, 3), float32.
        crop: of the first frame, (x, y, width, height) in pixels.
        width: of the frames in pixels.
        fps: frames a second.
        sha256: of the file.
        sound: float32 (samples,) at 16 kHz; None where there is none or none is wanted.
    """

    boxes: np.ndarray
    crop: tuple[int, int, int, int]
    width: int
    fps: float
    sha256: str
    sound: np.ndarray | None


class RememberingReader(VideoReader):
    """A reader that decodes a video of moderate size once, though it is read twice, by keeping its pictures.

    Longer and larger videos are decoded at each reading, so that memory does not grow with them.
    """

    _pictures: np.ndarray | None = None

    def chunks(self, size: int = 32, start: int = 0, stop: int | None = None) -> Iterator[np.ndarray]:
        """As `VideoReader.chunks`, but the pictures must not be written to."""
        if self._pictures is not None:
            begin, end, _ = slice(start, stop).indices(len(self))
            yield from (self._pictures[at : min(at + size, end)] for at in range(begin, end, size))
            return
        shape = (len(self), self.info.height, self.info.width, 3)
        if (start, stop) != (0, None) or math.prod(shape) > KEPT_BYTES:
            yield from super().chunks(size, start, stop)
            return
        pictures = np.empty(shape, np.uint8)
        done = 0
        for chunk in super().chunks(size):
            pictures[done : done + len(chunk)] = chunk
            done += len(chunk)
            yield chunk
        self._pictures = pictures


def follow_face(
    reader: VideoReader,
    detector: FaceDetector,
    select: str | int,
    max_gap: int | None,
    preprocessing: str,
    progress: Callable[[int], object] | None = None,
) -> tuple[FaceTrack, int | None]:
    """Follow a face by the preprocessing of that name.

    Args:
        reader: an open video.
        detector: the face detector.
        select, max_gap, preprocessing: see `XNeMoPipeline.encode_motion`.
        progress: called with the number of frames just done.
    Returns:
        The face's track, and how many frames of the video are used at most (None: all).
    """
    if max_gap is None:
        max_gap = 0 if preprocessing == "release" else MAX_GAP
    if preprocessing == "release":
        return release_track(reader, detector, select, max_gap, progress), LONGEST
    return track_faces(reader, detector, select, max_gap, progress), None


@contextmanager
def open_clip(
    path: Path, settings: ReadSettings, detector: FaceDetector
) -> Iterator[tuple[ClipStart, Iterator[np.ndarray]]]:
    """Read a clip in two passes, which keep the pictures of clips of moderate size only.

    Yields:
        What is known of the clip, and the face crops of its T frames, (n, side, side, 3), uint8, n <= 16 at a time.
    Raises:
        XNeMoError: the file cannot be read, or the face is not found (also while crops are taken); the message names
            the file.
    """
    try:
        with RememberingReader(path, settings.reader) as reader:
            track, stop = follow_face(reader, detector, settings.select, settings.max_gap, settings.preprocessing)
            x0, y0, x1, y1 = (int(value) for value in track.crop_boxes[0])
            fps = reader.info.fps
            start = ClipStart(
                boxes=track.rts(),
                crop=(x0, y0, x1 - x0, y1 - y0),
                width=reader.info.width,
                fps=fps,
                sha256=sha256_of(path),
                sound=_sound(path, len(track) / fps) if settings.audio and reader.info.has_audio else None,
            )
            yield start, face_crops(reader, track, settings.side, CROPS, stop)
    except XNeMoError as error:
        if str(path) in str(error):
            raise
        raise XNeMoError(f"{path}: {str(error).removeprefix(f'{path.name}: ')}") from error


def _sound(path: Path, seconds: float) -> np.ndarray:
    samples, _ = read_audio(path, SOUND_RATE)
    return samples[: round(seconds * SOUND_RATE)]
