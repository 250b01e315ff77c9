"""`xnemo prepare`: videos of talking heads -> face-centred squares with labels, one clip at a time.

Each clip is read twice, and never more than a chunk of it is in memory: once to track the face, once to cut the
pictures, label them and write them to the clip's part (`animator.training.parts`). Interrupted, it goes on with the
first clip that is not finished.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
from tqdm import tqdm

from animator.errors import XNeMoError
from animator.face import FaceDetector, FaceTrack, track_faces
from animator.face_crop import place_square
from animator.files import sha256_of
from animator.image import resize
from animator.training.config import PrepareConfig
from animator.training.landmarks import FaceLabeller, FaceLabels
from animator.training.parts import PartInfo, assemble, is_finished, labels_path, save_labels, video_path
from animator.training.sources import Source, find_sources
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
class Prepared:
    """What a call of `prepare_crops` leaves behind.

    Attributes:
        folder: the crops folder.
        clips, frames: how many are in it, those of earlier calls included.
        failed: file and reason of each clip that was skipped.
    """

    folder: Path
    clips: int
    frames: int
    failed: dict[str, str]


def prepare_crops(sources: Sequence[Path], folder: Path, config: PrepareConfig) -> Prepared:
    """Prepare clips into a crops folder, beside those that it holds already.

    Args:
        sources: videos, folders of videos, manifests; none only puts the finished parts together, for which neither
            the videos nor the landmarker are needed.
        folder: the crops folder, see `animator.training.crops.FaceCrops`.
        config: settings.
    Raises:
        XNeMoError: a source or the landmarker is missing, the folder cannot be written, or not one clip is usable.
    """
    if config.image_size % 2:
        raise XNeMoError(f"image_size={config.image_size}: must be even, for the clips are stored as H.264")
    if config.face.preprocessing != "tracked":
        raise XNeMoError(f"face.preprocessing={config.face.preprocessing}: training clips are tracked; face=default")
    clips = find_sources(sources)
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        if clips:
            path = None if config.landmarker is None else Path(config.landmarker)
            labeller = stack.enter_context(FaceLabeller(path))
            detector = stack.enter_context(FaceDetector(min_score=config.face.min_score))
            settings = _settings(config)
        for source in stack.enter_context(tqdm(clips, unit="clip", desc="preparing", disable=not clips)):
            try:
                made_from = f"{sha256_of(source.path)} {source.identity} {source.split} {settings}"
                if not is_finished(folder, source.name, made_from):
                    _prepare_clip(source, folder, config, detector, labeller, made_from)
            except XNeMoError as error:
                failed[str(source.path)] = str(error)
                tqdm.write(f"skipped: {error}", file=sys.stderr)
    if len(failed) == len(clips) > 0:
        raise XNeMoError(f"none of the {len(clips)} clips could be prepared: {'; '.join(failed.values())}")
    infos = assemble(folder)
    return Prepared(folder, len(infos), sum(info.frames for info in infos), failed)


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


def _settings(config: PrepareConfig) -> str:
    """The settings that a part depends on, as text."""
    assert config.landmarker is not None
    kept = {"landmarker": sha256_of(config.landmarker), "face": vars(config.face)}
    kept |= {name: getattr(config, name) for name in ("image_size", "stride", "max_frames", "crf")}
    return json.dumps(kept, sort_keys=True)


def _prepare_clip(
    source: Source,
    folder: Path,
    config: PrepareConfig,
    detector: FaceDetector,
    labeller: FaceLabeller,
    made_from: str,
) -> None:
    with VideoReader(source.path, cast(Literal["auto", "decord", "pyav"], config.reader)) as reader:
        found = track_faces(reader, detector, config.face.select, config.face.max_gap)
        # The track at the models' frame rate, so that it is smoothed over the same time for every clip.
        order = resample_indices(len(reader), reader.info.rate, FPS)
        track = FaceTrack(found.boxes[order], found.width, found.height)
        square = face_square(track)
        frames = chosen_frames(len(track), config.stride, config.max_frames)
        numbers: list[int] = []
        labels: list[FaceLabels] = []
        with VideoWriter(video_path(folder, source.name), FPS, crf=config.crf) as writer:
            for number, picture in zip(frames, _pictures(reader, order[frames], square), strict=True):
                box = track.boxes[number] - np.tile(square[:2], 2)
                seen = labeller.label(picture, tuple(box.tolist()))
                if seen is not None:
                    writer.write(_resized(picture, config.image_size))
                    numbers.append(int(number))
                    labels.append(seen)
            if len(numbers) < FEWEST_FRAMES:
                raise XNeMoError(f"{source.path}: landmarks found in {len(numbers)} of {len(frames)} frames; too few")
            # The new pictures take their place when this block ends; labels from before belong to other pictures.
            labels_path(folder, source.name).unlink(missing_ok=True)
    info = PartInfo(
        source.name,
        source.identity,
        source.split or "",
        made_from,
        len(numbers),
        config.image_size,
        labels[0].blendshape_names,
    )
    save_labels(folder, info, _fields(track, square, numbers, labels))


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
