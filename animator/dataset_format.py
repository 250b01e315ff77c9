"""What one clip is in a motion dataset: the record, and the Parquet row that it is kept in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from animator.motion_clip import BOX_DIM, LATENT_DIM, MotionClip

SCHEMA = 1
SPLITS = ("train", "validation")
INDEX = "_dataset.json"
# Readers of whole folders take every file for a table, but for names with "_" (Arrow, pandas) or, in folders, "__"
# (datasets) in front.
AUDIO = "__audio"
MIRRORED = "-mirrored"

COLUMNS = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("identity", pa.string(), nullable=False),
        pa.field("emotion", pa.string()),
        pa.field("intensity", pa.int32()),
        pa.field("split", pa.string(), nullable=False),
        pa.field("mirrored", pa.bool_(), nullable=False),
        pa.field("fps", pa.float64(), nullable=False),
        pa.field("frames", pa.int32(), nullable=False),
        pa.field("latents", pa.list_(pa.list_(pa.float32(), LATENT_DIM)), nullable=False),
        pa.field("boxes", pa.list_(pa.list_(pa.float32(), BOX_DIM)), nullable=False),
        pa.field("audio", pa.string()),
        pa.field("encoder_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("source_sha256", pa.string(), nullable=False),
        pa.field("crop", pa.list_(pa.int32())),
        pa.field("t0", pa.int32()),
        pa.field("seed", pa.int64()),
        pa.field("settings", pa.string(), nullable=False),
    ]
)
# All but the motion itself: what can be read of a whole dataset in a moment.
LABELS = tuple(name for name in COLUMNS.names if name not in ("latents", "boxes"))


@dataclass(frozen=True, eq=False)
class MotionRecord:
    """One clip of a motion dataset.

    Attributes:
        clip_id: its name, unique in the dataset.
        identity: who is shown; nobody is in both splits.
        emotion: as labelled by the source, None where it is not.
        intensity: of the emotion, in the source's levels (MEAD: 1 to 3), None where it is not labelled.
        split: "train" or "validation".
        audio: its sound, a wav file of 16,000 samples a second, one channel; None where there is none.
        motion: latents and boxes.
        mirrored: whether the motion was read from the pictures flipped left to right; such a copy is there for
            training and is no data of its own.
        settings: how the motion was extracted, in the words of whoever did; "" if nobody said.
    Raises:
        ValueError: an empty name, or another split.
    """

    clip_id: str
    identity: str
    emotion: str | None
    intensity: int | None
    split: str
    audio: Path | None
    motion: MotionClip
    mirrored: bool = False
    settings: str = ""

    def __post_init__(self) -> None:
        if not self.clip_id or not self.identity:
            raise ValueError(f"clip {self.clip_id!r}: clip_id and identity must not be empty")
        if self.split not in SPLITS:
            raise ValueError(f"clip {self.clip_id}: split must be {' or '.join(SPLITS)}, not {self.split!r}")


def record_order(record: MotionRecord) -> tuple[int, str]:
    """The order of a dataset's rows: training first, then by name."""
    return SPLITS.index(record.split), record.clip_id


def to_batch(records: Sequence[MotionRecord], home: Path) -> pa.RecordBatch:
    """Rows of `COLUMNS` for records; paths of sounds are kept relative to the folder `home`."""
    motions = [record.motion for record in records]
    columns: dict[str, Any] = {
        name: [getattr(record, name) for record in records]
        for name in ("clip_id", "identity", "emotion", "intensity", "split", "mirrored", "settings")
    }
    columns |= {
        name: [getattr(motion, name) for motion in motions]
        for name in ("fps", "encoder_id", "source", "source_sha256", "crop", "t0", "seed")
    }
    columns["frames"] = [len(motion) for motion in motions]
    columns["audio"] = [_relative(record.audio, home) for record in records]
    arrays = {name: pa.array(values, COLUMNS.field(name).type) for name, values in columns.items()}
    arrays["latents"] = _nested([motion.latents for motion in motions])
    arrays["boxes"] = _nested([motion.boxes for motion in motions])
    return pa.RecordBatch.from_arrays([arrays[name] for name in COLUMNS.names], schema=COLUMNS)


def from_batch(batch: pa.RecordBatch, home: Path) -> Iterator[MotionRecord]:
    """The records of a batch of rows; paths of sounds are relative to the folder `home`.

    Raises:
        ValueError, TypeError, KeyError: values that no record or motion clip may have.
    """
    labels = batch.select(list(LABELS)).to_pylist()
    for number, row in enumerate(labels):
        frames = row["frames"]
        crop = row["crop"]
        motion = MotionClip(
            latents=_matrix(batch.column("latents"), number, frames, LATENT_DIM),
            boxes=_matrix(batch.column("boxes"), number, frames, BOX_DIM),
            fps=row["fps"],
            encoder_id=row["encoder_id"],
            source=row["source"],
            source_sha256=row["source_sha256"],
            crop=None if crop is None else (crop[0], crop[1], crop[2], crop[3]),
            t0=row["t0"],
            seed=row["seed"],
        )
        yield MotionRecord(
            clip_id=row["clip_id"],
            identity=row["identity"],
            emotion=row["emotion"],
            intensity=row["intensity"],
            split=row["split"],
            audio=None if row["audio"] is None else inside(home, row["audio"]),
            motion=motion,
            mirrored=row["mirrored"],
            settings=row["settings"],
        )


def inside(folder: Path, name: str) -> Path:
    """A file that a dataset names, which must lie in its folder.

    Args:
        folder: the dataset's.
        name: relative to it, parts separated by "/".
    Raises:
        ValueError: an absolute name, one that leads out of the folder, or a link that does.
    """
    path = folder / name
    if "\x00" in name or not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{name!r} lies outside the dataset")
    return path


def _relative(path: Path | None, home: Path) -> str | None:
    return None if path is None else Path(os.path.relpath(path, home)).as_posix()


def _nested(matrices: Sequence[Tensor]) -> pa.ListArray:
    """Matrices (T_i, D) as a list of T_i lists of D numbers each."""
    rows = torch.cat(list(matrices))
    inner = pa.FixedSizeListArray.from_arrays(pa.array(rows.numpy().reshape(-1)), rows.shape[1])
    ends = np.cumsum([0, *(len(matrix) for matrix in matrices)])
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), inner)


def _matrix(column: pa.ListArray, number: int, frames: int, width: int) -> Tensor:
    """Row `number` of a column that `_nested` made, (frames, width); also where the inner lists have free lengths."""
    values = column.slice(number, 1).flatten().flatten().to_numpy(zero_copy_only=False)
    if len(values) != frames * width:
        raise ValueError(f"{len(values)} numbers where {frames} frames of {width} belong")
    # Arrow's memory cannot be written to, and belongs to the whole batch.
    return torch.from_numpy(values.astype(np.float32).reshape(frames, width))
