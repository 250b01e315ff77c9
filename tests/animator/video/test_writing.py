"""What is written plays everywhere, shows what was given, and has the same bytes every time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from animator.video import VideoReader
from tests.animator.media import numbers
from tests.animator.video.whole_files import read_all, streams, write


@pytest.mark.parametrize(
    ("fps", "rate"),
    [(25, Fraction(25)), (29.97, Fraction(30000, 1001)), (Fraction(24000, 1001), None), (60.0, Fraction(60)),
     (12.5, Fraction(25, 2)), (Fraction(1999, 80), None)],
)  # fmt: skip
def test_written_rate_is_exact(
    tmp_path: Path, frames: NDArray[np.uint8], fps: float | Fraction, rate: Fraction | None
) -> None:
    info = VideoReader(write(tmp_path / "out.mp4", frames, fps)).info
    assert (info.rate, info.frames, info.variable_rate, info.has_audio) == (rate or fps, 50, False, False)


def test_written_pictures_come_back(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    path = write(tmp_path / "out.mp4", frames)
    back = read_all(path)
    error = np.mean((back.astype(float) - frames) ** 2)
    assert 10 * np.log10(255**2 / error) > 36  # dB; halved colour resolution and crf 18
    # No colour cast; swscale's usual conversion rounds down, which costs about one level.
    assert np.abs((back.astype(float) - frames).mean(axis=(0, 1, 2))).max() < 2
    assert numbers(back) == list(range(50))


def test_written_file_is_h264_yuv420p_with_its_index_in_front(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    path = write(tmp_path / "out.mp4", frames)
    context = streams(path)["video"].codec_context
    assert (context.name, context.pix_fmt, context.colorspace) == ("h264", "yuv420p", 1)  # 1: BT.709
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_odd_sizes_are_filled_up_by_repeating_the_edge(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    back = read_all(write(tmp_path / "out.mp4", frames[:5, :131, :255]))
    assert back.shape == (5, 132, 256, 3)
    assert np.abs(back[:, :131, :255].astype(float) - frames[:5, :131, :255]).mean() < 3


def test_same_frames_give_the_same_bytes_on_any_number_of_cores(tmp_path: Path, clip: Path) -> None:
    script = f"""
import os, sys
if sys.argv[2] == "1" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
from pathlib import Path
from animator.video import VideoReader, VideoWriter
clip = Path({str(clip)!r})
with VideoWriter(sys.argv[1], 25, clip) as writer:
    for chunk in VideoReader(clip).chunks():
        writer.write(chunk)
"""
    digests = set()
    for run, cores in enumerate("021"):
        path = tmp_path / f"{run}.mp4"
        subprocess.run([sys.executable, "-c", script, str(path), cores], check=True)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_small_pictures_give_the_same_bytes_every_time(tmp_path: Path) -> None:
    for height, width in ((64, 64), (256, 48), (32, 32)):
        noise = np.random.default_rng(0).normal(128, 20, (12, height, width, 3)).cumsum(0) / 4 + 60
        frames = noise.clip(0, 255).astype(np.uint8)
        digests = {hashlib.sha256(write(tmp_path / "small.mp4", frames).read_bytes()).hexdigest() for _ in range(40)}
        assert len(digests) == 1
