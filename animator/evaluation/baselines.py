"""What a result has to beat: renderers without a network, and videos that another program made.

Each gives, for a driver and a portrait, frames of 256 x 256, as many as the driver has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from animator.errors import XNeMoError
from animator.evaluation.landmarks import FaceMeasures
from animator.evaluation.metrics import SIDE, at_measured_size
from animator.video import VideoReader

COPY_REFERENCE, COPY_DRIVER, PASTE_FACE = "copy the reference", "copy the driver", "paste the driving face"
BASELINES = (COPY_REFERENCE, COPY_DRIVER, PASTE_FACE)

CHUNK = 16
# The pasted ellipse over the landmarks' box, and how much of its radius fades out.
ELLIPSE, FEATHER = 1.0, 0.2

Frames = NDArray[np.uint8]


def driver_frames(path: Path, count: int) -> Iterator[Frames]:
    """The driver's own frames, which is also the baseline that copies it: a perfect motion of the wrong person."""
    with VideoReader(path) as reader:
        for chunk in reader.chunks(CHUNK, stop=count):
            yield at_measured_size(chunk)


def copy_reference(still: Frames, count: int) -> Iterator[Frames]:
    """The portrait (256, 256, 3) in every frame: a perfect identity that never moves."""
    for start in range(0, count, CHUNK):
        yield np.repeat(still[None], min(CHUNK, count - start), axis=0)


def paste_face(path: Path, driver: FaceMeasures, still: Frames, portrait: FaceMeasures) -> Iterator[Frames]:
    """The driver's face cut out by an ellipse and laid onto the portrait's, in every frame.

    The first frame with a face is fitted to the portrait's landmarks' box by height and middle; later frames move as
    the driver's face does. Frames without a driving face, or a portrait without one, show the portrait.

    Args:
        path: the driving clip.
        driver: what its face does, measured at 256 x 256, T frames.
        still: the portrait, (256, 256, 3).
        portrait: its face, measured in `still`, one frame.
    """
    seen = np.flatnonzero(driver.found)
    if not len(seen) or not portrait.found[0]:
        yield from copy_reference(still, len(driver))
        return
    fit = _fit(driver.boxes[seen[0]], portrait.boxes[0])
    start = 0
    for chunk in driver_frames(path, len(driver)):
        numbers = range(start, start + len(chunk))
        yield np.stack([_paste(frame, driver.boxes[n], still, fit) for n, frame in zip(numbers, chunk, strict=True)])
        start += len(chunk)


@dataclass(frozen=True)
class Results:
    """Videos of another program, one a case, compared as they are.

    Attributes:
        folder: it holds `CLIP.mp4` for self-reenactment and `PORTRAIT_CLIP.mp4` for cross-reenactment (the names
            without suffix), in its subfolder `self` or `cross` or in itself. Each has square frames, at least as many
            as are measured of the driver; those of self-reenactment show what the driver's frames show.
    """

    folder: Path

    @property
    def name(self) -> str:
        """What the tables call it: the folder's name."""
        return self.folder.resolve().name

    def find(self, experiment: str, clip: str, portrait: str | None) -> Path | None:
        """The video of a case; None where there is none."""
        name = f"{clip}.mp4" if portrait is None else f"{portrait}_{clip}.mp4"
        return next((path for path in (self.folder / experiment / name, self.folder / name) if path.is_file()), None)


def result_frames(path: Path, count: int) -> Iterator[Frames]:
    """Another program's frames.

    Raises:
        XNeMoError: the video cannot be read, is not square or has fewer frames.
    """
    with VideoReader(path) as reader:
        if len(reader) < count:
            raise XNeMoError(f"{path}: has {len(reader)} frames and its driver {count}; they are compared one by one")
        if reader.info.width != reader.info.height:
            raise XNeMoError(f"{path}: is {reader.info.width} x {reader.info.height}; results are compared as squares")
        for chunk in reader.chunks(CHUNK, stop=count):
            yield at_measured_size(chunk)


def _fit(face: NDArray[np.float64], onto: NDArray[np.float64]) -> tuple[float, float, float]:
    """Scale and shift (x, y) that take the middle and height of one box to another's."""
    scale = (onto[3] - onto[1]) / (face[3] - face[1])
    shift = (onto[:2] + onto[2:]) / 2 - scale * (face[:2] + face[2:]) / 2
    return float(scale), float(shift[0]), float(shift[1])


def _paste(frame: Frames, box: NDArray[np.float64], still: Frames, fit: tuple[float, float, float]) -> Frames:
    if np.isnan(box).any():
        return still
    scale, x, y = fit
    back = (1 / scale, 0, -x / scale, 0, 1 / scale, -y / scale)
    moved = Image.fromarray(frame).transform((SIDE, SIDE), Image.Transform.AFFINE, back, Image.Resampling.BICUBIC)
    x0, y0, x1, y1 = box * scale + (x, y, x, y)
    v, u = np.mgrid[:SIDE, :SIDE] + 0.5
    radius = np.hypot((u - (x0 + x1) / 2) / (x1 - x0), (v - (y0 + y1) / 2) / (y1 - y0)) * 2 / ELLIPSE
    mask = np.clip((1 - radius) / FEATHER, 0, 1)[..., None]
    return (np.asarray(moved) * mask + still * (1 - mask)).round().astype(np.uint8)
