"""Files on disk: whole or not at all, and their checksums."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from animator.errors import XNeMoError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary file to write; it becomes `path` only when the block ends well.

    Missing parent folders are created. The temporary file exists (empty) from the start, in the folder of `path` and
    with its suffix, so that a folder that cannot be written is reported before any work is done. When the block
    fails, the temporary file and the folders made for it are removed and an older `path` stays as it was.

    Args:
        path: where the finished file belongs; an existing file is replaced.
    Yields:
        The temporary path.
    Raises:
        XNeMoError: the folder or file cannot be created, written or renamed (any OSError, in one line).
    """
    target = Path(path)
    if target.is_dir():
        raise XNeMoError(f"{target}: is a folder; name a file to write")
    made: list[Path] = []
    temporary = target.parent / f".xnemo-{secrets.token_hex(6)}{target.suffix}"
    try:
        _make_parents(target, made)
        # "x" and not tempfile.mkstemp: the finished file shall have the permissions of any other file of the user.
        with open(temporary, "xb"):
            pass
        yield temporary
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
            for folder in reversed(made):
                folder.rmdir()  # fails, and stops here, where someone else put a file in meanwhile
        if isinstance(error, OSError):
            raise XNeMoError(_os_message(error, target, temporary)) from error
        raise


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder to fill; it becomes `path` only when the block ends well.

    Otherwise like `atomic_path`, but for this: nothing is replaced, because a folder may hold what took days.

    Args:
        path: where the finished folder belongs; it must not exist, or be empty.
    Yields:
        The temporary path.
    Raises:
        XNeMoError: something is there already, or the folder or a file in it cannot be created or written.
    """
    target = Path(path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise XNeMoError(f"{target}: exists already; name a new folder, or remove it first")
    made: list[Path] = []
    temporary = target.parent / f".xnemo-{secrets.token_hex(6)}"
    try:
        _make_parents(target, made)
        temporary.mkdir()
        yield temporary
        if target.exists():
            target.rmdir()
        temporary.rename(target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):
            for folder in reversed(made):
                folder.rmdir()
        if isinstance(error, OSError):
            raise XNeMoError(_os_message(error, target, temporary)) from error
        raise


def _make_parents(target: Path, made: list[Path]) -> None:
    """Create missing parent folders and note them in `made` one by one, so that they can be removed again."""
    for folder in reversed([p for p in (target.parent, *target.parent.parents) if not p.exists()]):
        folder.mkdir(exist_ok=True)
        made.append(folder)


def _os_message(error: OSError, target: Path, temporary: Path) -> str:
    """Say what went wrong with `target`, or with the other file that the error names."""
    reason = error.strerror or str(error)
    other = error.filename
    if isinstance(other, bytes):
        other = os.fsdecode(other)
    ours = other in {None, "", str(temporary), str(target)}
    inside = isinstance(other, str) and other.startswith(f"{temporary}{os.sep}")
    if ours or inside or error.filename2 is not None:
        return f"{target}: cannot be written: {reason}"
    if isinstance(other, str) and str(target).startswith(other.rstrip(os.sep) + os.sep):
        return f"{target}: cannot be written: {other}: {reason}"
    return f"{other}: {reason} (while writing {target})"


def open_to_others(path: Path) -> None:
    """Give a file the permissions that any new file of the user has; some libraries keep theirs private."""
    probe = path.with_name(f".xnemo-{secrets.token_hex(6)}")
    probe.touch()
    try:
        shutil.copymode(probe, path)
    finally:
        probe.unlink()


def sha256_of(path: str | Path) -> str:
    """Hash a file's bytes, in pieces, so that size does not matter.

    Returns:
        64 lower-case hexadecimal digits.
    Raises:
        XNeMoError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise XNeMoError(f"{path}: cannot be read: {error.strerror or error}") from error
