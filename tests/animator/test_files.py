"""Promises of animator.files and animator.errors."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from animator.errors import XNeMoError
from animator.files import atomic_folder, atomic_path, open_to_others, replaced_folder, sha256_of


def test_error_message_is_one_line() -> None:
    assert str(XNeMoError("a\nb:  c\n")) == "a b: c"


def test_finished_file_replaces_the_old_one_and_creates_folders(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "x.motion.safetensors"
    for text in ("one", "two"):
        with atomic_path(target) as temporary:
            assert (temporary.parent, temporary.suffix) == (target.parent, ".safetensors")
            temporary.write_text(text)
        assert target.read_text() == text
    assert list(target.parent.iterdir()) == [target]


def test_failed_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_failed_block_removes_the_folders_it_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), atomic_path(tmp_path / "a" / "b" / "x.txt"):
        raise ValueError("mine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["file-as-folder", "proc", "folder"])
def test_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    target = {
        "file-as-folder": tmp_path / "file" / "x.txt",
        "proc": Path("/proc/xnemo/x.txt"),
        "folder": tmp_path,
    }[where]
    with pytest.raises(XNeMoError) as caught, atomic_path(target):
        pytest.fail("the block must not run")
    assert str(target) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_error_about_another_file_names_that_file(tmp_path: Path) -> None:
    missing = tmp_path / "missing.bin"
    with pytest.raises(XNeMoError, match="missing.bin: No such file"), atomic_path(tmp_path / "x.txt"):
        missing.read_bytes()


def test_full_disk_is_one_clear_line_and_leaves_nothing(tmp_path: Path) -> None:
    # A limit on file size makes the kernel refuse the write, as a full disk does, on any file system and for root.
    script = f"""
import resource, signal
from pathlib import Path
from animator.errors import XNeMoError
from animator.files import atomic_path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with atomic_path({str(tmp_path / "out" / "x.bin")!r}) as temporary:
        temporary.write_bytes(bytes(5000))
except XNeMoError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == f"{tmp_path / 'out' / 'x.bin'}: cannot be written: File too large"
    assert list(tmp_path.iterdir()) == []


def test_finished_folder_gets_its_name_with_all_that_is_in_it(tmp_path: Path) -> None:
    target = tmp_path / "new" / "weights"
    with atomic_folder(target) as temporary:
        (temporary / "unet").mkdir()
        (temporary / "unet" / "x").write_text("whole")
        assert not target.exists()
    assert (target / "unet" / "x").read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_interrupted_folder_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), atomic_folder(tmp_path / "new" / "weights") as temporary:
        (temporary / "unet").mkdir()
        (temporary / "unet" / "half").write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_folder_that_holds_something_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "empty").mkdir()
    for target in (tmp_path, tmp_path / "mine"):
        message = "exists already; name a new folder, or remove it first"
        with pytest.raises(XNeMoError, match=message), atomic_folder(target):
            pytest.fail("the block must not run")
    with atomic_folder(tmp_path / "empty") as temporary:
        (temporary / "x").write_text("x")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "mine", "x"]


def test_error_inside_a_folder_names_the_folder_and_not_its_temporary_name(tmp_path: Path) -> None:
    with pytest.raises(XNeMoError) as caught, atomic_folder(tmp_path / "weights") as temporary:
        (temporary / "no" / "such").write_text("x")
    assert str(caught.value) == f"{tmp_path / 'weights'}: cannot be written: No such file or directory"


def test_a_folder_is_replaced_when_the_new_one_is_whole_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "weights"
    for text in ("one", "two"):
        with replaced_folder(target) as temporary:
            (temporary / "x").write_text(text)
    with pytest.raises(KeyboardInterrupt), replaced_folder(target) as temporary:
        (temporary / "x").write_text("half")
        raise KeyboardInterrupt
    assert (target / "x").read_text() == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def leave_behind(target: Path, kind: str) -> None:
    """Be killed while `target` is written, as a process without a chance to clean up is."""
    if os.fork() == 0:
        with {"file": atomic_path, "folder": atomic_folder}[kind](target) as temporary:
            (temporary if kind == "file" else temporary / "x").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.wait()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, and needs locks")
@pytest.mark.parametrize(("kind", "write"), [("file", atomic_path), ("folder", atomic_folder)])
def test_what_a_killed_process_left_goes_when_the_same_is_written_again(
    tmp_path: Path, kind: str, write: Callable[[Path], AbstractContextManager[Path]]
) -> None:
    target, other = tmp_path / "x.mp4", tmp_path / "y.mp4"
    leave_behind(target, kind)
    leave_behind(other, kind)
    of_other = max(tmp_path.iterdir(), key=lambda path: path.stat().st_ctime_ns)
    assert len(list(tmp_path.iterdir())) == 2
    with write(target):
        pass
    assert sorted(tmp_path.iterdir()) == sorted([of_other, target])


def test_of_two_that_write_the_same_neither_takes_what_the_other_has(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    with atomic_path(target) as one:
        one.write_text("one")
        with atomic_path(target) as two:
            two.write_text("two")
        assert (one.read_text(), target.read_text()) == ("one", "two")
    assert target.read_text() == "one"
    assert list(tmp_path.iterdir()) == [target]


def test_new_file_has_ordinary_permissions(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "x"):
        pass
    (tmp_path / "y").touch()
    assert os.stat(tmp_path / "x").st_mode == os.stat(tmp_path / "y").st_mode


def test_private_file_is_opened_to_others(tmp_path: Path) -> None:
    (tmp_path / "x").touch(0o600)
    (tmp_path / "y").touch()
    open_to_others(tmp_path / "x")
    assert os.stat(tmp_path / "x").st_mode == os.stat(tmp_path / "y").st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "y"]


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc" * 500_000)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(b"abc" * 500_000).hexdigest()
    with pytest.raises(XNeMoError, match="missing"):
        sha256_of(tmp_path / "missing")
