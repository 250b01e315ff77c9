"""Prepared clips: a small video and a file of labels for each, and the crops folder that is put together from them.

`DST/parts/NAME.mp4` holds a clip's pictures and `NAME.safetensors`, written last, its labels; of a clip that was no
good, `NAME.rejected.json` says why. The parts are all that has to be kept or carried to another machine: `frames.npy`,
which training maps from disk, is decoded from them.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from tqdm import tqdm

from animator.errors import XNeMoError
from animator.files import atomic_path
from animator.video import VideoReader

SCHEMA = 1
FIELDS = ("clip", "frame", "centre", "size", "crop_side", "landmarks", "blendshapes", "rotation")
PARTS = "parts"
REJECTED = ".rejected.json"
VALIDATION_SHARE = 0.1
# Fields that a part keeps in half precision: 2^-12 of the picture is a sixteenth of a pixel at 256.
_HALF = ("landmarks", "blendshapes")


@dataclass(frozen=True)
class Origin:
    """Where a clip comes from.

    Attributes:
        file: as its source names it, relative to the folder or manifest.
        dataset: name of the layout that it was found in, empty for none.
        camera, emotion, intensity: what the source says, None where it says nothing.
        sha256: of the file (of a folder of pictures: of their names and hashes).
        frames, fps, width, height: of the file; 0 where it was rejected before they were known.
        face: median side of the face's box, in pixels; 0 where unknown.
        square: the part (x0, y0, x1, y1) of the picture that is kept, in pixels; None where unknown.
    """

    file: str = ""
    dataset: str = ""
    camera: str | None = None
    emotion: str | None = None
    intensity: int | None = None
    sha256: str = ""
    frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    face: float = 0.0
    square: tuple[int, int, int, int] | None = None

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Origin:
        """Back from `dataclasses.asdict` and JSON, which knows no tuples.

        Raises:
            TypeError: other values.
        """
        square = values.get("square")
        return cls(**values | {"square": None if square is None else tuple(square)})


@dataclass(frozen=True)
class PartInfo:
    """What a part says of itself.

    Attributes:
        name: of the clip.
        identity: who is shown.
        split: "train", "validation", or "" where it follows from the identity.
        made_from: source and settings in one text; the same text means the same part.
        frames: number of pictures.
        image_size: their side in pixels.
        blendshape_names: names of the 52 blendshapes.
        origin: where it comes from; parts of earlier versions do not say.
    """

    name: str
    identity: str
    split: str
    made_from: str
    frames: int
    image_size: int
    blendshape_names: tuple[str, ...]
    origin: Origin = Origin()


@dataclass(frozen=True)
class ClipPart:
    """A prepared clip before it is written.

    Attributes:
        info: what it says of itself.
        video: its pictures, an mp4 file.
        labels: of its pictures, a safetensors file.
    """

    info: PartInfo
    video: bytes
    labels: bytes


@dataclass(frozen=True)
class Rejection:
    """A clip that is no good for training.

    Attributes:
        name, identity, split, made_from, origin: as in `PartInfo`.
        reason: which filter says so, one of `animator.training.filters.REASONS`.
        message: what it saw.
    """

    name: str
    identity: str
    split: str
    made_from: str
    reason: str
    message: str
    origin: Origin = Origin()


def video_path(folder: Path, name: str) -> Path:
    """Where a part's pictures are."""
    return folder / PARTS / f"{name}.mp4"


def labels_path(folder: Path, name: str) -> Path:
    """Where a part's labels are; the part is whole when this file is there."""
    return folder / PARTS / f"{name}.safetensors"


def rejection_path(folder: Path, name: str) -> Path:
    """Where it says why a clip has no part."""
    return folder / PARTS / f"{name}{REJECTED}"


