"""Whole files read, written and compared, for the tests of animator.video and animator.audio."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from animator.video import VideoReader, VideoWriter

# Both libraries convert colours with swscale, but not with the same version of it.
SAME_PICTURE = 2  # levels of 255


def read_all(path: Path, backend: str = "auto", size: int = 32) -> NDArray[np.uint8]:
    """All frames of a file, as many and as large as its reader says."""
    with VideoReader(path, backend) as reader:  # type: ignore[arg-type]
        frames = np.concatenate(list(reader.chunks(size)))
        assert len(frames) == len(reader)
        assert frames.shape[1:] == (reader.info.height, reader.info.width, 3)
    return frames


def write(path: Path, frames: NDArray[np.uint8], fps: float | Fraction = 25, audio_from: Path | None = None) -> Path:
    """Write frames in chunks of 7."""
    with VideoWriter(path, fps, audio_from) as writer:
        for begin in range(0, len(frames), 7):
            writer.write(frames[begin : begin + 7])
    return path


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    """The largest difference of two videos of one size, in levels of 255."""
    assert one.shape == other.shape
    return int(np.abs(one.astype(np.int16) - other).max())


def streams(path: Path) -> dict[str, av.stream.Stream]:
    """The streams of a file by kind."""
    with av.open(str(path)) as container:
        return {stream.type: stream for stream in container.streams}
