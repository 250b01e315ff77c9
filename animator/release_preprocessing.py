"""Boxes and crops exactly as the published inference code makes them: `face=release`.

It differs from `animator.face` and `animator.face_crop`, which are the default, in what it cannot do: it sees only the
left square of a driving frame and only the first 500 frames, knows no face but the one of the highest score, and gives
up where there is none or where several are sure. And in detail: a crop that would leave the picture falls back to the
bare, perhaps oblong box; numbers are cut off, not rounded; the portrait is resized by scikit-image.

Boxes are (x0, y0, x1, y1) in pixels, y down.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from animator.errors import XNeMoError
from animator.face import FaceTrack, bridge_gaps
from animator.face_crop import CROP_SCALE, PortraitCrop, cut
from animator.face_detector import Box, FaceDetector
from animator.video import VideoReader

LONGEST = 500  # frames of a driving clip that are used
PORTRAIT_SIDE = 512  # pixels
PORTRAIT_MARGIN = 0.5  # of the box's side, on each side
SIGMA = 5.0  # frames, at any rate: width of the Gaussian that smooths the track
SEVERAL = 0.8  # faces that all score more than this are several people

NO_CHOICE = "face.select={}: the released preprocessing takes the face of the highest score; face=default has a choice"

WholeBox = tuple[int, int, int, int]


def release_box(detector: FaceDetector, picture: np.ndarray) -> WholeBox | None:
    """The face's box: highest score first, greater coordinates breaking a tie; clamped at 0 and nowhere else.

    Args:
        detector: looks once at the whole picture.
        picture: RGB picture, (H, W, 3), uint8.
    Returns:
        None where there is no face. The box may reach over the right and the lower edge.
    Raises:
        XNeMoError: several faces, all of them sure.
    """
    found = detector.detections(picture)
    if not found:
        return None
    if len(found) > 1 and min(found)[0] > SEVERAL:
        raise XNeMoError(
            f"{len(found)} faces, and the released preprocessing takes pictures of one person; "
            "face=default chooses one by face.select"
        )
    x0, y0, x1, y1 = max(found)[1]
    return max(0, x0), max(0, y0), max(0, x1), max(0, y1)


def scaled_box(box: WholeBox, width: int, height: int) -> Box:
    """The box x 1.1 as a square about its centre; the box itself, as it is, where that square would leave the picture.

    The last row and column count as outside.
    """
    x0, y0, x1, y1 = box
    half = max(x1 - x0, y1 - y0) * CROP_SCALE / 2
    x, y = (x0 + x1) * 0.5, (y0 + y1) * 0.5
    square = (x - half, y - half, x + half, y + half)
    return square if min(square[:2]) >= 0 and square[2] <= width - 1 and square[3] <= height - 1 else box


def reference_face_box(box: WholeBox, width: int, height: int) -> WholeBox:
    """The crop of the portrait's face for the motion encoder: `scaled_box`, cut off to whole pixels, in the picture."""
    x0, y0, x1, y1 = (int(value) for value in scaled_box(box, width, height))
    return x0, y0, min(width, x1), min(height, y1)


def portrait_box(box: WholeBox, width: int, height: int) -> WholeBox:
    """The part of the picture that becomes the portrait: twice the box's longer side, about square.

    It is moved into the picture where moving it along one axis is enough, else left where it is.
    """
    across, down = _grown(box[0], box[2], box[3] - box[1]), _grown(box[1], box[3], box[2] - box[0])
    for moved in (
        (across, down),
        (_moved_inside(across, width), down),
        (across, _moved_inside(down, height)),
    ):
        (x0, x1), (y0, y1) = moved
        if x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height:
            break
    else:
        (x0, x1), (y0, y1) = across, down
    return x0, y0, x1, y1


def release_portrait(picture: np.ndarray, box: WholeBox) -> PortraitCrop:
    """Cut a portrait out and resize it to 512 x 512, smoothed before it is shrunk; black beyond the picture.

    Args:
        picture: RGB picture, (H, W, 3), uint8.
        box: the face, from `release_box`.
    """
    from skimage.transform import resize  # slow to import, and only this needs it

    height, width = picture.shape[:2]
    window = portrait_box(box, width, height)
    image = resize(cut(picture, window, "constant"), (PORTRAIT_SIDE, PORTRAIT_SIDE), anti_aliasing=True)
    x0, y0, x1, y1 = window
    across, down = PORTRAIT_SIDE / (x1 - x0), PORTRAIT_SIDE / (y1 - y0)
    moved = ((box[0] - x0) * across, (box[1] - y0) * down, (box[2] - x0) * across, (box[3] - y0) * down)
    return PortraitCrop(np.rint(image * 255).clip(0, 255).astype(np.uint8), moved, window)