def labels_file(info: PartInfo, fields: dict[str, np.ndarray]) -> bytes:
    """A part's labels as a file, one row a picture, fields as `FaceCrops` names them (without `clip`)."""
    # safetensors writes memory as it lies, and MediaPipe's matrices lie column by column.
    kept = {
        name: np.ascontiguousarray(value, np.float16 if name in _HALF else value.dtype)
        for name, value in fields.items()
    }
    return save(kept, {"part": json.dumps({"schema": SCHEMA, **asdict(info)})})


def save_part(folder: Path, part: ClipPart) -> None:
    """Write a clip's part.

    Raises:
        XNeMoError: the disk is full, for example; an older part may then be gone.
    """
    name = part.info.name
    with atomic_path(video_path(folder, name)) as temporary:
        temporary.write_bytes(part.video)
        # The new pictures take their place when this block ends; labels from before belong to other pictures.
        labels_path(folder, name).unlink(missing_ok=True)
    with atomic_path(labels_path(folder, name)) as temporary:
        temporary.write_bytes(part.labels)
    rejection_path(folder, name).unlink(missing_ok=True)


def save_rejection(folder: Path, rejection: Rejection) -> None:
    """Write why a clip has no part; a part of other settings goes."""
    with atomic_path(rejection_path(folder, rejection.name)) as temporary:
        temporary.write_text(json.dumps(asdict(rejection), indent=1), encoding="utf-8")
    labels_path(folder, rejection.name).unlink(missing_ok=True)
    video_path(folder, rejection.name).unlink(missing_ok=True)


