"""Folder layouts of the corpora that the field trains on: who is shown, from where, and how, from the paths alone.

- HDTF (Zhang et al. 2021): `WDA_NancyPelosi1_000.mp4` is kind of talk, speaker, number of the talk, number of the clip.
- VFHQ (Xie et al. 2022): `Clip+VIDEO+P0+C1+F575-769`, a folder of pictures or a video, is the first person of a video.
- NeRSemble (Kirschstein et al. 2023): `017/sequences/EMO-1-shout+laugh/images/cam_220700191.mp4` is person, emotion and
  camera.
- MEAD (Wang et al. 2020): `M003/video/front/happy/level_1/001.mp4` is person, camera, emotion, intensity and take.

A folder on the way that is called train, test, val or the like says the split. Corpora are mostly unpacked in part:
what is there is taken, and what its neighbours let one expect is reported.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from animator.errors import XNeMoError
from animator.mead import is_mead, read_mead
from animator.training.sources import VIDEO_SUFFIXES, Source, check_names, check_splits, find_sources

PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
AUTO, PLAIN = "auto", "plain"

_SPLIT = re.compile(r"(?:^|[-_ ])(train|training|test|val|valid|validation)(?:$|[-_ ])", re.IGNORECASE)
_HDTF = re.compile(r"(RD|WDA|WRA)_(.+?)(\d*)(?:_(\d{3,}))?")
_VFHQ = re.compile(r"Clip\+([\w-]{11})\+P(\d+)\+C(\d+)\+F(\d+)-(\d+).*")
_EMOTION = re.compile(r"EMO-\d+-(.+)")
_SHOWN = 5  # names that a line of the report lists


@dataclass(frozen=True)
class Found:
    """The clips of some sources.

    Attributes:
        sources: in order.
        missing: what the layouts let one expect and is not there, a line each.
        ignored: what is there and means nothing, a line each.
    """

    sources: tuple[Source, ...]
    missing: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def find_clips(paths: Sequence[Path], layout: str = AUTO, cameras: Collection[str] = ()) -> Found:
    """List the clips of videos, manifests, and folders of a certain layout.

    Args:
        paths: as for `animator.training.sources.find_sources`.
        layout: of the folders, one of `LAYOUTS`; "plain" is a folder of people's folders, "auto" looks at the names.
        cameras: views that are taken, where a layout has several; none is MEAD's front, and all of NeRSemble.
    Raises:
        XNeMoError: as `find_sources`; a folder has not the layout, or none of the cameras; a person is in both splits.
    """
    sources: list[Source] = []
    missing: list[str] = []
    ignored: list[str] = []
    for path in paths:
        reader = _reader(path, layout) if path.is_dir() else None
        found = Found(tuple(find_sources([path]))) if reader is None else reader(path, cameras)
        sources += found.sources
        missing += found.missing
        ignored += found.ignored
    check_names(sources)
    check_splits(sources)
    return Found(tuple(sources), tuple(missing), tuple(ignored))


Reader = Callable[[Path, Collection[str]], Found]


def _reader(folder: Path, layout: str) -> Reader | None:
    """Who reads a folder; None where it is a plain one."""
    if layout == AUTO:
        return next((reader for fits, reader in _READERS.values() if fits(folder)), None)
    if layout == PLAIN:
        return None
    return _READERS[layout][1]


def _videos(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not path.name.startswith("."):
            yield path


def _split_of(file: Path) -> str | None:
    """What the folders of a path say; the innermost counts."""
    for part in reversed(file.parts[:-1]):
        match = _SPLIT.search(part)
        if match:
            return "train" if match[1].lower().startswith("train") else "validation"
    return None


def _is_hdtf(folder: Path) -> bool:
    names = [path.stem for path in _videos(folder)]
    return bool(names) and all(_HDTF.fullmatch(name) for name in names)


def _read_hdtf(folder: Path, cameras: Collection[str]) -> Found:
    """HDTF. Speakers of several talks are numbered (`NancyPelosi0`, `NancyPelosi1`) and are one person; of the radio
    talks (`RD_Radio12`) the names say nothing of who speaks, so each is a person of its own."""
    _no_cameras("HDTF", cameras)
    sources, ignored = [], []
    cuts: dict[str, set[int]] = defaultdict(set)
    for video in _videos(folder):
        match = _HDTF.fullmatch(video.stem)
        file = video.relative_to(folder)
        if match is None:
            ignored.append(f"{file.as_posix()}: not named as in HDTF, such as WDA_NancyPelosi1_000.mp4")
            continue
        kind, name, talk, cut = match.groups()
        identity = f"{name}{talk}" if kind == "RD" else name
        if cut is not None:
            cuts[f"{kind}_{name}{talk}"].add(int(cut))
        sources.append(Source(video, video.stem, identity, _split_of(file), file.as_posix(), "hdtf"))
    missing = []
    for talk, there in sorted(cuts.items()):
        lost = [f"{number:03d}" for number in range(max(there)) if number not in there]
        if lost:
            missing.append(f"{talk}: lacks {_listed(lost)}")
    return _checked(folder, "HDTF", "WDA_NancyPelosi1_000.mp4", Found(tuple(sources), tuple(missing), tuple(ignored)))


def _vfhq_clips(folder: Path) -> Iterator[Path]:
    """Folders of pictures and videos whose names begin as VFHQ's do."""
    return (path for path in sorted(folder.rglob("Clip+*")) if path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES)


