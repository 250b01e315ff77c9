"""Frames are read the same by every backend, at any place, and only those that are asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from animator import video
from animator.errors import XNeMoError
from animator.video import AHEAD_BYTES, VideoReader
from animator.video_probe import decoded
from tests.animator.media import clip_frames, make_video, numbers
from tests.animator.video.whole_files import SAME_PICTURE, difference, read_all


@pytest.mark.parametrize("name", ["GRID_01_neutral_01", "AOC_01", "xnemo_demo_01", "lp_d13_man_selfie_01"])
def test_decord_and_pyav_give_the_same_frames(shared_data: Path, name: str) -> None:
    path = shared_data / "clips" / f"{name}.mp4"
    pytest.importorskip("decord", reason="decord has no wheel for this machine")
    info = VideoReader(path, "decord").info
    long = info.frames * info.width * info.height * 3 > AHEAD_BYTES
    assert VideoReader(path).backend == ("pyav" if long else "decord")
    readers = VideoReader(path, "decord").chunks(7), VideoReader(path, "pyav").chunks(7)
    for one, other in zip(*readers, strict=True):
        assert difference(one, other) <= SAME_PICTURE


@pytest.mark.parametrize(("name", "count"), [("KristiNoem_02", 118), ("mt_man_podium_01", 293)])
def test_files_that_decord_cannot_open_are_read_without_a_word(
    shared_data: Path, name: str, count: int, capfd: pytest.CaptureFixture[str]
) -> None:
    path = shared_data / "clips" / f"{name}.mp4"
    assert VideoReader(path).backend == "pyav"
    assert len(read_all(path)) == count
    assert capfd.readouterr() == ("", "")
    pytest.importorskip("decord", reason="decord has no wheel for this machine")
    with pytest.raises(XNeMoError, match=f"{name}.mp4: decord"):
        VideoReader(path, "decord")


def test_everything_is_read_where_decord_is_not_installed(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    assert VideoReader(clip).backend == "pyav"
    assert len(read_all(clip)) == 75


@pytest.mark.parametrize("backend", ["auto", "pyav"])
def test_jumps_land_on_the_very_frame_even_in_open_groups_of_pictures(
    tmp_path: Path, frames: NDArray[np.uint8], backend: str
) -> None:
    many = np.concatenate([frames, frames[::-1], frames])
    path = make_video(tmp_path / "open.mp4", many, x264="open-gop=1:keyint=12:bframes=8")
    every = clip_frames(path)
    reader = VideoReader(path, backend)  # type: ignore[arg-type]
    for index in (149, 7, 60, 0, 61, 100, 33, 32):
        assert difference(reader.frame(index), every[index]) <= SAME_PICTURE
    part = np.concatenate(list(reader.chunks(10, 85, 120)))
    assert difference(part, every[85:120]) <= SAME_PICTURE


def test_chunks_are_no_larger_than_asked_and_cut_like_slices(clip: Path) -> None:
    reader = VideoReader(clip)
    assert [len(chunk) for chunk in reader.chunks(32)] == [32, 32, 11]
    assert [len(chunk) for chunk in reader.chunks(32, 70, 1000)] == [5]
    assert list(reader.chunks(32, 75)) == []
    with pytest.raises(IndexError):
        reader.frame(75)
    with pytest.raises(ValueError, match="size"):
        next(reader.chunks(0))


def test_two_iterators_over_one_reader_do_not_disturb_each_other(clip: Path, frames: NDArray[np.uint8]) -> None:
    reader = VideoReader(clip)
    every = clip_frames(clip)
    pairs = list(zip(reader.chunks(10), reader.chunks(10), strict=True))
    for side in (0, 1):
        assert difference(np.concatenate([pair[side] for pair in pairs]), every) <= SAME_PICTURE


def test_a_part_is_a_video_of_its_own(clip: Path, frames: NDArray[np.uint8], tmp_path: Path) -> None:
    path = make_video(tmp_path / "numbered.mp4", frames, 25)
    with VideoReader(path) as whole:
        for start, stop in ((0, 7), (40, None), (3, 44), (-5, None)):
            part, wanted = whole.part(start, stop), list(range(50))[start:stop]
            assert (len(part), part.info.frames, part.info.fps) == (len(wanted), len(wanted), 25)
            assert part.info.seconds == len(wanted) / 25
            assert numbers(np.concatenate(list(part.chunks(3)))) == wanted
            assert numbers(next(part.chunks(2, 1, 3))) == wanted[1:3]
            assert numbers(part.part(1, 4).frame(2)[None]) == [wanted[3]]
        # The whole still reads on where it was.
        chunks = whole.chunks(10)
        assert numbers(next(chunks)) == list(range(10))
        next(whole.part(0, 30).chunks(30))
        assert numbers(next(chunks)) == list(range(10, 20))
        assert whole.part(0, 5).backend == whole.backend
        for start, stop in ((50, None), (5, 5)):
            with pytest.raises(ValueError, match="no pictures from"):
                whole.part(start, stop)


def test_only_the_part_is_decoded(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "long.mp4", clip_frames(clip), 25, x264="keyint=10:min-keyint=10")
    reader = VideoReader(path, "pyav")
    count = 0

    def counting(*arguments: Any) -> Iterator[Any]:
        nonlocal count
        for picture in decoded(*arguments):
            count += 1
            yield picture

    monkeypatch.setattr(video, "decoded", counting)
    assert len(reader) == 75
    for start, stop, most in ((0, 6, 7), (65, 71, 6 + video.SEEK_MARGIN + 10)):
        count = 0
        list(reader.part(start, stop).chunks())
        assert count <= most


@pytest.mark.parametrize("backend", ["auto", "pyav"])
def test_memory_does_not_grow_with_the_clip(shared_data: Path, backend: str) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of one process alone is read from Linux's /proc")
    # 5000 frames of 256 x 256 are 983 MB as pictures.
    script = f"""
from pathlib import Path
from animator.video import VideoReader
reader = VideoReader({str(shared_data / "clips" / "fgnet_franck_01.mp4")!r}, {backend!r})
print(sum(len(chunk) for chunk in reader.chunks()))
print(*[line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")])
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    count, peak = map(int, result.stdout.split())
    assert count == 5000
    assert peak < 250 * 1024  # KiB; the libraries alone are about 90
