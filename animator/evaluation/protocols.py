"""The paper's two experiments: a clip drives its own first frame (self), or somebody else's portrait (cross).

Everything is measured at 256 x 256. A clip is read in pieces; of each only the measures and `SAMPLES` pictures stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animator.controls.control import Driving
from animator.errors import XNeMoError
from animator.evaluation.agreement import Moments, MotionErrors, emotion_moments, motion_errors
from animator.evaluation.baselines import driver_frames
from animator.evaluation.following import Following, follow
from animator.evaluation.identity import Likeness, likeness
from animator.evaluation.landmarks import FaceMeasures
from animator.evaluation.metrics import PictureErrors, at_measured_size
from animator.evaluation.observer import Observation, Observer
from animator.evaluation.temporal import Flicker, Jitter, jitter
from animator.evaluation.video_distance import RUN, describe_run
from animator.face import FaceDetector, crop_face
from animator.face_crop import CROP_SCALE
from animator.pipeline import XNeMoPipeline
from animator.portrait import PortraitPictures, portrait_pictures
from animator.provenance.marks import Marks
from animator.video import VideoReader, VideoWriter

SAMPLES = 16  # frames of a clip that are kept for contact sheets and looked at for identity
CHUNK = RUN  # frames measured at once

Frames = NDArray[np.uint8]
# Renders a motion with a portrait, chunk by chunk: uint8 (n, H, W, 3).
Draw = Callable[[PortraitPictures, Driving], Iterator[Frames]]


@dataclass(frozen=True, eq=False)
class Driver:
    """A driving clip, read once for all that it drives.

    Attributes:
        path: the clip.
        motion: its motion, or what the control of the weights reads, T frames.
        seen: what its face does, T frames.
        first: its first frame in its own size, (H, W, 3).
        sampled: numbers of the kept frames, at most `SAMPLES`, evenly spaced from the first to the last.
        pictures: the kept frames, (samples, 256, 256, 3).
        descriptors: whose face they show, (samples, D).
        flicker: of its pictures, see `temporal.Flicker`.
        runs: descriptions of its runs of frames, see `video_distance`, (n, 512).
    """

    path: Path
    motion: Driving
    seen: Observation
    first: Frames
    sampled: tuple[int, ...]
    pictures: Frames
    descriptors: NDArray[np.float64]
    flicker: float
    runs: NDArray[np.float64]

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.motion)


@dataclass(frozen=True, eq=False)
class Subject:
    """Who is animated.

    Attributes:
        pictures: as the pipeline takes the portrait.
        still: as it is measured, (256, 256, 3).
        face: its face, one frame.
        descriptor: whose face it is, (D,); NaN where none was found.
    """

    pictures: PortraitPictures
    still: Frames
    face: FaceMeasures
    descriptor: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measured:
    """Everything that is measured of one result.

    Attributes:
        errors: against the driver's frames after the first, which is given away as the portrait; None for
            cross-reenactment, where no true frames exist.
        motion: AED and APD.
        valence, arousal: moments of driver and result over the frames.
        likeness: whom it looks like, at the driver's sampled frames.
        following: by signal.
        flicker: the result's over the driver's: 1 is the driver's own.
        jitter: on the driver's still head.
        missing: number of frames in which no face was found.
        runs: descriptions of its runs of frames, (n, 512).
        face: what its face does, T frames.
        pictures: the result at the driver's sampled frames, (samples, 256, 256, 3).
    """

    errors: PictureErrors | None
    motion: MotionErrors
    valence: Moments
    arousal: Moments
    likeness: Likeness
    following: dict[str, Following]
    flicker: float
    jitter: Jitter
    missing: int
    runs: NDArray[np.float64]
    face: FaceMeasures
    pictures: Frames


class _Watch:
    """Looks at the frames of one video as they come, and keeps what is measured."""

    def __init__(self, observer: Observer, sampled: tuple[int, ...]) -> None:
        self._observer = observer
        self._sampled = sampled
        self._seen: list[Observation] = []
        self._pictures: list[Frames] = []
        self._runs: list[NDArray[np.float64]] = []
        self._flicker = Flicker()
        self._start = 0

    def add(self, frames: Frames) -> None:
        """Go on with frames (n, 256, 256, 3)."""
        networks = self._observer.networks
        self._seen.append(self._observer.look(frames))
        self._pictures += [frames[n - self._start].copy() for n in self._sampled if 0 <= n - self._start < len(frames)]
        self._flicker.add(frames)
        if len(frames) == RUN:
            self._runs.append(describe_run(networks.pictures.lpips, frames, networks.pictures.device))
        self._start += len(frames)

    def end(self) -> tuple[Observation, Frames, float, NDArray[np.float64]]:
        """Observation, pictures, flicker and runs of all frames."""
        runs = np.stack(self._runs) if self._runs else np.zeros((0, 512))
        return Observation.joined(self._seen), np.stack(self._pictures), self._flicker.value, runs


def read_driver(
    pipeline: XNeMoPipeline,
    path: Path,
    observer: Observer,
    detector: FaceDetector | None = None,
    frames: int | None = None,
) -> Driver:
    """Read a driving clip: its motion and what its face does.

    Args:
        pipeline: whose encoder reads the motion.
        path: a clip of square frames.
        observer: measures the face.
        detector: finds the face for the encoder; made if not given.
        frames: use only so many frames of the beginning; default all.
    Raises:
        XNeMoError: the clip cannot be read, is not square, has fewer than 2 frames or no face to follow.
    """
    with VideoReader(path) as reader:
        if reader.info.width != reader.info.height:
            raise XNeMoError(f"{path}: is {reader.info.width} x {reader.info.height}; driving clips must be square")
        part = reader if frames is None or frames >= len(reader) else reader.part(0, frames)
        motion = pipeline.read_driving(part, detector=detector)
        if len(motion) < 2:
            raise XNeMoError(f"{path}: one frame is too few to measure motion; give a clip of 2 frames or more")
        first = reader.frame(0)
    sampled = _evenly(len(motion))
    watch = _Watch(observer, sampled)
    for chunk in _batches(driver_frames(path, len(motion))):
        watch.add(chunk)
    seen, pictures, flicker, runs = watch.end()
    descriptors = observer.describe(pictures, seen.face.at(list(sampled)))
    return Driver(path, motion, seen, first, sampled, pictures, descriptors, flicker, runs)


def first_frame_pictures(pipeline: XNeMoPipeline, driver: Driver) -> PortraitPictures:
    """A clip's whole first frame as the portrait, with the very crop of the face that the motion was read from.

    So nothing is cut or moved: the portrait's own motion is the first frame's, f_rts (0, 0, 1) included, and a perfect
    renderer gives the clip back.
    """
    side, face_side = pipeline.config.image_size, pipeline.face_size
    assert driver.motion.crop is not None  # it was read from a picture
    x, y, width, height = driver.motion.crop
    face = crop_face(driver.first, (x, y, x + width, y + height), face_side)
    pictures = portrait_pictures(driver.first, (side, side), face_side, reference_face=face)
    unit = 2 / driver.first.shape[1]
    box = ((x + width / 2) * unit - 1, (y + height / 2) * unit - 1, max(width, height) / CROP_SCALE * unit)
    return replace(pictures, box=box)


def own_subject(pipeline: XNeMoPipeline, driver: Driver, observer: Observer) -> Subject:
    """The clip's first frame, for self-reenactment."""
    return _subject(first_frame_pictures(pipeline, driver), at_measured_size(driver.first[None])[0], observer)


