"""Clips as training and evaluation read them: the features of a whole split in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from animator.dataset import MotionDataset
from animator.errors import XNeMoError
from motion_tokenizer.features import FEATURES, to_features


@dataclass(frozen=True, eq=False)
class FeatureClips:
    """Features of many clips, one after the other.

    Attributes:
        features: (frames of all clips, 515), float32.
        starts: first row of each clip, (clips,), int64.
        lengths: frames of each clip, (clips,), int64.
        names: the clips' ids.
        identities: who is shown.
        emotions: as labelled; None where they are not.
        mirrored: whether the clip is a mirrored copy, (clips,), bool.
    """

    features: Tensor
    starts: Tensor
    lengths: Tensor
    names: tuple[str, ...]
    identities: tuple[str, ...]
    emotions: tuple[str | None, ...]
    mirrored: Tensor

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.names)

    def clip(self, number: int) -> Tensor:
        """Features of one clip, (frames, 515)."""
        start = int(self.starts[number])
        return self.features[start : start + int(self.lengths[number])]

    def clips(self) -> list[Tensor]:
        """Features of each clip."""
        return [self.clip(number) for number in range(len(self))]

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (of the population) over the frames of clips that are no mirrored copies.

        Returns:
            Two of (515,), float32.
        """
        whole = [self.clip(number) for number in range(len(self)) if not self.mirrored[number]]
        frames = torch.cat(whole or self.clips()).double()
        return frames.mean(dim=0).float(), frames.std(dim=0, correction=0).float()

    @staticmethod
    def of(clips: Sequence[Tensor], names: Sequence[str] | None = None) -> FeatureClips:
        """Clips without labels, each (frames, 515), each of an identity of its own."""
        names = tuple(names or (f"clip {number}" for number in range(len(clips))))
        lengths = torch.tensor([len(clip) for clip in clips])
        return FeatureClips(
            torch.cat(list(clips)),
            lengths.cumsum(0) - lengths,
            lengths,
            names,
            names,
            (None,) * len(clips),
            torch.zeros(len(clips), dtype=torch.bool),
        )


def read_clips(dataset: MotionDataset, split: str, fps: float, shortest: int, mirrored: bool) -> FeatureClips:
    """Read a split of a dataset into memory (2 kB a frame).

    Args:
        dataset: the dataset.
        split: "train" or "validation".
        fps: frames a second that clips are resampled to.
        shortest: clips of fewer frames are left out.
        mirrored: whether mirrored copies are taken.
    Raises:
        XNeMoError: nothing is left, or the dataset is damaged.
    """
    features, kept = [], []
    for record in dataset.records(split):
        if record.mirrored and not mirrored:
            continue
        motion = record.motion if record.motion.fps == fps else record.motion.resample(fps)
        if len(motion) < shortest:
            continue
        features.append(to_features(motion.latents, motion.boxes))
        kept.append(record)
    if not features:
        raise XNeMoError(
            f"{dataset.folder}: no clip of {shortest} frames or more in the {split} split; add clips, or name splits "
            "in the manifest that xnemo extract reads"
        )
    lengths = torch.tensor([len(clip) for clip in features])
    return FeatureClips(
        torch.cat(features),
        lengths.cumsum(0) - lengths,
        lengths,
        tuple(record.clip_id for record in kept),
        tuple(record.identity for record in kept),
        tuple(record.emotion for record in kept),
        torch.tensor([record.mirrored for record in kept]),
    )


def check_moving(clips: FeatureClips, folder: Path) -> None:
    """Refuse data that nothing can be learnt from.

    Raises:
        XNeMoError: the latents are the same in every frame.
    """
    _, deviation = clips.statistics()
    latents = deviation[: FEATURES - 3]
    if float(latents.max()) < 1e-6:
        raise XNeMoError(
            f"{folder}: all latents of the training split are the same, as of a still picture; extract moving faces"
        )
