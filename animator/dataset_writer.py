"""Writing motion datasets: rows in order, in shards, with an index that appears when all of them are there."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from animator.dataset_format import COLUMNS, INDEX, SCHEMA, MotionRecord, record_order, to_batch
from animator.errors import XNeMoError
from animator.files import atomic_folder, sha256_of
from animator.motion_clip import BOX_DIM, LATENT_DIM

# Frames, of 2,060 bytes: a shard is at most about 270 MB, what is held in memory 34 MB (and one clip more).
SHARD_FRAMES = 131_072
GROUP_FRAMES = 16_384
_SHARD_NAME = re.compile(r"(train|validation)-\d{5}-[0-9a-f]{8}\.parquet")


@dataclass(frozen=True)
class SplitSummary:
    """How much one split holds.

    Attributes:
        clips, identities, frames, hours: without mirrored copies.
        mirrored: number of mirrored copies.
    """

    clips: int
    identities: int
    frames: int
    hours: float
    mirrored: int


def write_dataset(folder: str | Path, records: Iterable[MotionRecord]) -> None:
    """Write a new motion dataset.

    Args:
        folder: where; it must not exist, or be empty, and appears when it is whole.
        records: the clips, in any order; sounds stay where they are.
    Raises:
        XNeMoError: no clips, two of one name, a person in both splits, several encoders or frame rates, or the folder
            exists already or cannot be written.
    """
    with atomic_folder(folder) as temporary:
        write_shards(temporary, sorted(records, key=record_order), home=Path(folder))


def write_shards(folder: Path, records: Iterable[MotionRecord], home: Path | None = None) -> None:
    """Write records into a folder; what a dataset there held before is replaced in the moment when all is written.

    Args:
        folder: exists.
        records: in the order of `record_order`; they may be read from the very dataset that is replaced.
        home: where the folder will be, if not there; sounds are named relative to it.
    Raises:
        XNeMoError: see `write_dataset`; the dataset that was there is then as it was.
    """
    home = home or folder
    with _scratch(folder, home) as scratch:
        gathered = _Gathered()
        shards = []
        for number, (split, part) in enumerate(_shards(gathered.watch(records))):
            temporary = scratch / f"{number}.parquet"
            clips, frames = _write_shard(temporary, part, home)
            # Named by content, so that no file of the dataset that is replaced has the same name and other bytes.
            name = f"{split}-{number:05d}-{sha256_of(temporary)[:8]}.parquet"
            shards.append({"file": name, "split": split, "clips": clips, "frames": frames})
        (scratch / INDEX).write_text(json.dumps(gathered.index(shards), indent=1), encoding="utf-8")
        for number, shard in enumerate(shards):
            (scratch / f"{number}.parquet").replace(folder / str(shard["file"]))
        (scratch / INDEX).replace(folder / INDEX)
    listed = {shard["file"] for shard in shards}
    for path in folder.glob("*.parquet"):
        if _SHARD_NAME.fullmatch(path.name) and path.name not in listed:
            path.unlink()


@contextmanager
def _scratch(folder: Path, home: Path) -> Iterator[Path]:
    """A hidden folder for what is not whole yet; errors of the disk are one line that names the dataset, `home`."""
    scratch = folder / ".writing"
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        yield scratch
    except OSError as error:
        raise XNeMoError(f"{home}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _shards(records: Iterable[MotionRecord]) -> Iterator[tuple[str, Iterator[MotionRecord]]]:
    """Cut a stream of records into shards of one split; each must be used up before the next is asked for."""
    stream = iter(records)
    waiting = next(stream, None)

    def part(split: str) -> Iterator[MotionRecord]:
        nonlocal waiting
        frames = 0
        while waiting is not None and waiting.split == split and frames < SHARD_FRAMES:
            frames += len(waiting.motion)
            yield waiting
            waiting = next(stream, None)

    while waiting is not None:
        yield waiting.split, part(waiting.split)


def _write_shard(path: Path, records: Iterator[MotionRecord], home: Path) -> tuple[int, int]:
    """Write one Parquet file; returns its clips and frames."""
    options = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}
    clips, frames = 0, 0
    with pq.ParquetWriter(path, COLUMNS, **options) as writer:
        for group in _groups(records):
            writer.write_batch(to_batch(group, home))
            clips, frames = clips + len(group), frames + sum(len(record.motion) for record in group)
    return clips, frames


def _groups(records: Iterator[MotionRecord]) -> Iterator[list[MotionRecord]]:
    group: list[MotionRecord] = []
    for record in records:
        group.append(record)
        if sum(len(kept.motion) for kept in group) >= GROUP_FRAMES:
            yield group
            group = []
    if group:
        yield group


class _Gathered:
    """What is to be said of a whole dataset, gathered and checked while its records pass by."""

    def __init__(self) -> None:
        self.encoder_id = ""
        self.fps = 0.0
        self.first = ""  # name of the first clip
        self.last: tuple[int, str] | None = None
        self.known: dict[str, tuple[str, str]] = {}  # identity -> one of its clips, and the split of that
        self.people: dict[str, set[str]] = {}
        self.counts: dict[str, dict[str, int]] = {}
        self.latents = _Moments(LATENT_DIM)
        self.boxes = _Moments(BOX_DIM)

    def watch(self, records: Iterable[MotionRecord]) -> Iterator[MotionRecord]:
        """Pass records on.

        Raises:
            XNeMoError: one does not go with the others.
        """
        for record in records:
            self._check(record)
            self._count(record)
            yield record

    def index(self, shards: list[dict[str, Any]]) -> dict[str, Any]:
        """What `_dataset.json` holds.

        Raises:
            XNeMoError: no records came by.
        """
        if not self.first:
            raise XNeMoError("there are no clips to make a motion dataset of")
        splits = {}
        for split, count in self.counts.items():
            hours = count["frames"] / self.fps / 3600
            splits[split] = asdict(SplitSummary(hours=hours, identities=len(self.people[split]), **count))
        statistics = None
        if self.latents.count:
            latent_mean, latent_std = self.latents.result()
            box_mean, box_std = self.boxes.result()
            statistics = {"frames": self.latents.count, "latent_mean": latent_mean, "latent_std": latent_std}
            statistics |= {"box_mean": box_mean, "box_std": box_std}
        return {
            "schema": SCHEMA,
            "encoder_id": self.encoder_id,
            "fps": self.fps,
            "splits": splits,
            "shards": shards,
            "statistics": statistics,
        }

    def _check(self, record: MotionRecord) -> None:
        name, motion = record.clip_id, record.motion
        if not self.first:
            self.first, self.encoder_id, self.fps = name, motion.encoder_id, motion.fps
        if motion.encoder_id != self.encoder_id:
            raise XNeMoError(
                f"{self.first} was made by motion encoder {self.encoder_id} and {name} by {motion.encoder_id}; a "
                "dataset holds latents of one encoder"
            )
        if not math.isclose(motion.fps, self.fps, rel_tol=1e-4):
            raise XNeMoError(
                f"{self.first} has {self.fps:g} frames a second and {name} {motion.fps:g}; resample one first"
            )
        clip, split = self.known.setdefault(record.identity, (name, record.split))
        if split != record.split:
            raise XNeMoError(
                f"identity {record.identity} is in both splits ({clip} in {split}, {name} in {record.split}); a person "
                "belongs to one"
            )
        order = record_order(record)
        if self.last is not None and order <= self.last:
            raise XNeMoError(f"two clips are called {name}; each needs a name of its own")
        self.last = order

    def _count(self, record: MotionRecord) -> None:
        count = self.counts.setdefault(record.split, {"clips": 0, "frames": 0, "mirrored": 0})
        people = self.people.setdefault(record.split, set())
        if record.mirrored:
            count["mirrored"] += 1
            return
        people.add(record.identity)
        count["clips"] += 1
        count["frames"] += len(record.motion)
        if record.split == "train":
            self.latents.add(record.motion.latents)
            self.boxes.add(record.motion.boxes)


class _Moments:
    """Mean and standard deviation of each column of matrices that come one after the other."""

    def __init__(self, width: int) -> None:
        self.count = 0
        self.mean = np.zeros(width)
        self.squares = np.zeros(width)  # sum of squared distances from the mean

    def add(self, values: Tensor) -> None:
        rows = values.double().numpy()
        mean = rows.mean(axis=0)
        total = self.count + len(rows)
        # Chan's way of joining two samples: nothing large is subtracted from anything large.
        self.squares += ((rows - mean) ** 2).sum(axis=0) + (mean - self.mean) ** 2 * self.count * len(rows) / total
        self.mean += (mean - self.mean) * len(rows) / total
        self.count = total

    def result(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation, as float32 has them."""
        deviation = np.sqrt(self.squares / self.count)
        return torch.tensor(self.mean).float().tolist(), torch.tensor(deviation).float().tolist()