def portrait_subject(
    pipeline: XNeMoPipeline, portrait: Path, observer: Observer, detector: FaceDetector | None = None
) -> Subject:
    """Somebody's portrait, for cross-reenactment.

    Raises:
        XNeMoError: no such picture, or no face in it.
    """
    side, face_side = pipeline.config.image_size, pipeline.face_size
    pictures = portrait_pictures(portrait, (side, side), face_side, detector=detector)
    return _subject(pictures, at_measured_size(pictures.image[None])[0], observer)


def measure(
    driver: Driver,
    subject: Subject,
    frames: Iterable[Frames],
    observer: Observer,
    own: bool,
    video: Path | None = None,
    marks: Marks | None = None,
) -> Measured:
    """Measure a result.

    Args:
        driver: what drives.
        subject: who is animated.
        frames: the result in chunks of square frames of any size, as many frames as the driver has.
        observer: the networks.
        own: self-reenactment: the driver's frames are what the result should be.
        video: where to write portrait, driver and result side by side; None for nowhere.
        marks: of this video, which is not what is measured.
    Raises:
        ValueError: the result has fewer or more frames than the driver.
    """
    watch = _Watch(observer, driver.sampled)
    errors: list[PictureErrors] = []
    with ExitStack() as stack:
        writer = stack.enter_context(VideoWriter(video, driver.motion.fps, crf=23, marks=marks)) if video else None
        drawn = (at_measured_size(batch) for batch in _batches(frames))
        true = _batches(driver_frames(driver.path, len(driver)))
        for number, (ours, theirs) in enumerate(zip(drawn, true, strict=True)):
            watch.add(ours)
            if own:
                given = 1 if number == 0 else 0
                errors.append(observer.networks.pictures(ours[given:], theirs[given:]))
            if writer is not None:
                still = np.broadcast_to(subject.still, ours.shape)
                writer.write(np.concatenate([still, theirs, ours], axis=2))
    seen, pictures, flicker, runs = watch.end()
    if len(seen.face) != len(driver):
        raise ValueError(f"the driver has {len(driver)} frames, the result {len(seen.face)}")
    descriptors = observer.describe(pictures, seen.face.at(list(driver.sampled)))
    return Measured(
        PictureErrors.joined(errors) if own else None,
        motion_errors(driver.seen.face, seen.face),
        *emotion_moments(driver.seen.emotion, seen.emotion),
        likeness(descriptors, driver.descriptors, subject.descriptor),
        follow(driver.seen.face, seen.face),
        flicker / driver.flicker if driver.flicker else float("nan"),
        jitter(driver.seen.face, seen.face),
        seen.face.missing,
        runs,
        seen.face,
        pictures,
    )


def _subject(pictures: PortraitPictures, still: Frames, observer: Observer) -> Subject:
    face = observer.look(still[None]).face
    return Subject(pictures, still, face, observer.describe(still[None], face)[0])


def _evenly(frames: int) -> tuple[int, ...]:
    return tuple(int(value) for value in np.unique(np.linspace(0, frames - 1, min(SAMPLES, frames)).round()))


def _batches(chunks: Iterable[Frames]) -> Iterator[Frames]:
    """The same frames in chunks of `CHUNK`, whatever sizes they come in."""
    frames = chain.from_iterable(chunks)
    while batch := list(islice(frames, CHUNK)):
        yield np.stack(batch)