def read_rejection(path: Path) -> Rejection:
    """What a rejection's file says.

    Raises:
        XNeMoError: it is not one.
    """
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return Rejection(**about | {"origin": Origin.from_json(about["origin"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise XNeMoError(f"{path}: damaged ({error}); remove it and prepare again") from error


def rejections(folder: Path) -> list[Rejection]:
    """All rejected clips, by name."""
    paths = (path for path in sorted((folder / PARTS).glob(f"*{REJECTED}")) if not path.name.startswith("."))
    return [read_rejection(path) for path in paths]


def read_info(path: Path) -> PartInfo:
    """What a part's label file says.

    Raises:
        XNeMoError: it is not one, or of a newer version.
    """
    try:
        with safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {})["part"])
        schema, names = about.pop("schema"), tuple(about.pop("blendshape_names"))
        info = PartInfo(**about | {"blendshape_names": names, "origin": Origin.from_json(about.pop("origin", {}))})
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise XNeMoError(f"{path}: not the labels of a prepared clip ({error}); remove it and prepare again") from error
    if schema > SCHEMA:
        raise XNeMoError(f"{path}: from a newer version (schema {schema} > {SCHEMA}); update xnemo")
    return info


def outcome_of(folder: Path, name: str) -> PartInfo | Rejection | None:
    """What there is of a clip: a whole part, a rejection, or neither.

    Raises:
        XNeMoError: it is damaged.
    """
    path = labels_path(folder, name)
    if path.is_file() and video_path(folder, name).is_file():
        return read_info(path)
    path = rejection_path(folder, name)
    return read_rejection(path) if path.is_file() else None


def assign_splits(clips: Sequence[PartInfo]) -> list[str]:
    """The split of each clip; where it is given for no clip of a person, one in ten is for validation, chosen by hash.

    The choice does not change when clips are added, except that as long as it falls on nobody, the identity with the
    smallest hash is taken (unless it is the only one).

    Raises:
        XNeMoError: both splits are given for one person.
    """
    given: dict[str, PartInfo] = {}
    for clip in clips:
        if clip.split and given.setdefault(clip.identity, clip).split != clip.split:
            first = given[clip.identity]
            raise XNeMoError(
                f"identity {clip.identity} is in both splits ({first.name} in {first.split}, {clip.name} in "
                f"{clip.split}); a person belongs to one: say so in a manifest, and remove the parts of one of them"
            )

    def place(identity: str) -> float:
        return int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "big") / 2**64

    free = sorted({clip.identity for clip in clips} - given.keys(), key=place)
    held_out = {identity for identity in free if place(identity) < VALIDATION_SHARE}
    if not held_out and len(free) > 1 and all(clip.split != "validation" for clip in clips):
        held_out = {free[0]}

    def split(clip: PartInfo) -> str:
        if clip.identity in given:
            return given[clip.identity].split
        return "validation" if clip.identity in held_out else "train"

    return [split(clip) for clip in clips]


def assemble(folder: Path) -> list[PartInfo]:
    """Put `frames.npy`, `index.safetensors` and `clips.json` together from all parts, ordered by name.

    What is already there and made of the same parts is left as it is. `clips.json` is removed first and written last,
    so that a folder is never taken for whole when it is not.

    Raises:
        XNeMoError: there are no parts, one is damaged, or they do not go together.
    """
    # A run that was killed while it wrote leaves a hidden file.
    paths = (path for path in sorted((folder / PARTS).glob("*.safetensors")) if not path.name.startswith("."))
    infos = [read_info(path) for path in paths]
    if not infos:
        raise XNeMoError(f"{folder}: no prepared clips in {folder / PARTS}; name videos to prepare")
    sizes = {info.image_size for info in infos}
    if len(sizes) > 1:
        listed = " and ".join(map(str, sorted(sizes)))
        raise XNeMoError(f"{folder}: has clips of {listed} px; prepare all with one image_size")
    about = json.dumps(_about(infos), indent=1)
    target = folder / "clips.json"
    if target.is_file() and target.read_text() == about:
        return infos
    target.unlink(missing_ok=True)
    _write_frames(folder, infos)
    _write_index(folder, infos)
    with atomic_path(target) as temporary:
        temporary.write_text(about)
    return infos


def _about(infos: list[PartInfo]) -> dict[str, Any]:
    clips, first = [], 0
    for info, split in zip(infos, assign_splits(infos), strict=True):
        clips.append(
            {
                "name": info.name,
                "identity": info.identity,
                "split": split,
                "frames": info.frames,
                "first": first,
                "made_from": info.made_from,
            }
        )
        first += info.frames
    return {"schema": SCHEMA, "clips": clips, "blendshape_names": list(infos[0].blendshape_names)}


def _write_frames(folder: Path, infos: list[PartInfo]) -> None:
    """Decode all parts into one array on disk, (N, S, S, 3) uint8."""
    side, count = infos[0].image_size, sum(info.frames for info in infos)
    shape = (count, side, side, 3)
    # Written like any file: a memory map of a file with holes ends the process where the disk is full.
    with (
        atomic_path(folder / "frames.npy") as temporary,
        open(temporary, "wb") as file,
        tqdm(total=count, unit="frame", desc="putting together") as bar,
    ):
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        _reserve(file, file.tell() + math.prod(shape))
        for info in infos:
            path = video_path(folder, info.name)
            with VideoReader(path) as reader:
                if (len(reader), reader.info.width, reader.info.height) != (info.frames, side, side):
                    raise XNeMoError(f"{path}: does not fit its labels; remove both and prepare the clip again")
                for chunk in reader.chunks():
                    file.write(np.ascontiguousarray(chunk).data)
                    bar.update(len(chunk))


def _reserve(file: BinaryIO, size: int) -> None:
    """Take the space at once where the system can, so that a full disk is found out before the work is done."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # this file system cannot
            raise


def _write_index(folder: Path, infos: list[PartInfo]) -> None:
    columns: dict[str, list[np.ndarray]] = {field: [] for field in FIELDS}
    for number, info in enumerate(infos):
        with safe_open(labels_path(folder, info.name), "numpy") as file:
            columns["clip"].append(np.full(info.frames, number, np.int32))
            for field in FIELDS[1:]:
                value = file.get_tensor(field)
                columns[field].append(value.astype(np.float32) if field in _HALF else value)
    with atomic_path(folder / "index.safetensors") as temporary:
        temporary.write_bytes(save({field: np.concatenate(values) for field, values in columns.items()}))
