"""Faces through time: choose one, follow it, smooth its track (X-NeMo appendix A; the released preprocessing).

Boxes are (x0, y0, x1, y1) in pixels, y down. "Side" of a box is its longer side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import gaussian_filter1d

from animator.errors import XNeMoError
from animator.face_crop import PortraitCrop, crop_face, crop_portrait, crop_side, face_box_square, place_square
from animator.face_detector import SURE, Box, Face, FaceDetector, intersection
from animator.video import VideoInfo, VideoReader

__all__ = [
    "Box",
    "Face",
    "FaceDetector",
    "FaceNotFoundError",
    "FaceTrack",
    "PortraitCrop",
    "crop_face",
    "crop_portrait",
    "face_box_square",
    "face_crops",
    "select_face",
    "track_faces",
]

# Frames a second that are meant where a time is given in frames; the released code knows no other.
RATE = 25.0
# Width of the Gaussian that smooths the track, in frames at that rate: 0.2 s.
SMOOTHING_SIGMA = 5.0

# From one frame to the next, at that rate, a head moves less than this many sides of its box ...
_REACH = 0.5
# ... after a gap it may be further away, but never further than this ...
_MAX_REACH = 2.0
# ... and it grows or shrinks by less than this factor.
_MAX_GROWTH = 2.0


class FaceNotFoundError(XNeMoError):
    """The face of a clip is not there, or not long enough; the message names frames and time."""


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """One face through the T frames of a clip.

    Attributes:
        boxes: the face's box in every frame, (T, 4), float32, in pixels, as detected (gaps bridged, not smoothed).
        width: width of the frames in pixels.
        height: height of the frames in pixels.
        bridged: the frames in which the face was not found and `boxes` was interpolated.
        sigma: width of the Gaussian that smooths centres and sides, in frames of this clip.
    """

    boxes: np.ndarray
    width: int
    height: int
    bridged: tuple[int, ...] = ()
    sigma: float = SMOOTHING_SIGMA

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.boxes)

    @property
    def crop_size(self) -> tuple[int, int]:
        """Width and height of the encoder's crop, the same in all frames: frame 0's box x 1.1, square, even."""
        x0, y0, x1, y1 = (float(value) for value in self.boxes[0])
        side = crop_side((x0, y0, x1, y1))
        return side, side

    @cached_property
    def centres(self) -> np.ndarray:
        """Smoothed centres (x, y) of the face, (T, 2), float32, in pixels."""
        return _smooth((self.boxes[:, :2] + self.boxes[:, 2:]) / 2, self.sigma)

    @cached_property
    def sides(self) -> np.ndarray:
        """Smoothed sides of the face's box, (T,), float32, in pixels."""
        return _smooth((self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1), self.sigma)

    @cached_property
    def crop_boxes(self) -> np.ndarray:
        """The encoder's crop in every frame, (T, 4), int, all of `crop_size`, shifted back inside the picture.

        A crop that is larger than the picture reaches over its edges; `crop_face` pads it.
        """
        return np.array([place_square(x, y, self.crop_size[0], self.width, self.height) for x, y in self.centres])

    def rts(self, reference_box: Box | None = None) -> np.ndarray:
        """The f_rts triplets: where the head is, and how large, relative to a reference.

        Args:
            reference_box: the reference face, in pixels of the same picture size; default: this face in frame 0.
        Returns:
            (dx / s_r, dy / s_r, s_d / s_r), (T, 3), float32: displacement of the smoothed centre from the reference
            centre, right and down positive, and smoothed side, all in sides of the reference box.
        """
        if reference_box is None:
            centre, side = self.centres[0], self.sides[0]
        else:
            x0, y0, x1, y1 = reference_box
            centre, side = np.array([(x0 + x1) / 2, (y0 + y1) / 2]), max(x1 - x0, y1 - y0)
        triplets = np.concatenate([self.centres - centre, self.sides[:, None]], axis=1) / side
        return triplets.astype(np.float32)


def select_face(faces: Sequence[Face], select: str | int = "largest") -> Face:
    """Choose one of the faces of a picture.

    Args:
        faces: the faces from left to right, as the detector gives them.
        select: "largest" (by area of the box), or the index of the face, counted from 0 and from left to right
            (a number, or its digits).
    Raises:
        XNeMoError: there is no face, or none of that index, or `select` is neither.
    """
    index = _index(select)
    if not faces:
        raise XNeMoError("no face found")
    if index is None:
        return max(faces, key=lambda face: (face.area, face.score))
    if index >= len(faces):
        raise XNeMoError(f"face.select={index}, but {_too_few(len(faces))}")
    return faces[index]


