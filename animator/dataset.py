"""Motion datasets: the motion of many clips, with labels, splits and statistics, in a folder of Parquet files.

`docs/motion-datasets.md` has the schema. The folder holds shards (`train-00000-HASH.parquet`, ...), which any reader
of Parquet opens, `_dataset.json`, which lists them and has the statistics, and `__audio/` where sound was wanted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from animator.dataset_format import COLUMNS, INDEX, LABELS, SCHEMA, MotionRecord, from_batch
from animator.dataset_writer import SplitSummary, write_dataset
from animator.errors import XNeMoError

__all__ = ["MotionDataset", "MotionRecord", "MotionStatistics", "SplitSummary", "write_dataset"]

_ROWS = 8  # read at once; a row of a minute is 3 MB


@dataclass(frozen=True, eq=False)
class MotionStatistics:
    """Mean and standard deviation (of the population) of each dimension over all frames of the training split.

    Mirrored copies are left out.

    Attributes:
        latent_mean, latent_std: of the latents, (512,), float32.
        box_mean, box_std: of the f_rts triplets, (3,), float32.
        frames: how many frames they were computed from.
    """

    latent_mean: Tensor
    latent_std: Tensor
    box_mean: Tensor
    box_std: Tensor
    frames: int


class MotionDataset:
    """A dataset on disk, opened with `MotionDataset.open`; clips are read as they are asked for.

    Attributes:
        folder: where it is.
        encoder_id: the motion encoder that made all of its latents.
        fps: frames a second of all of its clips.
    """

    def __init__(self, folder: Path, index: dict[str, Any], labels: pa.Table) -> None:
        self.folder = folder
        self.encoder_id = str(index["encoder_id"])
        self.fps = float(index["fps"])
        self._index = index
        self._labels = labels

    @classmethod
    def open(cls, folder: str | Path) -> MotionDataset:
        """Open a dataset: its index, and the labels of all clips, are read and checked.

        Raises:
            XNeMoError: no dataset is there, it is unfinished or empty, of a newer schema, or a shard is missing,
                truncated, of another schema or another encoder than the rest; the message names the file.
        """
        folder = Path(folder)
        index = _read_index(folder)
        shards = [_shard_labels(folder / shard["file"]) for shard in index["shards"]]
        for shard, table in zip(index["shards"], shards, strict=True):
            _check_shard(folder / shard["file"], table, shard["clips"], index["encoder_id"])
        if sum(map(len, shards)) == 0:
            raise XNeMoError(f"{folder}: the dataset is empty; extract clips into it with xnemo extract")
        return cls(folder, index, pa.concat_tables(shards))

    @property
    def statistics(self) -> MotionStatistics:
        """Of the training split.

        Raises:
            XNeMoError: no clip is in the training split.
        """
        kept = self._index["statistics"]
        if kept is None:
            raise XNeMoError(f"{self.folder}: has no clips for training, so it has no statistics")
        tensors = {name: torch.tensor(kept[name]) for name in ("latent_mean", "latent_std", "box_mean", "box_std")}
        return MotionStatistics(**tensors, frames=kept["frames"])

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
        for shard in self._index["shards"]:
            if split not in (None, shard["split"]):
                continue
            path = self.folder / shard["file"]
            try:
                with pq.ParquetFile(path, page_checksum_verification=True) as file:
                    for batch in file.iter_batches(_ROWS, columns=COLUMNS.names):
                        yield from from_batch(batch, self.folder)
            except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
                raise XNeMoError(f"{path}: damaged: {str(error)[:300]}; extract into a new dataset") from error

    def summary(self) -> dict[str, SplitSummary]:
        """How much there is in each split that has clips; mirrored copies are no data and counted apart."""
        return {name: SplitSummary(**values) for name, values in self._index["splits"].items()}


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    if not folder.is_dir():
        raise XNeMoError(f"{folder}: no such motion dataset; xnemo extract makes one from a folder of videos")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if index["schema"] > SCHEMA:
            raise XNeMoError(f"{path}: dataset schema {index['schema']} is newer than {SCHEMA}; update xnemo")
        missing = {"encoder_id", "fps", "shards", "splits", "statistics"} - index.keys()
    except FileNotFoundError as error:
        raise XNeMoError(
            f"{folder}: not a motion dataset, or its extraction was interrupted ({INDEX} not found); run xnemo extract "
            "into it, again if it was interrupted"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise XNeMoError(f"{path}: not the index of a motion dataset ({error})") from error
    if missing:
        raise XNeMoError(f"{path}: not the index of a motion dataset (it has no {', '.join(sorted(missing))})")
    return index


def _shard_labels(path: Path) -> pa.Table:
    if not path.is_file():
        raise XNeMoError(f"{path}: a part of the dataset is missing; bring it back, or extract into a new dataset")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            missing = set(COLUMNS.names) - set(file.schema_arrow.names)
            if missing:
                raise XNeMoError(f"{path}: of another schema (no column {', '.join(sorted(missing))})")
            return file.read(list(LABELS))
    except (pa.ArrowException, OSError) as error:
        raise XNeMoError(
            f"{path}: truncated or damaged ({str(error)[:200]}); copy it again, or extract into a new dataset"
        ) from error


def _check_shard(path: Path, labels: pa.Table, clips: int, encoder_id: str) -> None:
    if len(labels) != clips:
        raise XNeMoError(f"{path}: has {len(labels)} clips where {INDEX} says {clips}; it belongs to another dataset")
    others = sorted(set(labels["encoder_id"].to_pylist()) - {encoder_id})
    if others:
        raise XNeMoError(
            f"{path}: holds latents of motion encoder {others[0]}, the dataset is of {encoder_id}; extract them again "
            "with one model"
        )
