"""The folder that is extracted into: what it holds already, the parts of this run, and how both become the dataset."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from animator.config import ExtractConfig
from animator.dataset import MotionDataset
from animator.dataset_format import (
    COLUMNS,
    INDEX,
    LABELS,
    MIRRORED,
    SPLITS,
    MotionRecord,
    from_batch,
    record_order,
    to_batch,
)
from animator.dataset_writer import write_shards
from animator.errors import XNeMoError
from animator.extraction.sources import ClipSource, assign_splits
from animator.files import atomic_path, sha256_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PARTS = ".parts"
LOCK = ".lock"

Row = dict[str, Any]


class Target:
    """The folder that is filled: what it holds already, and what is added."""

    def __init__(self, folder: Path, encoder_id: str, config: ExtractConfig) -> None:
        self.folder = folder
        self.encoder_id = encoder_id
        self.settings = _settings(config)
        self.old = self._open_old(config.fps)
        self.rows: dict[str, Row] = {} if self.old is None else {row["clip_id"]: row for row in self.old.labels()}
        self.parts: set[str] = set()  # clips of this run that have a part

    def splits(self, clips: Sequence[ClipSource], config: ExtractConfig) -> dict[str, str]:
        """The split of every person, of the source and of the dataset.

        Raises:
            XNeMoError: a person would be in both.
        """
        known = {row["identity"]: row["split"] for row in self.rows.values()}
        splits = assign_splits(clips, known, config.validation_share, config.split_seed)
        renewed = {clip.clip_id for clip in clips}
        for row in self.rows.values():
            if _base_name(row) not in renewed and row["split"] != splits[row["identity"]]:
                raise XNeMoError(
                    f"identity {row['identity']} would be in both splits: {self.folder} has {row['clip_id']} in "
                    f"{row['split']}, the new clips are for {splits[row['identity']]}; a person belongs to one"
                )
        return splits

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder, see that it can be written, and keep others out, before any work is done.

        Folders that nothing was put into are taken away in the end.

        Raises:
            XNeMoError: it cannot be made or written, or another run is at work in it.
        """
        lock = self.folder / PARTS / LOCK
        if not lock.exists():
            with atomic_path(lock):
                pass
        with open(lock) as file:
            if not _locked(file):
                raise XNeMoError(f"{self.folder}: another extraction is writing into it; wait for it to end")
            try:
                yield
            finally:
                with suppress(OSError):
                    lock.unlink()
                    # Without a dataset, the folder of parts says whose the sound is that an unfinished run leaves.
                    if (self.folder / INDEX).is_file() or list(self.folder.iterdir()) == [lock.parent]:
                        lock.parent.rmdir()
                        self.folder.rmdir()

    def holds(self, clip: ClipSource) -> bool:
        """Whether a clip, of these bytes and settings, is in the dataset or among the finished parts."""
        if self._up_to_date(self._part_row(clip.clip_id), clip):
            self.parts.add(clip.clip_id)
            return True
        return self._up_to_date(self.rows.get(clip.clip_id), clip)

    def keep(self, records: list[MotionRecord]) -> None:
        """Write a finished clip to its part.

        Raises:
            XNeMoError: the disk is full, for example.
        """
        name = records[0].clip_id
        with atomic_path(self._part(name)) as temporary:
            table = pa.Table.from_batches([to_batch(records, self.folder)])
            pq.write_table(table, temporary, compression="zstd", use_dictionary=False, write_page_checksum=True)
        self.parts.add(name)

    def put_together(self, clips: Sequence[ClipSource], splits: Mapping[str, str]) -> None:
        """Write the dataset from its old rows and this run's parts, with the labels that `clips` have now.

        Without any change it stays as it is.

        Raises:
            XNeMoError: see `animator.dataset_writer.write_shards`; the old dataset and the parts then stay.
        """
        labels = {clip.clip_id: clip for clip in clips}
        parts = sorted(self.parts)
        current = {name: _labelled(row, labels.get(_base_name(row)), splits) for name, row in self.rows.items()}
        if self.old is None or parts or current != self.rows:
            write_shards(self.folder, self._merged(labels, splits, parts))
        for name in parts:
            self._part(name).unlink()

    def _merged(
        self, labels: Mapping[str, ClipSource], splits: Mapping[str, str], parts: Sequence[str]
    ) -> Iterator[MotionRecord]:
        """All rows in order, one at a time: old ones that are not replaced, and parts, with the labels of now."""
        replaced = set(parts)

        def relabelled(records: Iterator[MotionRecord], split: str) -> Iterator[MotionRecord]:
            for record in records:
                now = replace(record, **_labelled({}, labels.get(_base_name(vars(record))), splits))
                if now.split == split:
                    yield now

        def old(before: str) -> Iterator[MotionRecord]:
            records = iter(()) if self.old is None else self.old.records(before)
            return (record for record in records if _base_name(vars(record)) not in replaced)

        def new() -> Iterator[MotionRecord]:
            return (record for name in parts for record in self._read_part(name))

        for split in SPLITS:
            streams = [relabelled(records, split) for records in (*map(old, SPLITS), new())]
            yield from heapq.merge(*streams, key=record_order)

    def _open_old(self, fps: float) -> MotionDataset | None:
        if (self.folder / INDEX).is_file():
            old = MotionDataset.open(self.folder)
            if old.encoder_id != self.encoder_id:
                raise XNeMoError(
                    f"{self.folder}: holds latents of motion encoder {old.encoder_id}, the weights in use have "
                    f"{self.encoder_id}; extract into another folder, or with the weights it was made with"
                )
            if old.fps != fps:
                raise XNeMoError(
                    f"{self.folder}: has {old.fps:g} frames a second; give fps={old.fps:g}, or another folder"
                )
            return old
        if self.folder.is_dir() and not (self.folder / PARTS).is_dir() and any(self.folder.iterdir()):
            raise XNeMoError(f"{self.folder}: is no motion dataset, and not empty; name a new folder")
        return None

    def _up_to_date(self, row: Row | None, clip: ClipSource) -> bool:
        if row is None:
            return False
        made_by = (row["encoder_id"], row["settings"])
        if made_by != (self.encoder_id, self.settings) or not clip.path.is_file():
            return False
        if row["audio"] is not None and not (self.folder / row["audio"]).is_file():
            return False
        return bool(row["source_sha256"] == sha256_of(clip.path))

    def _part(self, clip_id: str) -> Path:
        return self.folder / PARTS / f"{clip_id}.parquet"

    def _part_row(self, clip_id: str) -> Row | None:
        try:
            return cast(Row, pq.read_table(self._part(clip_id), columns=list(LABELS)).to_pylist()[0])
        except (pa.ArrowException, OSError, IndexError):  # not there, or damaged, which is the same
            return None

    def _read_part(self, clip_id: str) -> Iterator[MotionRecord]:
        path = self._part(clip_id)
        try:
            for batch in pq.read_table(path, page_checksum_verification=True).select(COLUMNS.names).to_batches():
                yield from from_batch(batch, self.folder)
        except (pa.ArrowException, OSError, ValueError, TypeError) as error:
            raise XNeMoError(f"{path}: damaged ({str(error)[:200]}); remove it and extract again") from error


def _locked(file: IO[str]) -> bool:
    """Lock a file until it is closed or the process ends, however it does; False where another process has it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _base_name(row: Mapping[str, Any]) -> str:
    """Name of the clip that a row, or its mirrored copy, is made from."""
    name = str(row["clip_id"])
    return name.removesuffix(MIRRORED) if row["mirrored"] else name


def _labelled(row: Row, clip: ClipSource | None, splits: Mapping[str, str]) -> Row:
    """A row with the labels that the source has for it now."""
    if clip is None:
        return row
    split = splits[clip.identity]
    return row | {"identity": clip.identity, "emotion": clip.emotion, "intensity": clip.intensity, "split": split}


def _settings(config: ExtractConfig) -> str:
    """The settings that a clip's rows depend on, as text."""
    kept = {"face": vars(config.face), "fps": config.fps, "mirror": config.mirror, "audio": config.audio}
    return json.dumps(kept, sort_keys=True)