def track_faces(
    reader: VideoReader,
    detector: FaceDetector,
    select: str | int = "largest",
    max_gap: int = 12,
    progress: Callable[[int], object] | None = None,
    watch: Callable[[np.ndarray], object] | None = None,
) -> FaceTrack:
    """Find one face in all frames of a video, in one pass that keeps nothing but boxes.

    The face is chosen in the first frame that shows one (for an index: that shows enough of them). From then on the
    track follows that face by place and size, so it never changes to another person: in a frame in which the face
    cannot be found nearby, it counts as not found, whoever else is there. (Only what never was sure to be a face gives
    way to a sure one when it vanishes.) Short gaps are bridged by linear interpolation, at the ends of the clip by the
    nearest box. Smoothing and gaps are measured in time, so a clip of 50 frames a second is treated like one of 25.

    Args:
        reader: an open video.
        detector: the face detector.
        select: see `select_face`.
        max_gap: the longest gap that is bridged, in frames at 25 a second.
        progress: called with the number of frames just done (such as the `update` of a tqdm bar).
        watch: called with the pictures themselves, (n, H, W, 3), uint8, for what else is to be found out in this pass.
    Raises:
        FaceNotFoundError: no face at all, no face of that index, or a longer gap (the message names frames and time).
        XNeMoError: `select` is neither "largest" nor an index.
    """
    wanted = _index(select) or 0
    info = reader.info
    follower: Follower | None = None
    boxes: list[Box | None] = []
    most = 0
    for chunk in reader.chunks():
        for frame in chunk:
            box = None if follower is None else follower.find(frame, detector)
            if box is None and (follower is None or not follower.sure):
                # An index counts people, so that all of them must be seen.
                faces = detector.detect(frame, everyone=select != "largest")
                most = max(most, len(faces))
                chosen = select_face(faces, select) if len(faces) > wanted else None
                if chosen is not None and (follower is None or chosen.score >= SURE):
                    # What was followed until now, if anything, was never sure to be a face and is gone.
                    follower, box = Follower(chosen, faces, info.fps), chosen.box
                    boxes = [None] * len(boxes)
            boxes.append(box)
        if watch is not None:
            watch(chunk)
        if progress is not None:
            progress(len(chunk))
    name = info.path.name
    if follower is None:
        raise FaceNotFoundError(_nobody(name, len(boxes), wanted, most))
    filled, bridged = bridge_gaps(boxes, info, max_gap)
    return FaceTrack(filled, info.width, info.height, bridged, sigma=SMOOTHING_SIGMA * info.fps / RATE)


