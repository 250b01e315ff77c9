"""Files that were downloaded: recognise what is none, and bring what is on the Hugging Face hub."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from animator.asset_manifest import SOURCES, WeightFile, WeightSource, variants
from animator.errors import XNeMoError
from animator.files import sha256_of

_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")  # of UTF-8 and of the two orders of UTF-16
_HTML = (b"<!doctype", b"<!--", b"<html", b"<head", b"<?xml")
_LFS = b"version https://git-lfs"


def what_it_is_instead(path: Path) -> str | None:
    """Recognise what failed downloads leave under the name of a file of weights.

    Returns:
        What the file is, in words; None if it may be weights.
    Raises:
        XNeMoError: there is no such file, or it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(200)
    except OSError as error:
        raise XNeMoError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not head:
        return "is empty"
    text = head
    for mark in _MARKS:
        text = text.removeprefix(mark)
    # In UTF-16 every other byte of a page's beginning is zero.
    if text.replace(b"\0", b"").lstrip().lower().startswith(_HTML):
        return "is an HTML page and no weights; a page of the site was saved in place of the file"
    if head.startswith(_LFS):
        return "is a Git LFS pointer and no weights; the repository was cloned without git-lfs"
    return None


@dataclass(frozen=True)
class FileStatus:
    """What the disk has of one file of a source.

    Attributes:
        file: the entry of the list.
        path: the file that was found, one without a problem before others, or the place where it belongs.
        found: whether it, or a variant in another format or precision, is there.
        problem: why it cannot be used, in words; None if nothing speaks against it (checksums are not compared).
    """

    file: WeightFile
    path: Path
    found: bool
    problem: str | None


def source_status(source: WeightSource, home: Path) -> list[FileStatus]:
    """Look for every file of a source in the folder of released weights; sizes are compared, checksums are not."""
    return [_file_status(source, file, home) for file in source.files]


def is_complete(source: WeightSource, home: Path) -> bool:
    """Whether every file of a source is there and none has a problem."""
    return all(status.found and status.problem is None for status in source_status(source, home))


def _file_status(source: WeightSource, file: WeightFile, home: Path) -> FileStatus:
    wanted = source.path_of(file, home)
    there = [
        FileStatus(file, path, found=True, problem=_problem(file, path, path == wanted))
        for path in variants(wanted)
        if path.is_file()
    ]
    missing = FileStatus(file, wanted, found=False, problem=None)
    return next((status for status in there if status.problem is None), there[0] if there else missing)


def _problem(file: WeightFile, path: Path, listed: bool) -> str | None:
    """What speaks against a file; `listed` says that it is the one of the list, whose size is known."""
    problem = what_it_is_instead(path)
    size = path.stat().st_size
    if problem is None and listed and file.size not in (None, size):
        return f"has {size:,} of {file.size:,} bytes"
    return problem


def fetch(source: WeightSource, home: Path) -> Iterator[Path]:
    """Bring the files of a source that are not there yet, one after the other.

    Args:
        source: a value of `SOURCES`.
        home: folder of all released weights; it is looked into first.
    Yields:
        The path of each file, as soon as it is there.
    Raises:
        XNeMoError: the source is not on the hub, the hub cannot be reached, or a file has another checksum. The message
            says which file to put where.
    """
    for status in source_status(source, home):
        if status.found and status.problem is None:
            yield status.path
        else:
            yield _download(source, status.file, home)


def _download(source: WeightSource, file: WeightFile, home: Path) -> Path:
    """Let huggingface_hub download one file: it knows the user's token, proxy and mirror, and resumes."""
    if source.repository is None:
        names = ", ".join(file.path for file in source.files)
        raise XNeMoError(
            f"{source.name} is not on the hub: open {source.page} in a browser and put {names} into "
            f"{home / source.folder}"
        )
    # Imported here: it takes a second, and is needed for nothing but this.
    from huggingface_hub import hf_hub_download

    target = source.path_of(file, home)
    _clear(target)
    try:
        hf_hub_download(
            source.repository,
            file.path,
            local_dir=home / source.folder,
            endpoint=os.environ.get("HF_ENDPOINT"),
        )
    except Exception as error:  # proxies, timeouts and protocols fail with classes that share no other base
        raise XNeMoError(
            f"{file.path}: cannot be downloaded ({_first_sentence(error)}); on a machine with network fetch "
            f"{source.url_of(file)} and put it at {target}"
        ) from error
    found = sha256_of(target)
    if file.sha256 not in (None, found):
        # It has the right name, and often the right size: left there, it would be taken for whole.
        target.unlink()
        raise XNeMoError(
            f"{file.path}: what came has sha256 {found}, expected {file.sha256}, and was removed; try again, or fetch "
            f"{source.url_of(file)} by hand and put it at {target}"
        )
    return target


def _clear(target: Path) -> None:
    """Remove what cannot be used: lying there, it would be taken for the download, or before it."""
    for path in variants(target):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise XNeMoError(f"{path}: damaged, and cannot be removed: {error.strerror or error}") from error


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split(". ")[0][:200]


def named_sources(names: list[str]) -> list[WeightSource]:
    """Sources by name; without names those of the hub that the released model needs.

    Raises:
        XNeMoError: there is no source of that name.
    """
    for name in names:
        if name not in SOURCES:
            raise XNeMoError(f"{name}: no such source of weights; there are {', '.join(SOURCES)}")
    if names:
        return [SOURCES[name] for name in names]
    return [source for source in SOURCES.values() if source.purpose == "release" and source.repository is not None]
