"""A driving video whose pictures drive, and their landmarks: what X-Portrait's control reads.

Pictures stay in the video until a portrait is there; then each is laid on it once and waits in a temporary file, so
that memory does not grow with the clip.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from animator.alignment import POINTS, Alignment, Points, best_frame, bridged, patches
from animator.controls.control import Reading, Setting
from animator.errors import XNeMoError
from animator.extraction.reading import MAX_GAP
from animator.face import FaceDetector, FaceTrack, iou, select_face, track_faces
from animator.image import resize
from animator.video import VideoReader, resample_indices

_CHUNK = 16  # pictures read at once
_ROOM = 0.5  # part of a face's side that the detector sees on each side of it


@dataclass(frozen=True, eq=False)
class DrivingPictures:
    """A driving video, read for its landmarks: T frames.

    Attributes:
        reader: the video.
        points: landmarks of each of its pictures, (N, 6, 2), float32, in pixels; see `animator.alignment`. NaN where
            none were found.
        shown: which picture each frame shows, (T,), rising.
        fps: frames a second.
        crop: the face in the first picture, (x, y, width, height) in pixels.
        best: picture whose head has the portrait's pose; None: the landmarks say which.
    """

    reader: VideoReader
    points: Points
    shown: NDArray[np.int64]
    fps: float
    crop: tuple[int, int, int, int]
    best: int | None = None

    @property
    def source(self) -> str:
        """Name of the video."""
        return self.reader.info.path.name

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.shown)

    def resample(self, fps: float) -> DrivingPictures:
        """The same at another frame rate: pictures are repeated or left out."""
        chosen = resample_indices(len(self), self.fps, fps)
        return replace(self, shown=self.shown[chosen], fps=fps)

    def pictures(self) -> Iterator[NDArray[np.uint8]]:
        """The pictures that the frames show, one a frame, read in one pass."""
        start, wanted = int(self.shown[0]), 0
        for chunk in self.reader.chunks(_CHUNK, start, int(self.shown[-1]) + 1):
            while wanted < len(self.shown) and self.shown[wanted] < start + len(chunk):
                yield chunk[self.shown[wanted] - start]
                wanted += 1
            start += len(chunk)


def read_pictures(reader: VideoReader, how: Reading) -> DrivingPictures:
    """Follow a face through a video and note its landmarks.

    Args:
        reader: an open video; it is read again when there is a portrait.
        how: which face, and how it is found.
    Raises:
        XNeMoError: the face is not found, or there is no such best frame.
    """
    if how.preprocessing != "tracked":
        raise XNeMoError(
            f"face.preprocessing={how.preprocessing}: is for motion latents; leave it out with weights that are driven "
            "by pictures"
        )
    if how.best_frame is not None and not 0 <= how.best_frame < len(reader):
        raise XNeMoError(f"best_frame={how.best_frame}: {reader.info.path.name} has frames 0 to {len(reader) - 1}")
    with how.progress_bar(total=2 * len(reader)) as bar:
        bar.set_description("finding the face")
        gap = MAX_GAP if how.max_gap is None else how.max_gap
        track = track_faces(reader, how.detector, how.select, gap, bar.update)
        points: list[Points] = []
        for chunk in reader.chunks(_CHUNK):
            points += [_landmarks(frame, track, len(points) + n, how.detector) for n, frame in enumerate(chunk)]
            bar.update(len(chunk))
    x0, y0, x1, y1 = (int(value) for value in track.crop_boxes[0])
    found = np.stack(points)
    if not np.isfinite(found).any():
        raise XNeMoError(f"{reader.info.path.name}: no eyes, nose and mouth found in any frame")
    return DrivingPictures(
        reader, found, np.arange(len(track)), reader.info.fps, (x0, y0, x1 - x0, y1 - y0), how.best_frame
    )


def _landmarks(frame: NDArray[np.uint8], track: FaceTrack, number: int, detector: FaceDetector) -> Points:
    """Landmarks of the followed face in a frame, (6, 2); NaN where it was not found."""
    box = tuple(float(value) for value in track.boxes[number])
    x0, y0, x1, y1 = box
    room = _ROOM * max(x1 - x0, y1 - y0)
    faces = detector.look(frame, (x0 - room, y0 - room, x1 + room, y1 + room))
    face = max(faces, key=lambda face: iou(face.box, (x0, y0, x1, y1)), default=None)
    if face is None or number in track.bridged or iou(face.box, (x0, y0, x1, y1)) == 0:
        return np.full((POINTS, 2), np.nan, np.float32)
    return np.array(face.points, np.float32)


def portrait_points(setting: Setting) -> Points:
    """Landmarks of the portrait in result pixels, (6, 2).

    Raises:
        XNeMoError: no face is found in it.
    """
    image = resize(setting.pictures.image, (setting.width, setting.height))
    detector = setting.detector or FaceDetector()
    try:
        faces = detector.detect(image)
    finally:
        if setting.detector is None:
            detector.close()
    if not faces:
        raise XNeMoError("no face found in the portrait, on which the driving face is to be laid")
    return np.array(select_face(faces).points, np.float32)


class Hints:
    """The driving pictures laid on a portrait, as both ControlNets see them.

    Args:
        driving: the driving pictures.
        setting: portrait and size of the result.
    Attributes:
        best: the picture by which they are laid on it.
    """

    def __init__(self, driving: DrivingPictures, setting: Setting) -> None:
        own = portrait_points(setting)
        self.best = best_frame(driving.points, own) if driving.best is None else driving.best
        points = bridged(driving.points)
        alignment = Alignment.between(points[self.best], own)
        self._points = alignment.moved(points[driving.shown])
        shape = (len(driving), setting.height, setting.width, 3)
        # Without a name: it is gone with the last reference to it.
        with tempfile.TemporaryFile(prefix="xnemo-") as file:
            self._faces = np.memmap(file, np.uint8, shape=shape)
        for number, frame in enumerate(driving.pictures()):
            self._faces[number] = alignment.picture(frame, setting.width, setting.height)

    def of(self, frames: Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Whole pictures and patches of eyes and mouth of some frames, (n, height, width, 3) each."""
        faces = np.asarray(self._faces[list(frames)])
        local = [patches(face, points) for face, points in zip(faces, self._points[list(frames)], strict=True)]
        return faces, np.stack(local)