def bridge_gaps(boxes: Sequence[Box | None], info: VideoInfo, max_gap: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """Fill the frames in which the face was not found: linearly in time, at the ends by the nearest box.

    Args:
        boxes: the face's box in each frame, not all None.
        info: the clip: its rate, and its name for the message.
        max_gap: the longest gap that is filled, in frames at 25 a second (a part of a frame counts as one).
    Returns:
        Boxes, (T, 4), float32, and the frames that were filled.
    Raises:
        FaceNotFoundError: a longer gap; the message names frames and time.
    """
    gaps = _gaps(boxes)
    long_gaps = [gap for gap in gaps if len(gap) > math.ceil(max_gap * info.fps / RATE)]
    if long_gaps:
        raise FaceNotFoundError(_lost(info.path.name, len(boxes), info.fps, long_gaps, max_gap))
    return _bridge(boxes), tuple(frame for gap in gaps for frame in gap)


def face_crops(
    reader: VideoReader, track: FaceTrack, size: int, chunk: int = 32, stop: int | None = None
) -> Iterator[np.ndarray]:
    """Read a tracked video a second time and give the encoder's crops, a chunk at a time.

    Args:
        reader: the video.
        track: its face.
        size: side of a crop in pixels.
        chunk: crops given at once.
        stop: read no further than this many frames; None for all.
    Yields:
        (n, size, size, 3), uint8, n <= chunk; T frames in all.
    Raises:
        XNeMoError: the video has another number of frames than the track.
    """
    done = 0
    for frames in reader.chunks(chunk, stop=stop):
        boxes = track.crop_boxes[done : done + len(frames)]
        done += len(frames)
        if len(boxes) < len(frames):
            break
        yield np.stack([crop_face(frame, box, size) for frame, box in zip(frames, boxes, strict=True)])
    if done != len(track):
        raise XNeMoError(f"{reader.info.path.name}: gave {done} frames, its face track has {len(track)}")


class Follower:
    """Recognises the chosen face from frame to frame by place and size, and tells it from the others."""

    def __init__(self, chosen: Face, faces: Sequence[Face], fps: float) -> None:
        self.last = chosen.box
        self.others = [face.box for face in faces if face is not chosen]
        self.step = _REACH * max(1.0, RATE / fps)
        self.missed = 0
        self.sure = chosen.score >= SURE

    def find(self, frame: np.ndarray, detector: FaceDetector) -> Box | None:
        """The box of the chosen face in the next frame, None where it is not found."""
        faces = detector.look(frame)
        chosen = self._match(faces)
        if chosen is None or chosen.score < SURE:
            # The face may be too small to be seen well in the whole picture: look around the place where it was.
            nearby = detector.look(frame, _grow(self.last, 1 + 2 * self._reach()))
            closer = self._match(nearby)
            if closer is not None and (chosen is None or closer.score > chosen.score):
                chosen = closer
            faces = [*faces, *nearby]
        if chosen is None:
            self.missed += 1
            # Who appears anew while the chosen face is hidden may be the chosen face: only known others move on.
            self.others = [_moved(other, faces) for other in self.others]
            return None
        self.last, self.missed = chosen.box, 0
        self.sure = self.sure or chosen.score >= SURE
        # Two looks may show the chosen face twice; what shares half of its box is not somebody else.
        seen = [face.box for face in faces if iou(face.box, chosen.box) < 0.5]
        unseen = [other for other in self.others if all(iou(other, box) == 0 for box in (*seen, chosen.box))]
        self.others = seen + unseen
        return chosen.box

    def _reach(self) -> float:
        """How far the face may have moved since it was last seen, in sides of its box."""
        return min(_MAX_REACH, self.step * (1 + self.missed))

    def _match(self, faces: Sequence[Face]) -> Face | None:
        candidates = [face for face in faces if self._near(face.box) and not self._somebody_else(face.box)]
        return max(
            candidates, key=lambda face: (iou(face.box, self.last), -_distance(face.box, self.last)), default=None
        )

    def _near(self, box: Box) -> bool:
        side, last = _side(box), _side(self.last)
        return _distance(box, self.last) <= self._reach() * last and 1 / _MAX_GROWTH <= side / last <= _MAX_GROWTH

    def _somebody_else(self, box: Box) -> bool:
        return any(iou(box, other) > iou(box, self.last) for other in self.others)


def iou(a: Box, b: Box) -> float:
    """Shared area of two boxes over the area that they cover together, 0 to 1."""
    shared = intersection(a, b)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def _moved(box: Box, faces: Sequence[Face]) -> Box:
    """Where the owner of a box is now: the face that overlaps it most, or still there if none does."""
    overlapping = [face.box for face in faces if iou(face.box, box) > 0]
    return max(overlapping, key=lambda other: iou(other, box), default=box)


def _side(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def _distance(a: Box, b: Box) -> float:
    """Distance of the centres of two boxes."""
    return float(np.hypot(a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3])) / 2


def _grow(box: Box, scale: float) -> Box:
    """A square about the centre of a box, `scale` times its side."""
    x, y, half = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, scale * _side(box) / 2
    return x - half, y - half, x + half, y + half


def _index(select: str | int) -> int | None:
    """The index that `select` names, None for the largest face."""
    if select == "largest":
        return None
    if isinstance(select, str) and select.isdecimal():
        return int(select)
    if isinstance(select, int) and not isinstance(select, bool) and select >= 0:
        return select
    raise XNeMoError(f"face.select must be largest or an index counted from the left, from 0; not {select!r}")


def _gaps(boxes: Sequence[Box | None]) -> list[range]:
    """The runs of frames without a box."""
    missing = [box is None for box in boxes]
    starts = [i for i, gone in enumerate(missing) if gone and (i == 0 or not missing[i - 1])]
    stops = [i + 1 for i, gone in enumerate(missing) if gone and (i + 1 == len(missing) or not missing[i + 1])]
    return [range(start, stop) for start, stop in zip(starts, stops, strict=True)]


def _bridge(boxes: Sequence[Box | None]) -> np.ndarray:
    """Fill missing boxes, linearly in time; (T, 4), float32."""
    known = [i for i, box in enumerate(boxes) if box is not None]
    values = np.array([box for box in boxes if box is not None])
    columns = [np.interp(np.arange(len(boxes)), known, column) for column in values.T]
    return np.stack(columns, axis=1).astype(np.float32)


def _nobody(name: str, frames: int, wanted: int, most: int) -> str:
    if most:
        return f"{name}: face.select={wanted}, but {_too_few(most)}"
    return f"{name}: no face found in any of its {frames} frames; choose a clip in which a face looks at the camera"


def _too_few(faces: int) -> str:
    shown = "only one face is shown" if faces == 1 else f"at most {faces} faces are shown"
    return f"{shown} (counted from the left, from 0); choose another, or face.select=largest"


def _lost(name: str, frames: int, fps: float, gaps: Sequence[range], max_gap: int) -> str:
    minutes, tenths = divmod(int(10 * gaps[0].start / fps), 600)
    listed = ", ".join(f"{gap.start}-{gap.stop - 1}" for gap in gaps[:3])
    more = f" and {len(gaps) - 3} more gaps" if len(gaps) > 3 else ""
    return (
        f"{name}: no face found in {sum(map(len, gaps))} of {frames} frames (first at {minutes}:{tenths / 10:04.1f}, "
        f"frames {listed}{more}) where the chosen face should be; trim the clip, choose another face with face.select, "
        f"or bridge longer gaps with face.max_gap (now {max_gap}, in frames at {RATE:g} a second)"
    )


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter1d(values.astype(np.float64), sigma, axis=0, mode="reflect").astype(np.float32)
