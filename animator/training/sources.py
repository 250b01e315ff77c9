"""Which clips there are to prepare: videos, folders of videos, and manifests."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from animator.errors import XNeMoError

VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts"}
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Source:
    """One clip to prepare.

    Attributes:
        path: the video, or a folder of pictures.
        name: of its part file, unique in a crops folder.
        identity: who is shown; people never lie in both splits.
        split: "train", "validation", or None where it shall follow from the identity.
        file: the path as the source names it, relative to the folder or manifest.
        dataset: name of the layout, empty where it is a plain folder, a manifest or a video.
        camera, emotion, intensity: what the source says, None where it says nothing.
    """

    path: Path
    name: str
    identity: str
    split: str | None
    file: str = ""
    dataset: str = ""
    camera: str | None = None
    emotion: str | None = None
    intensity: int | None = None

    def __str__(self) -> str:
        """The path, which begins messages about the clip."""
        return str(self.path)


def find_sources(paths: Sequence[Path]) -> list[Source]:
    """List the clips that videos, folders and manifests name.

    In a folder the first sub-folder is the identity (as in VoxCeleb), and a video that lies directly in it is a
    person of its own. A manifest has the columns `file` (relative to the manifest) and `identity`, if wanted `split`,
    `clip_id` (else a clip is called as its file), `camera`, `emotion` and `intensity`, and where it has a column
    `kind`, rows of another kind than "clip" are left out. Empty fields are unknown.

    Raises:
        XNeMoError: a path is not there or holds no videos, a manifest lacks a column or names an unknown split, or two
            clips would have one name.
    """
    found: list[Source] = []
    for path in paths:
        if path.is_dir():
            found += _in_folder(path)
        elif path.suffix.lower() == ".csv":
            found += _in_manifest(path)
        elif path.exists():
            found.append(Source(path, path.stem, path.stem, None, path.name))
        else:
            raise XNeMoError(f"{path}: no such file or folder; name videos, folders of videos or a manifest.csv")
    check_names(found)
    return found


def check_names(sources: Sequence[Source]) -> None:
    """See that no two clips have one name.

    Raises:
        XNeMoError: two have.
    """
    by_name: dict[str, Source] = {}
    for source in sources:
        other = by_name.setdefault(source.name, source)
        if other is not source:
            raise XNeMoError(f"{source.path} and {other.path} would both be called {source.name}; rename one of them")


def check_splits(sources: Sequence[Source]) -> None:
    """See that nobody is in both splits.

    Raises:
        XNeMoError: somebody is.
    """
    given: dict[str, Source] = {}
    for source in sources:
        if source.split is not None and given.setdefault(source.identity, source).split != source.split:
            first = given[source.identity]
            raise XNeMoError(
                f"identity {source.identity} is in both splits ({first.path} in {first.split}, {source.path} in "
                f"{source.split}); a person belongs to one: move the clips, or say it in a manifest"
            )


def _in_folder(folder: Path) -> list[Source]:
    videos = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
    if not videos:
        raise XNeMoError(f"{folder}: no videos in this folder")
    sources = []
    for video in videos:
        file = video.relative_to(folder)
        parts = file.with_suffix("").parts
        sources.append(Source(video, "_".join(parts), parts[0], None, file.as_posix()))
    return sources


def _in_manifest(manifest: Path) -> list[Source]:
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise XNeMoError(f"{manifest}: cannot be read as a manifest: {error}") from error
    sources = []
    for number, row in enumerate(rows, 2):
        if row.get("kind", "clip") != "clip":
            continue
        sources.append(_from_row(manifest, number, row))
    if not sources:
        raise XNeMoError(f"{manifest}: names no clips")
    return sources


def _from_row(manifest: Path, number: int, row: dict[str, str]) -> Source:
    missing = [column for column in ("file", "identity") if not row.get(column)]
    if missing:
        raise XNeMoError(f"{manifest}: row {number} has no {' and no '.join(missing)}")
    split, intensity = row.get("split") or None, row.get("intensity") or None
    if split is not None and split not in SPLITS:
        raise XNeMoError(f"{manifest}: row {number} has the split {split!r}; {' or '.join(SPLITS)} is meant")
    if intensity is not None and not intensity.isdecimal():
        raise XNeMoError(f"{manifest}: row {number} has the intensity {intensity!r}; a whole number is meant")
    path = manifest.parent / row["file"]
    return Source(
        path,
        row.get("clip_id") or path.stem,
        row["identity"],
        split,
        row["file"],
        camera=row.get("camera") or None,
        emotion=row.get("emotion") or None,
        intensity=None if intensity is None else int(intensity),
    )
