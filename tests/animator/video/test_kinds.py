"""Turned, oblong, deep, damaged: what files hold is shown as players show it, and in step with time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from animator.video import VideoReader
from tests.animator.media import clip_frames, make_video, numbers
from tests.animator.video.whole_files import difference, read_all


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_rotation_and_mirroring_are_applied(
    tmp_path: Path, frames: NDArray[np.uint8], rotation: int, mirrored: bool
) -> None:
    wide = frames[:3, :128]
    path = make_video(tmp_path / "turned.mp4", wide, rotation=rotation, mirrored=mirrored)
    stored = clip_frames(path)
    # PyAV: "a counter-clockwise rotation; hflip mirrors after it".
    expected = np.rot90(stored, rotation // 90, axes=(1, 2))
    expected = expected[:, :, ::-1] if mirrored else expected
    info = VideoReader(path).info
    assert (info.width, info.height) == ((256, 128) if rotation in (0, 180) else (128, 256))
    assert difference(read_all(path), expected) == 0
    if not mirrored:
        assert info.rotation == -rotation % 360


def test_non_square_pixels_are_made_square(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    path = make_video(tmp_path / "wide.mp4", frames[:5, :, :192], aspect=Fraction(4, 3))
    info = VideoReader(path).info
    assert (info.width, info.height) == (256, 256)
    assert read_all(path).shape == (5, 256, 256, 3)


def test_variable_frame_rate_is_laid_out_on_a_constant_one_in_step_with_time(
    tmp_path: Path, frames: NDArray[np.uint8]
) -> None:
    # 30 fps with frames dropped here and there and one shown for half a second, on a 1/90 s clock with jitter.
    steps = [3] * 50
    steps[5], steps[6], steps[20], steps[30] = 6, 9, 46, 4
    ticks = np.cumsum([0, *steps[:-1]]).tolist()
    path = make_video(tmp_path / "variable.mp4", frames, 90, ticks=ticks, tone=2.0)
    reader = VideoReader(path)
    assert (reader.info.variable_rate, reader.info.rate, reader.backend) == (True, 30, "pyav")
    assert reader.info.seconds == pytest.approx(ticks[-1] / 90, abs=2 / 30)
    shown = numbers(read_all(path))
    assert (shown[0], shown[-1]) == (0, 49)
    for tick, number in enumerate(shown):
        assert ticks[number] / 90 <= tick / 30 + 0.5 / 30 + 1e-6, "shown before its time"
        if number < 49:
            assert ticks[number + 1] / 90 > tick / 30 + 0.5 / 30 - 1e-6, "shown after the next one's time"
    for index in (40, 25, 3):
        assert numbers(reader.frame(index)[None]) == [shown[index]]


def test_small_jitter_is_no_variable_rate(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    wobble = np.random.default_rng(0).integers(-8, 9, 50)
    ticks = (np.arange(50) * 40 + wobble - wobble[0]).tolist()
    path = make_video(tmp_path / "jitter.mp4", frames, 1000, ticks=ticks)
    info = VideoReader(path).info
    assert (info.variable_rate, info.frames) == (False, 50)
    assert info.fps == pytest.approx(25, rel=0.01)
    assert numbers(read_all(path)) == list(range(50))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi", ".ts"])
@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60), Fraction(12)])
def test_constant_rates_are_exact_in_every_container(
    tmp_path: Path, frames: NDArray[np.uint8], rate: Fraction, suffix: str
) -> None:
    # .avi stores no time stamps for B-frames.
    path = make_video(tmp_path / f"rate{suffix}", frames, rate, x264="bframes=0" if suffix == ".avi" else "")
    info = VideoReader(path).info
    assert (info.rate, info.frames, info.variable_rate) == (rate, 50, False)
    assert info.seconds == pytest.approx(float(50 / rate))
    assert numbers(read_all(path)) == list(range(50))


def test_one_frame_is_a_video(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    path = make_video(tmp_path / "one.mp4", frames[:1])
    info = VideoReader(path).info
    assert (info.frames, info.rate, info.has_audio) == (1, 25, False)
    assert len(read_all(path)) == 1


def test_odd_sizes_are_read_whole(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    path = make_video(tmp_path / "odd.mp4", frames[:5, :131, :255], pix_fmt="yuv444p")
    assert read_all(path).shape == (5, 131, 255, 3)


def test_ten_bit_colour_is_read_the_way_pyav_shows_it(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    path = make_video(tmp_path / "ten.mp4", frames[:5], pix_fmt="yuv420p10le")
    assert difference(read_all(path), clip_frames(path)) == 0


def test_damage_in_the_middle_costs_pictures_but_not_the_timing(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    path = make_video(tmp_path / "damaged.mkv", frames, x264="keyint=10")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    for packet in packets[15:18]:
        at = data.find(bytes(packet))
        data[at : at + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    reader = VideoReader(path)
    assert reader.info.frames == 50
    assert numbers(read_all(path))[40:] == list(range(40, 50))