def _is_vfhq(folder: Path) -> bool:
    return next(_vfhq_clips(folder), None) is not None


def _read_vfhq(folder: Path, cameras: Collection[str]) -> Found:
    """VFHQ. A person is one of a video of YouTube's; the same person in another video has another name."""
    _no_cameras("VFHQ", cameras)
    sources, missing, ignored = [], [], []
    for path in _vfhq_clips(folder):
        file = path.relative_to(folder)
        name = path.name if path.is_dir() else path.stem
        match = _VFHQ.fullmatch(name)
        if match is None:
            ignored.append(f"{file.as_posix()}: not named as in VFHQ, such as Clip+0123456789a+P0+C1+F575-769")
            continue
        if path.is_dir():
            pictures = len(pictures_in(path))
            if not pictures:
                missing.append(f"{file.as_posix()}: no pictures")
                continue
            # The range names the first frame and the last, or the one after it.
            wanted = int(match[5]) - int(match[4])
            if pictures < wanted:
                missing.append(f"{file.as_posix()}: {pictures} of {wanted} pictures")
        sources.append(Source(path, name, f"{match[1]}_P{match[2]}", _split_of(file), file.as_posix(), "vfhq"))
    return _checked(
        folder, "VFHQ", "Clip+0123456789a+P0+C1+F575-769", Found(tuple(sources), tuple(missing), tuple(ignored))
    )


def pictures_in(folder: Path) -> list[Path]:
    """The pictures that lie directly in a folder, by name."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())


def _nersemble_videos(folder: Path) -> Iterator[Path]:
    return folder.glob("*/sequences/*/images*/cam_*.mp4")


def _is_nersemble(folder: Path) -> bool:
    return next(_nersemble_videos(folder), None) is not None


def _read_nersemble(folder: Path, cameras: Collection[str]) -> Found:
    """NeRSemble. Emotions are in pairs as the sequences are called (`surprise+fear`); there are no intensities."""
    sources = []
    seen: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for video in sorted(_nersemble_videos(folder)):
        file = video.relative_to(folder)
        person, _, sequence, *_ = file.parts
        camera = video.stem.removeprefix("cam_")
        if not video.stat().st_size:
            continue
        seen[person][sequence].add(camera)
        if cameras and camera not in cameras:
            continue
        emotion = _EMOTION.fullmatch(sequence)
        sources.append(
            Source(
                video,
                f"{person}_{sequence}_{camera}",
                person,
                None,
                file.as_posix(),
                "nersemble",
                camera,
                None if emotion is None else emotion[1],
            )
        )
    expected = set(cameras) or {
        camera for views in seen.values() for cameras_there in views.values() for camera in cameras_there
    }
    missing = list(_gaps(seen, expected))
    example = "017/sequences/EMO-1-shout+laugh/images/cam_220700191.mp4"
    return _checked(folder, "NeRSemble", example, Found(tuple(sources), tuple(missing)), cameras)


def _gaps(seen: dict[str, dict[str, set[str]]], cameras: set[str]) -> Iterator[str]:
    """What people lack of the sequences that somebody has, and sequences of the cameras."""
    sequences = {sequence for there in seen.values() for sequence in there}
    for person, there in sorted(seen.items()):
        lost = sorted(sequences - there.keys())
        if lost:
            yield f"{person}: no {_listed(lost)}"
        for sequence, views in sorted(there.items()):
            unseen = sorted(cameras - views)
            if unseen:
                yield f"{person} {sequence}: lacks the camera {_listed(unseen)}"


def _read_mead(folder: Path, cameras: Collection[str]) -> Found:
    mead = read_mead(folder, cameras or ("front",))
    sources = [
        Source(
            clip.path,
            clip.clip_id,
            clip.subject,
            None,
            clip.path.relative_to(folder).as_posix(),
            "mead",
            clip.camera,
            clip.emotion,
            clip.level,
        )
        for clip in mead.clips
    ]
    return Found(tuple(sources), mead.missing, mead.ignored)


def _checked(folder: Path, corpus: str, example: str, found: Found, cameras: Collection[str] = ()) -> Found:
    if not found.sources:
        wanted = f"no clips of the camera {' or '.join(cameras)} here; leave cameras out, or" if cameras else "not"
        raise XNeMoError(f"{folder}: {wanted} {corpus}; name the folder that has {example}, or choose layout=plain")
    return found


def _no_cameras(corpus: str, cameras: Collection[str]) -> None:
    if cameras:
        raise XNeMoError(f"cameras={','.join(cameras)}: {corpus} has one view of everything; leave cameras out")


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


_READERS: dict[str, tuple[Callable[[Path], bool], Reader]] = {
    "mead": (is_mead, _read_mead),
    "nersemble": (_is_nersemble, _read_nersemble),
    "vfhq": (_is_vfhq, _read_vfhq),
    "hdtf": (_is_hdtf, _read_hdtf),
}
LAYOUTS = (AUTO, PLAIN, *_READERS)
