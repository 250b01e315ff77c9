"""Files on disk: whole or not at all, and their checksums."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from animator.errors import XNeMoError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary file to write; it becomes `path` only when the block ends well.

    Missing parent folders are created. The temporary file exists (empty) from the start, in the folder of `path` and
    with its suffix, so that a folder that cannot be written is reported before any work is done. When the block
    fails, the temporary file and the folders made for it are removed and an older `path` stays as it was. What a
    process left that was killed in such a block is removed when the same `path` is written again.

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
    with _hidden(target, folder=False) as temporary:
        yield temporary
        os.replace(temporary, target)


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
    with _hidden(target, folder=True) as temporary:
        yield temporary
        if target.exists():
            target.rmdir()
        temporary.rename(target)


@contextmanager
def replaced_folder(path: str | Path) -> Iterator[Path]:
    """Like `atomic_folder`, but a folder that is there goes in the moment when the new one is whole.

    Whoever calls has seen that what is there may be replaced.
    """
    target = Path(path)
    with _hidden(target, folder=True) as temporary:
        yield temporary
        if not target.exists():
            temporary.rename(target)
            return
        with _hidden(target, folder=True) as old:
            old.rmdir()
            target.rename(old)
            try:
                temporary.rename(target)
            except BaseException:
                old.rename(target)
                raise
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _hidden(target: Path, folder: bool) -> Iterator[Path]:
    """Make a hidden file or folder beside `target` for the block; it is removed, with its new parents, if that fails.

    Raises:
        XNeMoError: any OSError, or a library's word for one, in one line that names the target.
    """
    made: list[Path] = []
    temporary: Path | None = None
    lock: int | None = None
    try:
        _make_parents(target, made)
        temporary, lock = _claim(target, folder)
        yield temporary
    except BaseException as error:
        if temporary is not None:
            _remove(temporary)
        with suppress(OSError):
            for parent in reversed(made):
                parent.rmdir()  # fails, and stops here, where someone else put a file in meanwhile
        if isinstance(error, OSError | SafetensorError):
            raise XNeMoError(_os_message(error, target)) from error
        raise
    finally:
        if lock is not None:
            os.close(lock)


_HIDDEN = ".xnemo-"
_NAMES = 4  # hidden names of one target: more processes that write it at once take names of chance


def _claim(target: Path, folder: bool) -> tuple[Path, int | None]:
    """Make a hidden file or folder that is this process's alone, and remove those that no living process has.

    Names follow from the target's, so that the next process to write it finds what was left. A lock tells who lives:
    the kernel takes it away from a process that ends, in whatever way.

    Returns:
        Its path, and the open lock; None where the file system has no locks, and nothing is removed.
    """
    ours: tuple[Path, int | None] | None = None
    of_target = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:11]
    for number in range(_NAMES if fcntl is not None else 0):
        path = target.with_name(f"{_HIDDEN}{of_target}{number:x}{target.suffix}")
        _remove_abandoned(path)
        if ours is None:
            with suppress(FileExistsError):
                lock = _locked(_make(path, folder))
                if lock is None:
                    _remove(path)
                    break
                ours = path, lock
    if ours is None:
        ours = _make(target.with_name(f"{_HIDDEN}{secrets.token_hex(6)}{target.suffix}"), folder), None
    return ours


def _make(path: Path, folder: bool) -> Path:
    """Make what must not be there yet."""
    if folder:
        path.mkdir()
    else:
        # "x" and not tempfile.mkstemp: the finished file shall have the permissions of any other file of the user.
        with open(path, "xb"):
            pass
    return path


def _remove(path: Path) -> None:
    """Remove a file or folder, as far as that goes."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _remove_abandoned(path: Path) -> None:
    """Remove a hidden file or folder whose process has ended."""
    lock = _locked(path)
    if lock is not None:
        _remove(path)
        os.close(lock)


def _locked(path: Path) -> int | None:
    """Lock a file or folder until the descriptor is closed; None where it is not there, or another process has it."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between the two calls somebody else may have found it without a lock, and removed it.
        if os.path.samestat(os.fstat(lock), os.lstat(path)):
            return lock
    except OSError:
        pass
    os.close(lock)
    return None


def _make_parents(target: Path, made: list[Path]) -> None:
    """Create missing parent folders and note them in `made` one by one, so that they can be removed again."""
    for folder in reversed([p for p in (target.parent, *target.parent.parents) if not p.exists()]):
        folder.mkdir(exist_ok=True)
        made.append(folder)


def _os_message(error: OSError | SafetensorError, target: Path) -> str:
    """Say what went wrong with `target`, or with the other file that the error names."""
    if isinstance(error, SafetensorError):  # its own word for what the disk said
        return f"{target}: cannot be written: {error}"
    reason = error.strerror or str(error)
    other = error.filename
    if isinstance(other, bytes):
        other = os.fsdecode(other)
    ours = other in {None, "", str(target)}
    inside = isinstance(other, str) and other.startswith(str(target.with_name(_HIDDEN)))
    if ours or inside or error.filename2 is not None:
        return f"{target}: cannot be written: {reason}"
    if isinstance(other, str) and str(target).startswith(other.rstrip(os.sep) + os.sep):
        return f"{target}: cannot be written: {other}: {reason}"
    return f"{other}: {reason} (while writing {target})"


def open_to_others(path: Path) -> None:
    """Give a file the permissions that any new file of the user has; some libraries keep theirs private."""
    probe = path.with_name(f"{_HIDDEN}{secrets.token_hex(6)}")
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
