"""Motion datasets: the motion of many clips, with labels, splits and statistics, in a folder of Parquet files.

`docs/motion-datasets.md` has the schema. The folder holds shards (`train-00000-HASH.parquet`, ...), which any reader
of Parquet opens, `_dataset.json`, which lists them and has the statistics, and `__audio/` where sound was wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from animator.dataset_format import COLUMNS, INDEX, LABELS, MotionRecord, from_batch
from animator.dataset_index import DatasetIndex, MotionStatistics, Shard, read_index
from animator.dataset_writer import SplitSummary, write_dataset
from animator.errors import XNeMoError

__all__ = ["MotionDataset", "MotionRecord", "MotionStatistics", "SplitSummary", "write_dataset"]

_ROWS = 8  # read at once; a row of a minute is 3 MB
# Latents hardly get smaller by compression; a file that claims to hold so many times its size is made to fill memory.
_MOST_UNPACKED, _SMALL = 100, 64 * 2**20


class MotionDataset:
    """A dataset on disk, opened with `MotionDataset.open`; clips are read as they are asked for.

    Attributes:
        folder: where it is.
        encoder_id: the motion encoder that made all of its latents.
        fps: frames a second of all of its clips.
    """

    def __init__(self, folder: Path, index: DatasetIndex, labels: pa.Table) -> None:
        self.folder = folder
        self.encoder_id = index.encoder_id
        self.fps = index.fps
        self._index = index
        self._labels = labels

    @classmethod
    def open(cls, folder: str | Path) -> MotionDataset:
        """Open a dataset: its index, and the labels of all clips, are read and checked.

        Raises:
            XNeMoError: no dataset is there, it is unfinished or empty, of a newer schema, its index makes no sense or
                names files outside the folder, or a shard is missing, truncated, of another schema or another encoder
                than the rest, or would fill the memory; the message names the file.
        """
        folder = Path(folder)
        index = read_index(folder)
        shards = [_shard_labels(shard) for shard in index.shards]
        for shard, table in zip(index.shards, shards, strict=True):
            _check_shard(shard, table, index.encoder_id)
        if sum(map(len, shards)) == 0:
            raise XNeMoError(f"{folder}: the dataset is empty; extract clips into it with xnemo extract")
        return cls(folder, index, pa.concat_tables(shards))

    @property
    def statistics(self) -> MotionStatistics:
        """Of the training split.

        Raises:
            XNeMoError: no clip is in the training split.
        """
        if self._index.statistics is None:
            raise XNeMoError(f"{self.folder}: has no clips for training, so it has no statistics")
        return self._index.statistics

    def __len__(self) -> int:
        """Number of rows: clips and mirrored copies."""
        return len(self._labels)

    def labels(self) -> list[dict[str, Any]]:
        """All columns but latents and boxes, one dictionary a row, in the order of `records`."""
        return self._labels.to_pylist()

    def records(self, split: str | None = None) -> Iterator[MotionRecord]:
        """Read clips, training first and then by name, a few at a time.

        Args:
            split: "train" or "validation"; None for both.
        Raises:
            XNeMoError: a shard is damaged or holds what no clip may hold; the message names the file.
        """
        for shard in self._index.shards:
            if split not in (None, shard.split):
                continue
            path = shard.path
            try:
                with pq.ParquetFile(path, page_checksum_verification=True) as file:
                    _check_size(path, file)
                    for batch in file.iter_batches(_ROWS, columns=COLUMNS.names):
                        yield from from_batch(batch, self.folder)
            except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
                raise XNeMoError(f"{path}: damaged: {str(error)[:300]}; extract into a new dataset") from error

    def summary(self) -> dict[str, SplitSummary]:
        """How much there is in each split that has clips; mirrored copies are no data and counted apart."""
        return dict(self._index.splits)


def _shard_labels(shard: Shard) -> pa.Table:
    path = shard.path
    if not path.is_file():
        raise XNeMoError(f"{path}: a part of the dataset is missing; bring it back, or extract into a new dataset")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            missing = set(COLUMNS.names) - set(file.schema_arrow.names)
            if missing:
                raise XNeMoError(f"{path}: of another schema (no column {', '.join(sorted(missing))})")
            if file.metadata.num_rows != shard.clips:
                raise _other_dataset(path, file.metadata.num_rows, shard.clips)
            _check_size(path, file)
            return file.read(list(LABELS))
    except (pa.ArrowException, OSError) as error:
        raise XNeMoError(
            f"{path}: truncated or damaged ({str(error)[:200]}); copy it again, or extract into a new dataset"
        ) from error


def _check_size(path: Path, file: pq.ParquetFile) -> None:
    """Refuse a file that would unpack to very much more than it is; its own counts are what memory is taken by.

    Raises:
        XNeMoError: it would.
    """
    about = file.metadata
    columns = [about.row_group(g).column(c) for g in range(about.num_row_groups) for c in range(about.num_columns)]
    values = sum(column.num_values for column in columns)
    packed = path.stat().st_size
    if 4 * values > max(_SMALL, _MOST_UNPACKED * packed) or about.num_rows > packed:
        raise XNeMoError(f"{path}: claims {values} values in {packed} bytes; that is no motion dataset")


def _other_dataset(path: Path, found: int, clips: int) -> XNeMoError:
    return XNeMoError(f"{path}: has {found} clips where {INDEX} says {clips}; it belongs to another dataset")


def _check_shard(shard: Shard, labels: pa.Table, encoder_id: str) -> None:
    path = shard.path
    if len(labels) != shard.clips:
        raise _other_dataset(path, len(labels), shard.clips)
    others = sorted(set(labels["encoder_id"].to_pylist()) - {encoder_id})
    if others:
        raise XNeMoError(
            f"{path}: holds latents of motion encoder {others[0]}, the dataset is of {encoder_id}; extract them again "
            "with one model"
        )
