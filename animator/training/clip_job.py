"""One clip -> its part: follow the face, judge the clip, cut the pictures, label them. Runs in worker processes.

A clip is read twice, and one that is long is never wholly in memory: once to track the face and to ask the filters,
once to cut the pictures. Nothing here imports torch, so that workers are small, and nothing is written where the parts
go: whoever asked writes them, wherever the worker is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from animator.errors import XNeMoError
from animator.face import FaceDetector, FaceNotFoundError, FaceTrack, track_faces
from animator.face_crop import place_square
from animator.image import resize
from animator.training.filters import FilterConfig, RejectedClip, Watcher, check_length
from animator.training.landmarks import FaceLabeller, FaceLabels
from animator.training.parts import ClipPart, Origin, PartInfo, Rejection, labels_file
from animator.training.picture_folder import open_clip, sha256_of_clip
from animator.training.sources import Source
from animator.video import VideoReader, VideoWriter, resample_indices

FPS = 25

# The square about a face, in sides of the detector's box (brows to chin): at least this wide ...
FRAME_SCALE = 2.1
# ... with this much room beyond every place where the box has been ...
ROOM = 0.5
# ... and centred this much above the box, because hair is taller than a neck is long.
RAISE = 0.15
# A square nearly as large as the picture takes all of it: pictures that are face-centred already stay as they are.
NEARLY_ALL = 0.75
# Pairs are drawn from a clip, so it needs two frames.
FEWEST_FRAMES = 2


@dataclass(frozen=True)
class ClipJob:
    """Prepares clips in a worker process (`animator.extraction.worker.Job`).

    Attributes:
        landmarker: MediaPipe's network, which must be found under this path on every machine.
        select, min_score, max_gap: as in `animator.config.FaceConfig`.
        reader, image_size, stride, max_frames, crf, pictures_fps: as in `animator.training.config.PrepareConfig`.
        filters: which clips are rejected.
        settings: all of this as text; parts of the same text and the same file are the same.
    """

    landmarker: Path | None
    select: str
    min_score: float
    max_gap: int
    reader: Literal["auto", "decord", "pyav"]
    image_size: int
    stride: int
    max_frames: int
    crf: int
    pictures_fps: float
    filters: FilterConfig
    settings: str

    def start(self) -> Callable[[Source], Iterator[ClipPart | Rejection]]:
        """Load the networks; gives a function from a clip to its part, or to why there is none."""
        labeller, detector = FaceLabeller(self.landmarker), FaceDetector(min_score=self.min_score)

        def prepare(source: Source) -> Iterator[ClipPart | Rejection]:
            yield prepare_clip(source, self, detector, labeller)

        return prepare

    def made_from(self, source: Source, sha256: str) -> str:
        """What a clip's part depends on, in one text."""
        said = [source.identity, source.split, source.camera, source.emotion, source.intensity]
        return " ".join([sha256, *("-" if value is None else str(value) for value in said), self.settings])


def prepare_clip(source: Source, job: ClipJob, detector: FaceDetector, labeller: FaceLabeller) -> ClipPart | Rejection:
    """Prepare one clip.

    Raises:
        XNeMoError: it cannot be read; the message names the file.
    """
    try:
        sha256 = sha256_of_clip(source.path)
        made_from = job.made_from(source, sha256)
        origin = Origin(source.file, source.dataset, source.camera, source.emotion, source.intensity, sha256)
        with open_clip(source.path, job.reader, job.pictures_fps) as reader:
            info = reader.info
            origin = replace(origin, frames=info.frames, fps=info.fps, width=info.width, height=info.height)
            try:
                return _cut(source, origin, made_from, reader, job, detector, labeller)
            except RejectedClip as error:
                return Rejection(
                    source.name, source.identity, source.split or "", made_from, error.reason, str(error), origin
                )
    except XNeMoError as error:
        if str(source.path) in str(error):
            raise
        raise XNeMoError(f"{source.path}: {str(error).removeprefix(f'{source.path.name}: ')}") from error


def face_square(track: FaceTrack) -> tuple[int, int, int, int]:
    """The one square (x0, y0, x1, y1) of whole pixels, inside the picture, in which a clip is shown."""
    face = float(np.median(track.sides))
    low, high = track.boxes[:, :2].min(axis=0), track.boxes[:, 2:].max(axis=0)
    wanted = max(FRAME_SCALE * face, float((high - low).max()) + 2 * ROOM * face)
    short = min(track.width, track.height)
    side = short if wanted > NEARLY_ALL * short else round(wanted)
    x, y = (low + high) / 2
    return place_square(float(x), float(y) - RAISE * face, side, track.width, track.height)


