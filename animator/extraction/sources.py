"""Which clips a motion dataset is made of, who is in them, and in which split these people are."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from animator.dataset_format import SPLITS
from animator.errors import XNeMoError
from animator.training.sources import find_sources

_NAME = re.compile(r"[^/\\\x00-\x1f][^\\\x00-\x1f]{0,199}")


@dataclass(frozen=True)
class ClipSource:
    """One video that becomes a clip of a dataset.

    Attributes:
        path: the video.
        clip_id: its name in the dataset, unique.
        identity: who is shown.
        split: "train", "validation", or None where it shall follow from the identity.
        emotion, intensity: labels, None where there are none.
    """

    path: Path
    clip_id: str
    identity: str
    split: str | None = None
    emotion: str | None = None
    intensity: int | None = None


def list_clips(source: Path) -> list[ClipSource]:
    """The clips of a folder or a manifest, ordered by name.

    In a folder the first sub-folder is the identity (as in VoxCeleb), and a video that lies directly in it is a person
    of its own. A manifest is a CSV table with the columns `file` (relative to the manifest) and `identity`, and if
    wanted `split`, `emotion`, `intensity` and `clip_id` (else a clip is called as its file); where it has a column
    `kind`, rows of another kind than "clip" are passed over. Empty fields are unknown.

    Raises:
        XNeMoError: nothing is there, it holds no videos, a row makes no sense, or two clips would have one name.
    """
    if not source.exists():
        raise XNeMoError(f"{source}: no such file or folder; name a folder of videos or a manifest.csv")
    if source.is_dir():
        clips = [ClipSource(found.path, found.name, found.identity) for found in find_sources([source])]
    else:
        clips = _in_manifest(source)
    by_name: dict[str, ClipSource] = {}
    for clip in clips:
        other = by_name.setdefault(clip.clip_id, clip)
        if other is not clip:
            raise XNeMoError(f"{clip.path} and {other.path} would both be called {clip.clip_id}; rename one of them")
    return [by_name[name] for name in sorted(by_name)]


def assign_splits(clips: Sequence[ClipSource], known: Mapping[str, str], share: float, seed: int) -> dict[str, str]:
    """The split of every person.

    What the source says comes first, then where the person is already (`known`). Of the others a share is held out,
    chosen by a hash of their name, so that the choice does not change when people are added; if it would fall on
    nobody and nobody is held out otherwise, the one with the smallest hash is (unless there is only one).

    Args:
        clips: all clips.
        known: identity -> split, of people who are in the dataset already.
        share: of the people, 0 to 1; 0 holds nobody out.
        seed: another one makes another choice.
    Raises:
        XNeMoError: the source says both splits of one person.
    """
    given: dict[str, ClipSource] = {}
    for clip in clips:
        if clip.split is not None:
            first = given.setdefault(clip.identity, clip)
            if first.split != clip.split:
                raise XNeMoError(
                    f"identity {clip.identity} is in both splits ({first.path.name} in {first.split}, {clip.path.name} "
                    f"in {clip.split}); a person belongs to one"
                )
    splits = dict(known) | {identity: clip.split for identity, clip in given.items() if clip.split is not None}

    def place(identity: str) -> float:
        return int.from_bytes(hashlib.sha256(f"{seed} {identity}".encode()).digest()[:8], "big") / 2**64

    free = sorted({clip.identity for clip in clips} - splits.keys(), key=place)
    held_out = {identity for identity in free if place(identity) < share}
    if not held_out and share > 0 and "validation" not in splits.values() and len(free) + len(splits) > 1:
        held_out = set(free[:1])
    return splits | {identity: "validation" if identity in held_out else "train" for identity in free}


def _in_manifest(manifest: Path) -> list[ClipSource]:
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            columns = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise XNeMoError(f"{manifest}: cannot be read as a manifest: {error}") from error
    missing = [column for column in ("file", "identity") if column not in columns]
    if missing:
        raise XNeMoError(f"{manifest}: not a manifest of clips: it has no column {' and no column '.join(missing)}")
    clips = [
        _from_row(manifest, number, row) for number, row in enumerate(rows, 2) if row.get("kind", "clip") == "clip"
    ]
    if not clips:
        raise XNeMoError(f"{manifest}: names no clips")
    return clips


def _from_row(manifest: Path, number: int, row: Mapping[str, str | None]) -> ClipSource:
    missing = [column for column in ("file", "identity") if not row[column]]
    if missing:
        raise XNeMoError(f"{manifest}: row {number} has no {' and no '.join(missing)}")
    split, intensity = row.get("split") or None, row.get("intensity") or None
    if split is not None and split not in SPLITS:
        raise XNeMoError(f"{manifest}: row {number} has the split {split!r}; {' or '.join(SPLITS)} is meant")
    if intensity is not None and not intensity.isdecimal():
        raise XNeMoError(f"{manifest}: row {number} has the intensity {intensity!r}; a whole number is meant")
    path = manifest.parent / str(row["file"])
    clip_id = row.get("clip_id") or path.stem
    # Files of the dataset are called so.
    if not _NAME.fullmatch(clip_id) or ".." in clip_id.split("/"):
        raise XNeMoError(f"{manifest}: row {number} has the clip_id {clip_id!r}, which is no name for a file")
    return ClipSource(
        path,
        clip_id,
        str(row["identity"]),
        split,
        row.get("emotion") or None,
        None if intensity is None else int(intensity),
    )
