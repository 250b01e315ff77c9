"""`DST/clips.parquet`: every clip that was looked at, kept or rejected, with what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from animator.files import atomic_path
from animator.training.parts import Origin, PartInfo, Rejection, assign_splits

TABLE = "clips.parquet"
KEPT = "kept"
COLUMNS = pa.schema(
    [
        ("clip_id", pa.string()),
        ("status", pa.string()),  # "kept", or the filter that rejected it
        ("reason", pa.string()),  # what the filter saw; null for a kept clip
        ("file", pa.string()),  # relative to the folder or manifest that named it
        ("sha256", pa.string()),
        ("dataset", pa.string()),  # layout of the folder; null for none
        ("identity", pa.string()),
        ("split", pa.string()),  # null for a rejected clip of a person of whom nothing is kept
        ("camera", pa.string()),
        ("emotion", pa.string()),
        ("intensity", pa.int32()),
        ("frames", pa.int32()),  # pictures in the crops folder
        ("source_frames", pa.int32()),
        ("source_fps", pa.float64()),
        ("source_width", pa.int32()),
        ("source_height", pa.int32()),
        ("face", pa.float64()),  # median side of the face's box, in pixels of the source
        ("square", pa.list_(pa.int32())),  # x0, y0, x1, y1 of the part that was cut out, in pixels of the source
    ]
)


def write_table(folder: Path, kept: Sequence[PartInfo], rejected: Sequence[Rejection]) -> Path:
    """Write the table, ordered by name; one that says the same is left as it is.

    Raises:
        XNeMoError: it cannot be written.
    """
    splits = dict(zip((info.identity for info in kept), assign_splits(kept), strict=True))
    rows = [
        _row(info.name, info.identity, splits[info.identity], info.origin)
        | {"status": KEPT, "reason": None, "frames": info.frames}
        for info in kept
    ]
    rows += [
        _row(clip.name, clip.identity, clip.split or splits.get(clip.identity), clip.origin)
        | {"status": clip.reason, "reason": clip.message, "frames": 0}
        for clip in rejected
    ]
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["clip_id"])), schema=COLUMNS)
    path = folder / TABLE
    if not _holds(path, table):
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    return path


def _row(name: str, identity: str, split: str | None, origin: Origin) -> dict[str, Any]:
    """What is said of a kept and of a rejected clip alike."""
    return {
        "clip_id": name,
        "file": origin.file or None,
        "sha256": origin.sha256 or None,
        "dataset": origin.dataset or None,
        "identity": identity,
        "split": split,
        "camera": origin.camera,
        "emotion": origin.emotion,
        "intensity": origin.intensity,
        "source_frames": origin.frames or None,
        "source_fps": origin.fps or None,
        "source_width": origin.width or None,
        "source_height": origin.height or None,
        "face": origin.face or None,
        "square": origin.square,
    }


def _holds(path: Path, table: pa.Table) -> bool:
    """Whether a file holds this very table."""
    if not path.is_file():
        return False
    try:
        return bool(pq.read_table(path).equals(table))
    except (pa.ArrowException, OSError):  # damaged, so it is written again
        return False
