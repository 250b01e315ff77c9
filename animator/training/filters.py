"""Which clips are no good for training, and why: too short, nobody or several people in them, too small, cuts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from animator.config_loader import key
from animator.errors import XNeMoError
from animator.face import FaceTrack
from animator.face_detector import SURE, Face, FaceDetector
from animator.video import VideoInfo

Reason = Literal["too_short", "no_face", "several_faces", "too_small", "cut"]
REASONS: tuple[Reason, ...] = ("too_short", "no_face", "several_faces", "too_small", "cut")

# Pictures are compared as grids of so many cells of green, each the mean of a few pixels.
_CELLS = 16
_POINTS = 4 * _CELLS
# A cut differs from what moves about it: it is this many times the median difference of the neighbours, ...
_OUTSTANDING = 4.0
# ... so many on either side, ...
_NEIGHBOURS = 12
# ... and this many times each of the two next to it, for what moves fast does so for longer than from frame to frame.
_ALONE = 2.0
# A picture that differs by less, a quarter of a grey level, is the one before again: slow clips are told in fast files.
_REPEATED = 0.001


@dataclass
class FilterConfig:
    """Which clips are rejected."""

    min_seconds: float = key(1.0, "too_short: the shortest clip that is kept", minimum=0)
    missing_share: float = key(
        0.2,
        "no_face: largest share of a clip's frames without the face (bridged, see face.max_gap)",
        minimum=0,
        maximum=1,
    )
    several_share: float = key(
        0.1,
        "several_faces: largest share of the frames looked at that show another face; 1: never",
        minimum=0,
        maximum=1,
    )
    other_face: float = key(
        0.5, "several_faces: a face counts if its side is at least this share of the followed one's", minimum=0
    )
    look_seconds: float = key(0.5, "several_faces: time between two frames that are looked at", minimum=0.04)
    min_face: int = key(
        64, "too_small: smallest side of the face, median of the clip, in pixels of the video", minimum=0
    )
    cut: float = key(
        0.08,
        "cut: smallest mean difference between two frames that may be one, 0 to 1; it must stand out from its "
        "neighbours as well; 1: never",
        minimum=0,
        maximum=1,
    )


class RejectedClip(XNeMoError):
    """A clip is no good for training.

    Args:
        reason: which filter says so.
        message: what it saw, beginning with the file.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class Watcher:
    """Sees all pictures of a clip go by, once, and remembers what the filters ask about.

    Args:
        info: of the clip.
        detector: finds faces.
        config: the filters' settings.
    """

    def __init__(self, info: VideoInfo, detector: FaceDetector, config: FilterConfig) -> None:
        self.info = info
        self.detector = detector
        self.config = config
        self.every = max(1, round(config.look_seconds * info.fps))
        self.done = 0
        self.before: np.ndarray | None = None
        self.differences: list[np.ndarray] = []
        self.faces: dict[int, list[Face]] = {}

    def __call__(self, chunk: np.ndarray) -> None:
        """The next pictures, (n, H, W, 3), uint8."""
        cells = _cells(chunk)
        pairs = cells if self.before is None else np.concatenate([self.before, cells])
        self.differences.append(np.abs(np.diff(pairs, axis=0)).mean(axis=(1, 2)))
        self.before = cells[-1:]
        if self.config.several_share < 1:
            for number in range(-self.done % self.every, len(chunk), self.every):
                self.faces[self.done + number] = self.detector.detect(chunk[number], everyone=True)
        self.done += len(chunk)

    def check_cuts(self) -> None:
        """See that the pictures follow each other.

        Raises:
            RejectedClip: there is a cut.
        """
        found = cuts(np.concatenate(self.differences), self.config.cut)
        if found:
            first = found[0] / self.info.fps
            raise RejectedClip(
                "cut",
                f"{self.info.path}: has {len(found)} cuts (first at {first:.2f} s, frame {found[0]}); "
                "split it, or raise filters.cut",
            )

    def check_track(self, track: FaceTrack) -> None:
        """See that one face, and large enough, is there all the time.

        Raises:
            RejectedClip: it is not.
        """
        path, config = self.info.path, self.config
        missing = len(track.bridged) / len(track)
        if missing > config.missing_share:
            raise RejectedClip(
                "no_face",
                f"{path}: no face in {missing:.0%} of the frames; filters.missing_share={config.missing_share:g}",
            )
        crowded = [number for number, faces in self.faces.items() if self._others(track, number, faces)]
        if len(crowded) > config.several_share * len(self.faces):
            raise RejectedClip(
                "several_faces",
                f"{path}: several faces in {len(crowded)} of {len(self.faces)} frames looked at (first in frame "
                f"{crowded[0]}); filters.several_share={config.several_share:g}",
            )
        side = float(np.median(track.sides))
        if side < config.min_face:
            raise RejectedClip(
                "too_small", f"{path}: the face has {side:.0f} pixels; filters.min_face={config.min_face}"
            )

    def _others(self, track: FaceTrack, number: int, faces: list[Face]) -> bool:
        """Whether a picture shows another face that counts."""
        centre, side = track.centres[number], float(track.sides[number])
        for face in faces:
            x0, y0, x1, y1 = face.box
            away = math.dist(((x0 + x1) / 2, (y0 + y1) / 2), centre)
            if face.score >= SURE and away > side / 2 and max(x1 - x0, y1 - y0) >= self.config.other_face * side:
                return True
        return False


def check_length(info: VideoInfo, config: FilterConfig) -> None:
    """See that a clip is long enough.

    Raises:
        RejectedClip: it is not.
    """
    if info.seconds < config.min_seconds:
        raise RejectedClip(
            "too_short", f"{info.path}: has {info.seconds:.2f} s; filters.min_seconds={config.min_seconds:g}"
        )


def cuts(differences: np.ndarray, threshold: float) -> list[int]:
    """Find cuts: hard ones, not those that fade.

    Args:
        differences: mean absolute difference of each picture to the one before, (T - 1,), in [0, 1].
        threshold: what is smaller is none; 1 finds none.
    Returns:
        The first pictures after cuts. Beside being large, the difference at a cut is several times the median of those
        near it, and stands alone, so that a head that is tossed, or a hand-held camera, is none. Pictures that are
        repeated do not count.
    """
    new = np.flatnonzero(differences >= _REPEATED)
    changes = differences[new]
    found = []
    for place in np.flatnonzero(changes > threshold):
        near = changes[max(0, place - _NEIGHBOURS) : place + _NEIGHBOURS + 1]
        beside = [changes[other] for other in (place - 1, place + 1) if 0 <= other < len(changes)]
        if changes[place] >= max(_OUTSTANDING * np.median(near), _ALONE * max(beside, default=0.0)):
            found.append(int(new[place]) + 1)
    return found


def _cells(chunk: np.ndarray) -> np.ndarray:
    """Pictures (n, H, W, 3), uint8 -> grids of their green in [0, 1], (n, 16, 16), float32."""
    rows, columns = (np.linspace(0, side - 1, _POINTS).round().astype(int) for side in chunk.shape[1:3])
    points = chunk[:, rows[:, None], columns[None], 1].astype(np.float32) / 255
    # "n (r a) (c b) -> n r c", the mean over a and b
    return points.reshape(len(chunk), _CELLS, _POINTS // _CELLS, _CELLS, _POINTS // _CELLS).mean(axis=(2, 4))
