"""Where the figures and pictures of a run go: TensorBoard, and accelerate's trackers where they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.tracking import GeneralTracker
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from animator.training.ranks import Ranks


class _Log(SummaryWriter):
    """TensorBoard's writer, which tells other trackers as well."""

    def __init__(self, folder: Path, step: int, trackers: Sequence[GeneralTracker]) -> None:
        super().__init__(folder, purge_step=step + 1)  # hides this step and what is behind it
        self.trackers = trackers

    def add_scalar(self, tag: str, scalar_value: Any, global_step: int | None = None, **options: Any) -> None:  # type: ignore[override]
        super().add_scalar(tag, scalar_value, global_step, **options)  # type: ignore[no-untyped-call]
        for tracker in self.trackers:
            tracker.log({tag: float(scalar_value)}, step=global_step)


class _Silent(SummaryWriter):
    """The log of a process that writes none."""

    def __init__(self) -> None:
        """Open nothing."""

    def add_scalar(self, *words: Any, **options: Any) -> None:
        """Forget it."""

    def add_image(self, *words: Any, **options: Any) -> None:
        """Forget it."""

    def add_histogram(self, *words: Any, **options: Any) -> None:
        """Forget it."""

    def flush(self) -> None:
        """There is nothing to write."""

    def close(self) -> None:
        """There is nothing to close."""


def open_log(folder: Path, step: int, ranks: Ranks, trackers: Sequence[GeneralTracker] = ()) -> SummaryWriter:
    """Open a run's log; what an earlier run wrote behind `step` is shown no more."""
    return _Log(folder, step, trackers) if ranks.main else _Silent()


def log_picture(writer: SummaryWriter, name: str, picture: NDArray[np.uint8], step: int) -> None:
    """Put a picture (H, W, 3) into the log."""
    writer.add_image(name, picture, step, dataformats="HWC")  # type: ignore[no-untyped-call]
