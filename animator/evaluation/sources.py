"""Which clips and portraits are measured: files, folders, or the rows of a manifest."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from animator.errors import XNeMoError
from animator.training.sources import VIDEO_SUFFIXES

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class Item:
    """A clip or a portrait.

    Attributes:
        path: the file.
        note: what a manifest's column `note` says it shows (photo, painting, ...); empty if unknown.
    """

    path: Path
    note: str = ""

    @property
    def name(self) -> str:
        """The file's name without suffix, which no other of the same kind has."""
        return self.path.stem


def find_items(paths: Sequence[Path], kind: str, split: str) -> list[Item]:
    """List the clips or portraits that files, folders and manifests name, by name.

    A manifest is a CSV with columns `file` (relative to it), `kind` and `split`, and `note` if there is one; a folder
    that holds `manifest.csv` means that manifest. Of any other folder all videos or pictures are taken, its subfolders'
    too.

    Args:
        paths: what the user named.
        kind: "clip" or "portrait".
        split: which rows of a manifest; "all" for every one.
    Raises:
        XNeMoError: a path is not there, holds nothing of the kind, a manifest is none, or two files have one name.
    """
    suffixes = VIDEO_SUFFIXES if kind == "clip" else PICTURE_SUFFIXES
    found: list[Item] = []
    for path in paths:
        manifest = path / MANIFEST if path.is_dir() else path
        if manifest.suffix.lower() == ".csv" and manifest.is_file():
            found += _of_manifest(manifest, kind, split)
        elif path.is_dir():
            inside = [Item(file) for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file()]
            if not inside:
                raise XNeMoError(f"{path}: no {kind} in this folder")
            found += inside
        elif path.is_file():
            found.append(Item(path))
        else:
            raise XNeMoError(f"{path}: no such file or folder; name files, a folder or a manifest.csv")
    names: dict[str, Path] = {}
    for item in found:
        other = names.setdefault(item.name, item.path)
        if other != item.path:
            raise XNeMoError(f"{item.path} and {other} would both be called {item.name}; rename one of them")
    return sorted({item.path: item for item in found}.values(), key=lambda item: item.path.name)


def models_beside(paths: Sequence[Path]) -> list[Path]:
    """Folders `models` beside the manifests that the user named, which may hold the measuring networks."""
    folders = [path if path.is_dir() else path.parent for path in paths]
    return [
        folder / "models"
        for folder, path in zip(folders, paths, strict=True)
        if (path.suffix.lower() == ".csv" or (folder / MANIFEST).is_file()) and (folder / "models").is_dir()
    ]


def _of_manifest(manifest: Path, kind: str, split: str) -> list[Item]:
    try:
        with manifest.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["kind"] == kind and split in (row["split"], "all")]
        items = [Item(manifest.parent / row["file"], row.get("note") or "") for row in rows]
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise XNeMoError(f"{manifest}: not a manifest with file, kind and split ({error})") from error
    if not items:
        raise XNeMoError(
            f"{manifest}: holds no {kind} of split {split}; split=NAME chooses another, split=all every one"
        )
    for item in items:
        if not item.path.is_file():
            raise XNeMoError(f"{item.path}: no such file, but {manifest} lists it")
    return items
