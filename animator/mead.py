"""MEAD (Wang et al. 2020): which of its clips are there, what they show, and what is missing.

Its folders are SUBJECT/video/CAMERA/EMOTION/level_N/TAKE.mp4, such as `M003/video/front/happy/level_1/001.mp4`; men are
called M and women W. Every emotion has three levels, but neutral has the first one only. The corpus comes in many
archives and is often unpacked in part: what is there is read, and what is not is said.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from animator.errors import XNeMoError
from animator.files import atomic_path
from animator.training.sources import VIDEO_SUFFIXES

CAMERAS = ("front", "down", "left_30", "left_60", "right_30", "right_60", "top")
EMOTIONS = ("angry", "contempt", "disgusted", "fear", "happy", "neutral", "sad", "surprised")
NEUTRAL = "neutral"
LEVELS = (1, 2, 3)

_COLUMNS = ("file", "clip_id", "kind", "identity", "split", "emotion", "intensity", "camera", "take")
_LEVEL = re.compile(r"level_([1-3])")
_SHOWN = 5  # take numbers that a line of the report lists


@dataclass(frozen=True, order=True)
class MeadClip:
    """One take.

    Attributes:
        subject: who, as the folder is called: M003, W009.
        camera: one of `CAMERAS`.
        emotion: one of `EMOTIONS`.
        level: 1 to 3, 1 for neutral.
        take: the name of the file, mostly a number.
        path: the file.
    """

    subject: str
    camera: str
    emotion: str
    level: int
    take: str
    path: Path

    @property
    def clip_id(self) -> str:
        """A name that no other take has."""
        return f"{self.subject}_{self.camera}_{self.emotion}_level_{self.level}_{self.take}"


@dataclass(frozen=True)
class Mead:
    """What a folder holds of the corpus.

    Attributes:
        folder: the folder that has the subjects' folders.
        clips: in order.
        missing: what the layout says should be there and is not, a line each.
        ignored: what is there and means nothing, a line each.
    """

    folder: Path
    clips: tuple[MeadClip, ...]
    missing: tuple[str, ...]
    ignored: tuple[str, ...]


def is_mead(folder: Path) -> bool:
    """Whether a folder has the layout: at least one SUBJECT/video/CAMERA."""
    return any(path.name in CAMERAS and path.is_dir() for path in folder.glob("*/video/*"))


def read_mead(folder: str | Path, cameras: Collection[str] = ("front",)) -> Mead:
    """Look through the corpus, or what there is of it.

    Args:
        folder: it has the subjects' folders.
        cameras: views that are wanted, of `CAMERAS`.
    Raises:
        XNeMoError: an unknown camera, another layout, or no clip of these cameras.
    """
    folder = Path(folder)
    unknown = sorted(set(cameras) - set(CAMERAS))
    if unknown or not cameras:
        raise XNeMoError(f"cameras={','.join(unknown) or '(none)'}: unknown; the cameras are {', '.join(CAMERAS)}")
    if not folder.is_dir() or not is_mead(folder):
        raise XNeMoError(f"{folder}: not MEAD; name the folder that has M003/video/front/happy/level_1/001.mp4")
    clips: list[MeadClip] = []
    missing: list[str] = []
    ignored: list[str] = []
    for subject in _folders(folder):
        if not (subject / "video").is_dir():
            missing.append(f"{subject.name}: no folder video")
            continue
        for camera in (camera for camera in CAMERAS if camera in cameras):
            view = subject / "video" / camera
            if not view.is_dir():
                missing.append(f"{subject.name}: no camera {camera}")
                continue
            found = list(_in_view(subject.name, view, ignored))
            clips += found
            missing += _gaps(f"{subject.name} {camera}", found)
    if not clips:
        raise XNeMoError(f"{folder}: no clips of the camera {' or '.join(cameras)}; choose others with cameras=[...]")
    return Mead(folder, tuple(sorted(clips)), tuple(missing), tuple(ignored))


def hold_out(subjects: Collection[str], share: float, seed: int = 0) -> set[str]:
    """Choose the people of the validation split: a share of the men and of the women, at least one person.

    The choice goes by a hash of the names, so it does not depend on the order in which archives were unpacked.

    Args:
        subjects: names such as M003.
        share: 0 to 1; 0 holds nobody out.
        seed: another one makes another choice.
    """

    def place(subject: str) -> bytes:
        return hashlib.sha256(f"{seed} {subject}".encode()).digest()

    chosen: set[str] = set()
    for _, group in groupby(sorted(set(subjects)), key=lambda subject: subject[:1]):
        people = sorted(group, key=place)
        chosen |= set(people[: round(share * len(people))])
    if not chosen and share > 0 and len(set(subjects)) > 1:
        chosen = {min(subjects, key=place)}
    return chosen


def write_manifest(mead: Mead, path: str | Path, share: float = 0.1, seed: int = 0) -> Path:
    """Write the table that `xnemo extract` and `xnemo prepare` read.

    Args:
        mead: the clips.
        path: the table; its column `file` is relative to where it lies.
        share: of the people, for validation.
        seed: of that choice.
    Raises:
        XNeMoError: it cannot be written.
    """
    path = Path(path)
    held_out = hold_out({clip.subject for clip in mead.clips}, share, seed)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        for clip in mead.clips:
            writer.writerow(
                {
                    "file": Path(os.path.relpath(clip.path.absolute(), path.absolute().parent)).as_posix(),
                    "clip_id": clip.clip_id,
                    "kind": "clip",
                    "identity": clip.subject,
                    "split": "validation" if clip.subject in held_out else "train",
                    "emotion": clip.emotion,
                    "intensity": clip.level,
                    "camera": clip.camera,
                    "take": clip.take,
                }
            )
    return path


def _in_view(subject: str, view: Path, ignored: list[str]) -> Iterator[MeadClip]:
    """The takes of one person from one side; what makes no sense is noted."""
    for emotion in _folders(view):
        where = f"{subject}/video/{view.name}/{emotion.name}"
        if emotion.name not in EMOTIONS:
            ignored.append(f"{where}: unknown emotion")
            continue
        for level in _folders(emotion):
            match = _LEVEL.fullmatch(level.name)
            if match is None or (emotion.name == NEUTRAL and match[1] != "1"):
                ignored.append(f"{where}/{level.name}: no level of {emotion.name}")
                continue
            for take in sorted(level.iterdir()):
                if take.suffix.lower() in VIDEO_SUFFIXES and take.is_file() and take.stat().st_size:
                    yield MeadClip(subject, view.name, emotion.name, int(match[1]), take.stem, take)
                elif not take.name.startswith("."):
                    ignored.append(f"{where}/{level.name}/{take.name}: no video, or an empty file")


def _gaps(name: str, clips: Sequence[MeadClip]) -> Iterator[str]:
    """What one person lacks from one side: emotions, levels, and take numbers below the highest."""
    for emotion in EMOTIONS:
        levels = {clip.level for clip in clips if clip.emotion == emotion}
        if not levels:
            yield f"{name}: no {emotion}"
            continue
        for level in LEVELS[:1] if emotion == NEUTRAL else LEVELS:
            takes = [clip.take for clip in clips if clip.emotion == emotion and clip.level == level]
            if not takes:
                yield f"{name}: no {emotion} level_{level}"
                continue
            there = {int(take) for take in takes if take.isdecimal()}
            lost = sorted(set(range(1, max(there, default=0) + 1)) - there)
            if lost:
                shown = ", ".join(f"{take:03d}" for take in lost[:_SHOWN]) + (", ..." if len(lost) > _SHOWN else "")
                yield f"{name}: {emotion} level_{level} lacks {len(lost)} of {max(there)} takes ({shown})"


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))
