"""The index of a motion dataset, read strictly: a dataset may come from anybody, and its index names files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from animator.dataset_format import INDEX, SCHEMA, SPLITS, inside
from animator.dataset_writer import SplitSummary
from animator.errors import XNeMoError
from animator.motion_clip import BOX_DIM, LATENT_DIM


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


@dataclass(frozen=True)
class Shard:
    """One Parquet file of a dataset.

    Attributes:
        path: where it is, inside the dataset's folder.
        split: of all of its clips.
        clips: its number of rows.
    """

    path: Path
    split: str
    clips: int


@dataclass(frozen=True, eq=False)
class DatasetIndex:
    """What `_dataset.json` says.

    Attributes:
        encoder_id: the motion encoder of all latents.
        fps: frames a second of all clips.
        shards: the files, training first.
        splits: how much there is in each split that has clips.
        statistics: None where no clip is for training.
    """

    encoder_id: str
    fps: float
    shards: tuple[Shard, ...]
    splits: Mapping[str, SplitSummary]
    statistics: MotionStatistics | None


def read_index(folder: Path) -> DatasetIndex:
    """Read the index of the dataset in a folder.

    Raises:
        XNeMoError: no dataset is there, it is unfinished, of a newer schema, or says what cannot be; it names a file
            outside its folder, or one that is a link to there.
    """
    path = folder / INDEX
    if not folder.is_dir():
        raise XNeMoError(f"{folder}: no such motion dataset; xnemo extract makes one from a folder of videos")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise XNeMoError(
            f"{folder}: not a motion dataset, or its extraction was interrupted ({INDEX} not found); run xnemo extract "
            "into it, again if it was interrupted"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise XNeMoError(f"{path}: not the index of a motion dataset ({error})") from error
    try:
        if _whole(_of(content, "schema"), "schema") > SCHEMA:
            raise XNeMoError(f"{path}: dataset schema {content['schema']} is newer than {SCHEMA}; update xnemo")
        encoder_id, fps = _of(content, "encoder_id"), _number(_of(content, "fps"), "fps")
        if not isinstance(encoder_id, str) or fps <= 0:
            raise ValueError("encoder_id must be a text and fps above 0")
        shards = _of(content, "shards")
        if not isinstance(shards, list):
            raise ValueError("shards must be a list")
        splits = _of(content, "splits")
        if not isinstance(splits, dict) or not set(splits) <= set(SPLITS):
            raise ValueError(f"splits must be {' and '.join(SPLITS)}")
        return DatasetIndex(
            encoder_id,
            fps,
            tuple(_shard(folder, shard) for shard in shards),
            {name: _summary(values) for name, values in splits.items()},
            _statistics(_of(content, "statistics")),
        )
    except ValueError as error:
        raise XNeMoError(f"{path}: not the index of a motion dataset ({error})") from error


def _shard(folder: Path, content: Any) -> Shard:
    file, split = _of(content, "file"), _of(content, "split")
    if not isinstance(file, str) or split not in SPLITS:
        raise ValueError(f"a shard must name a file, and its split: {' or '.join(SPLITS)}")
    return Shard(inside(folder, file), split, _whole(_of(content, "clips"), "clips"))


def _summary(content: Any) -> SplitSummary:
    values: dict[str, Any] = {
        field.name: _number(_of(content, field.name), field.name) for field in fields(SplitSummary)
    }
    return SplitSummary(**{name: value if name == "hours" else _whole(value, name) for name, value in values.items()})


def _statistics(content: Any) -> MotionStatistics | None:
    if content is None:
        return None
    sizes = {"latent_mean": LATENT_DIM, "latent_std": LATENT_DIM, "box_mean": BOX_DIM, "box_std": BOX_DIM}
    tensors = {name: _vector(_of(content, name), name, size) for name, size in sizes.items()}
    return MotionStatistics(**tensors, frames=_whole(_of(content, "frames"), "frames"))


def _vector(values: Any, name: str, size: int) -> Tensor:
    if not isinstance(values, list) or len(values) != size:
        raise ValueError(f"{name} must be a list of {size} numbers")
    return torch.tensor([_number(value, name) for value in values])


def _of(content: Any, name: str) -> Any:
    if not isinstance(content, dict) or name not in content:
        raise ValueError(f"it has no {name}")
    return content[name]


def _number(value: Any, name: str) -> Any:
    # JSON's true is Python's 1; whole numbers of any length are JSON, too.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or abs(value) > 1e15:
        raise ValueError(f"{name} must be a number, not {str(value)[:40]!r}")
    return value


def _whole(value: Any, name: str) -> int:
    if not isinstance(_number(value, name), int) or value < 0:
        raise ValueError(f"{name} must be a whole number from 0 on, not {str(value)[:40]!r}")
    return int(value)