class ReleaseTrack(FaceTrack):
    """A face track with the released crops; `width` and `height` are those of the left square."""

    @property
    def crop_size(self) -> tuple[int, int]:
        """Width and height of all crops: frame 0's `scaled_box`, rounded and then made even by taking one away."""
        x0, y0, x1, y1 = scaled_box(self._first, self.width, self.height)
        return round(x1 - x0) // 2 * 2, round(y1 - y0) // 2 * 2

    @cached_property
    def crop_boxes(self) -> np.ndarray:
        """The crop in every frame, (T, 4), int: about the smoothed centre, shifted inside, all sides cut off.

        Raises:
            XNeMoError: a crop does not fit into the picture at all.
        """
        return np.array([self._crop_box(float(x), float(y)) for x, y in self.centres])

    @property
    def _first(self) -> WholeBox:
        x0, y0, x1, y1 = (int(value) for value in self.boxes[0])
        return x0, y0, x1, y1

    def _crop_box(self, x: float, y: float) -> WholeBox:
        (x0, x1), (y0, y1) = (
            _shifted(centre, side, length)
            for centre, side, length in zip((x, y), self.crop_size, (self.width, self.height), strict=True)
        )
        if int(min(x0, y0)) < 0:
            raise XNeMoError(
                f"a face crop of {self.crop_size[0]} x {self.crop_size[1]} does not fit into {self.width} x "
                f"{self.height} pixels, and the released preprocessing cannot pad it; face=default can"
            )
        return int(x0), int(y0), min(self.width, int(x1)), min(self.height, int(y1))


def release_track(
    reader: VideoReader,
    detector: FaceDetector,
    select: str | int = "largest",
    max_gap: int = 0,
    progress: Callable[[int], object] | None = None,
) -> ReleaseTrack:
    """Find the face in the left square of each of the first 500 frames; `animator.face.face_crops` then cuts it out.

    Args:
        reader: an open video.
        detector: the face detector.
        select: "largest"; there is no choice.
        max_gap: longest time without a face that is bridged, in frames at 25 a second; the published code bridges none.
        progress: called with the number of frames just done.
    Raises:
        XNeMoError: no face for longer than `max_gap` frames, or several; or a face was chosen.
    """
    if select != "largest":
        raise XNeMoError(NO_CHOICE.format(select))
    boxes: list[Box | None] = []
    for frames in reader.chunks(stop=LONGEST):
        for frame in frames:
            try:
                boxes.append(release_box(detector, np.ascontiguousarray(frame[:, : frame.shape[0]])))
            except XNeMoError as error:
                raise XNeMoError(f"{reader.info.path.name}: frame {len(boxes)}: {error}") from error
        if progress is not None:
            progress(len(frames))
    if not any(boxes):
        raise XNeMoError(
            f"{reader.info.path.name}: no face found in the left square of its first {len(boxes)} frames, which is all "
            "that the released preprocessing looks at; face=default looks everywhere"
        )
    filled, bridged = bridge_gaps(boxes, reader.info, max_gap)
    return ReleaseTrack(filled, min(reader.info.width, reader.info.height), reader.info.height, bridged, sigma=SIGMA)


def _grown(low: int, high: int, other: int) -> tuple[int, int]:
    """Half of the side more at each end, or as much as makes it twice the other side; cut off towards 0."""
    side = high - low
    # A share of the side and not a length, in this order: the last digit decides what is cut off.
    share = max(PORTRAIT_MARGIN, ((1 + 2 * PORTRAIT_MARGIN) * other - side) / (2 * side))
    return int(low - share * side), int(high + share * side)


def _moved_inside(span: tuple[int, int], length: int) -> tuple[int, int]:
    """A span (start, stop) moved inside 0 to `length`; as it is where it is inside, or too long."""
    low, high = span
    if high - low > length:
        return span
    by = max(0, -low) + min(0, length - high)
    return low + by, high + by


def _shifted(centre: float, side: int, length: int) -> tuple[float, float]:
    """A span about a centre, moved so that it lies within 0 to length - 1."""
    low, high = centre - side / 2, centre + side / 2
    by = max(-low, 0) + min(length - 1 - high, 0)
    return low + by, high + by
