"""Writing that fails leaves nothing behind, keeps what was there, and says why in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from animator.errors import XNeMoError
from animator.video import VideoWriter, write_wav
from tests.animator.media import clicks
from tests.animator.video.whole_files import write


def test_failure_in_the_block_leaves_nothing_and_keeps_the_old_file(
    tmp_path: Path, frames: NDArray[np.uint8], clip: Path
) -> None:
    path = tmp_path / "out.mp4"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, 25, clip) as writer:
        writer.write(frames)
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_frames_is_one_clear_line_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match=r"out.mp4: not written"), VideoWriter(tmp_path / "out.mp4", 25):
        pass
    assert list(tmp_path.iterdir()) == []


def test_wrong_pictures_are_refused(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="one size"), VideoWriter(tmp_path / "out.mp4", 25) as writer:
        writer.write(frames[:2])
        writer.write(frames[:2, :128])
    with pytest.raises(ValueError, match="uint8"), VideoWriter(tmp_path / "out.mp4", 25) as writer:
        writer.write(frames[:2].astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="with"):
        VideoWriter(tmp_path / "out.mp4", 25).write(frames)
    with pytest.raises(ValueError, match="fps"):
        VideoWriter(tmp_path / "out.mp4", 0)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "out.mp4", Path("/proc/out.mp4"), tmp_path):
        with pytest.raises(XNeMoError) as caught, VideoWriter(path, 25):
            pytest.fail("the block must not run")
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_missing_sound_file_is_told_before_the_work_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match=r"no.mp4: no such file"):
        VideoWriter(tmp_path / "new" / "out.mp4", 25, tmp_path / "no.mp4").__enter__()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [2_000, 60_000])
def test_write_that_the_system_refuses_is_one_clear_line_and_leaves_nothing(
    tmp_path: Path, clip: Path, limit: int
) -> None:
    # A limit on file size makes the kernel refuse, early and late in the file, as a full disk does.
    script = f"""
import resource, signal
from animator.errors import XNeMoError
from animator.video import VideoReader, VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    with VideoWriter({str(tmp_path / "out" / "out.mp4")!r}, 25, {str(clip)!r}) as writer:
        for chunk in VideoReader({str(clip)!r}).chunks():
            writer.write(chunk)
except XNeMoError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == f"{tmp_path / 'out' / 'out.mp4'}: cannot be written: File too large"
    assert result.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_one_clear_line_and_leaves_nothing(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk to fill can only be mounted by root on Linux")
    try:
        with pytest.raises(XNeMoError, match=r"out.mp4: cannot be written: No space left on device"):
            write(disk / "out.mp4", frames)
        with pytest.raises(XNeMoError, match=r"x.wav: cannot be written: No space left on device"):
            write_wav(disk / "x.wav", clicks(10, 16000), 16000)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