def chosen_frames(frames: int, stride: int, most: int) -> np.ndarray:
    """Every `stride`-th of `frames` frames, and of these at most `most`, evenly spaced; int64, rising."""
    candidates = np.arange(0, frames, stride)
    if len(candidates) <= most:
        return candidates
    return candidates[np.linspace(0, len(candidates) - 1, most).astype(int)]


def _cut(
    source: Source,
    origin: Origin,
    made_from: str,
    reader: VideoReader,
    job: ClipJob,
    detector: FaceDetector,
    labeller: FaceLabeller,
) -> ClipPart:
    found = _judged_track(reader, job, detector)
    # The track at the models' frame rate, so that it is smoothed over the same time for every clip.
    order = resample_indices(len(reader), reader.info.rate, FPS)
    track = FaceTrack(found.boxes[order], found.width, found.height)
    square = face_square(track)
    frames = chosen_frames(len(track), job.stride, job.max_frames)
    numbers: list[int] = []
    labels: list[FaceLabels] = []
    with ExitStack() as stack:
        video = Path(stack.enter_context(TemporaryDirectory())) / "clip.mp4"
        with VideoWriter(video, FPS, crf=job.crf) as writer:
            for number, picture in zip(frames, _pictures(reader, order[frames], square), strict=True):
                box = track.boxes[number] - np.tile(square[:2], 2)
                seen = labeller.label(picture, tuple(box.tolist()))
                if seen is not None:
                    writer.write(_resized(picture, job.image_size))
                    numbers.append(int(number))
                    labels.append(seen)
            if len(numbers) < FEWEST_FRAMES:
                raise RejectedClip(
                    "no_face", f"{source.path}: landmarks found in {len(numbers)} of {len(frames)} frames; too few"
                )
        pictures = video.read_bytes()
    info = PartInfo(
        source.name,
        source.identity,
        source.split or "",
        made_from,
        len(numbers),
        job.image_size,
        labels[0].blendshape_names,
        replace(origin, face=round(float(np.median(track.sides)), 1), square=square),
    )
    return ClipPart(info, pictures, labels_file(info, _fields(track, square, numbers, labels)))


def _judged_track(reader: VideoReader, job: ClipJob, detector: FaceDetector) -> FaceTrack:
    """The face's track through all frames of a clip that passes the filters."""
    check_length(reader.info, job.filters)
    watcher = Watcher(reader.info, detector, job.filters)
    try:
        track = track_faces(reader, detector, job.select, job.max_gap, watch=watcher)
    except FaceNotFoundError as error:
        # A face that is lost at a cut is the cut's fault.
        watcher.check_cuts()
        path = reader.info.path
        raise RejectedClip("no_face", f"{path}: {str(error).removeprefix(f'{path.name}: ')}") from error
    watcher.check_cuts()
    watcher.check_track(track)
    return track


def _fields(
    track: FaceTrack, square: tuple[int, int, int, int], numbers: list[int], labels: list[FaceLabels]
) -> dict[str, np.ndarray]:
    """One row a picture, in the units of `FaceCrops`: positions and lengths in sides of the square."""
    side = square[2] - square[0]
    return {
        "frame": np.array(numbers, np.int32),
        "centre": ((track.centres[numbers] - square[:2]) / side).astype(np.float32),
        "size": (track.sides[numbers] / side).astype(np.float32),
        "crop_side": np.full(len(numbers), track.crop_size[0] / side, np.float32),
        "landmarks": np.stack([seen.landmarks for seen in labels]),
        "blendshapes": np.stack([seen.blendshapes for seen in labels]),
        "rotation": np.stack([seen.rotation for seen in labels]),
    }


def _pictures(reader: VideoReader, wanted: np.ndarray, square: tuple[int, int, int, int]) -> Iterator[np.ndarray]:
    """The square part of the wanted source frames (never falling), one after the other."""
    x0, y0, x1, y1 = square
    first, given = 0, 0
    for chunk in reader.chunks(stop=int(wanted[-1]) + 1):
        while given < len(wanted) and wanted[given] < first + len(chunk):
            yield chunk[wanted[given] - first, y0:y1, x0:x1]
            given += 1
        first += len(chunk)


def _resized(picture: np.ndarray, side: int) -> np.ndarray:
    if picture.shape[0] == side:
        return picture
    return resize(np.ascontiguousarray(picture), (side, side), "area" if picture.shape[0] > side else "lanczos")
