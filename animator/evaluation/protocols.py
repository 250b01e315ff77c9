"""The paper's two experiments: a clip drives its own first frame (self), or somebody else's portrait (cross).

Everything is measured at 256 x 256. A clip is read in pieces; of each only the measures and `SAMPLES` pictures stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animator.errors import XNeMoError
from animator.evaluation.following import Following, follow
from animator.evaluation.identity import FaceIdentity, Likeness, likeness
from animator.evaluation.landmarks import FaceLandmarker, FaceMeasures
from animator.evaluation.metrics import PictureErrors, PictureMetrics, at_measured_size
from animator.face import FaceDetector, crop_face
from animator.face_crop import CROP_SCALE
from animator.motion_clip import MotionClip
from animator.pipeline import XNeMoPipeline
from animator.portrait import PortraitPictures, portrait_pictures
from animator.video import VideoReader

SAMPLES = 16  # frames of a clip that are kept for contact sheets and looked at for identity
CHUNK = 16  # frames measured at once

Frames = NDArray[np.uint8]
# Renders a motion with a portrait, chunk by chunk: uint8 (n, H, W, 3).
Draw = Callable[[PortraitPictures, MotionClip], Iterator[Frames]]


@dataclass(frozen=True, eq=False)
class Driver:
    """A driving clip, read once for all that it drives.

    Attributes:
        path: the clip.
        motion: its motion, T frames.
        face: what its face does, T frames.
        first: its first frame in its own size, (H, W, 3).
        sampled: numbers of the kept frames, at most `SAMPLES`, evenly spaced from the first to the last.
        pictures: the kept frames, (samples, 256, 256, 3).
    """

    path: Path
    motion: MotionClip
    face: FaceMeasures
    first: Frames
    sampled: tuple[int, ...]
    pictures: Frames


@dataclass(frozen=True, eq=False)
class SelfResult:
    """Self-reenactment of one clip.

    Attributes:
        errors: of the result, over the frames after the first, which is given away as the portrait.
        copying: the same errors of the baseline that shows the first frame all the time.
        following: by signal, over all frames.
        missing: number of frames of the result in which no face was found.
        pictures: the result at the driver's `sampled` frames, (samples, 256, 256, 3).
    """

    errors: PictureErrors
    copying: PictureErrors
    following: dict[str, Following]
    missing: int
    pictures: Frames


@dataclass(frozen=True, eq=False)
class CrossResult:
    """Cross-reenactment: a clip drives another person's portrait.

    Attributes:
        following: by signal, over all frames.
        likeness: whom the result looks like, at the driver's `sampled` frames.
        portrait_found: the landmarker sees a face in the portrait; without one there is no likeness to measure.
        missing: number of frames of the result in which no face was found.
        pictures: the result at the driver's `sampled` frames, (samples, 256, 256, 3).
    """

    following: dict[str, Following]
    likeness: Likeness
    portrait_found: bool
    missing: int
    pictures: Frames


def read_driver(
    pipeline: XNeMoPipeline,
    path: Path,
    landmarker: FaceLandmarker,
    detector: FaceDetector | None = None,
    frames: int | None = None,
) -> Driver:
    """Read a driving clip: its motion and what its face does.

    Args:
        pipeline: whose encoder reads the motion.
        path: a clip of square frames.
        landmarker: measures the face.
        detector: finds the face for the encoder; made if not given.
        frames: use only so many frames of the beginning; default all.
    Raises:
        XNeMoError: the clip cannot be read, is not square, has fewer than 2 frames or no face to follow.
    """
    with VideoReader(path) as reader:
        motion = pipeline.encode_motion(reader, detector=detector)[:frames]
        if len(motion) < 2:
            raise XNeMoError(f"{path}: one frame is too few to measure motion; give a clip of 2 frames or more")
        sampled = _evenly(len(motion))
        parts, kept = [], []
        for start, chunk in _numbered(_batches(reader.chunks(CHUNK, stop=len(motion)))):
            small = at_measured_size(chunk)
            parts.append(landmarker.measure(small))
            kept += _kept(small, start, sampled)
        return Driver(path, motion, FaceMeasures.joined(parts), reader.frame(0), sampled, np.stack(kept))


def first_frame_pictures(pipeline: XNeMoPipeline, driver: Driver) -> PortraitPictures:
    """A clip's whole first frame as the portrait, with the very crop of the face that the motion was read from.

    So nothing is cut or moved: the portrait's own motion is the first frame's, f_rts (0, 0, 1) included, and a perfect
    renderer gives the clip back.
    """
    side, face_side = pipeline.config.image_size, pipeline.motion_encoder.config.image_size
    assert driver.motion.crop is not None  # it was read from a picture
    x, y, width, height = driver.motion.crop
    face = crop_face(driver.first, (x, y, x + width, y + height), face_side)
    pictures = portrait_pictures(driver.first, (side, side), face_side, reference_face=face)
    unit = 2 / driver.first.shape[1]
    box = ((x + width / 2) * unit - 1, (y + height / 2) * unit - 1, max(width, height) / CROP_SCALE * unit)
    return replace(pictures, box=box)


def self_reenactment(
    pipeline: XNeMoPipeline, driver: Driver, draw: Draw, metrics: PictureMetrics, landmarker: FaceLandmarker
) -> SelfResult:
    """Let a clip drive its own first frame and compare the result with the clip (Table 1, left)."""
    with VideoReader(driver.path) as reader:
        drawn = draw(first_frame_pictures(pipeline, driver), driver.motion)
        targets = _batches(reader.chunks(CHUNK, stop=len(driver.motion)))
        first = at_measured_size(driver.first[None])
        errors, copying, faces, kept = [], [], [], []
        for (start, ours), true in zip(_numbered(_batches(drawn)), targets, strict=True):
            ours, true = at_measured_size(ours), at_measured_size(true)
            given = 1 if start == 0 else 0
            errors.append(metrics(ours[given:], true[given:]))
            copying.append(metrics(np.repeat(first, len(true) - given, axis=0), true[given:]))
            faces.append(landmarker.measure(ours))
            kept += _kept(ours, start, driver.sampled)
    face = FaceMeasures.joined(faces)
    return SelfResult(
        PictureErrors.joined(errors),
        PictureErrors.joined(copying),
        follow(driver.face, face),
        face.missing,
        np.stack(kept),
    )


def cross_reenactment(
    driver: Driver, portrait: PortraitPictures, draw: Draw, landmarker: FaceLandmarker, identity: FaceIdentity
) -> CrossResult:
    """Let a clip drive somebody else's portrait (Table 1, right): does it follow, and whom does it look like?"""
    parts, kept = [], []
    for start, ours in _numbered(_batches(draw(portrait, driver.motion))):
        ours = at_measured_size(ours)
        parts.append(landmarker.measure(ours))
        kept += _kept(ours, start, driver.sampled)
    face = FaceMeasures.joined(parts)
    still = at_measured_size(portrait.image[None])
    own = landmarker.measure(still)
    pictures, sampled = np.stack(kept), list(driver.sampled)
    return CrossResult(
        follow(driver.face, face),
        likeness(
            identity.describe(pictures, face.boxes[sampled]),
            identity.describe(driver.pictures, driver.face.boxes[sampled]),
            identity.describe(still, own.boxes)[0],
        ),
        bool(own.found[0]),
        face.missing,
        pictures,
    )


def _evenly(frames: int) -> tuple[int, ...]:
    return tuple(int(value) for value in np.unique(np.linspace(0, frames - 1, min(SAMPLES, frames)).round()))


def _batches(chunks: Iterable[Frames]) -> Iterator[Frames]:
    """The same frames in chunks of `CHUNK`, whatever sizes they come in."""
    frames = chain.from_iterable(chunks)
    while batch := list(islice(frames, CHUNK)):
        yield np.stack(batch)


def _numbered(batches: Iterable[Frames]) -> Iterator[tuple[int, Frames]]:
    """Each chunk with the number of its first frame."""
    start = 0
    for batch in batches:
        yield start, batch
        start += len(batch)


def _kept(batch: Frames, start: int, sampled: tuple[int, ...]) -> list[Frames]:
    return [batch[number - start].copy() for number in sampled if start <= number < start + len(batch)]
