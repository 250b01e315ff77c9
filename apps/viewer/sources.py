"""Where takes come from: the bundled example, what the viewer was started with, motion datasets, uploads.

A take that anybody can open again has a key that says how: `example-NAME`, `file`, or `clip:CLIP_ID` of the motion
dataset that the viewer was started with. Uploads belong to one browser session and are checked by what is in them.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import streamlit as st

from animator.errors import XNeMoError
from apps.viewer import networks
from apps.viewer.server import settings, started
from apps.viewer.session import MAX_TAKES
from apps.viewer.takes import Take, from_motion, from_tokens
from apps.viewer.warm import slow_imports

if TYPE_CHECKING:
    from animator.dataset import MotionDataset
    from apps.viewer.session import Session
    from motion_tokenizer.edit_file import SavedHistory

EXAMPLE = Path(__file__).resolve().parent / "example"
CLIP = "clip:"
FILE = "file"

Kind = Literal["video", "picture", "motion", "tokens", "edits"]
_LEAST_BYTES = 16
# How a history of edits begins, as it is written and with its keys in the order of the alphabet; no token file does.
_EDITS = re.compile(rb'\s*\{\s*("edits"\s*:\s*\[|"schema"\s*:\s*\d+\s*,\s*"tokens"\s*:\s*\{)')


@dataclass(frozen=True)
class Example:
    """A take that comes with the viewer: real motion, or motion that was made up, on the astronaut.

    Attributes:
        key: of the take.
        name: of the take.
        file: its motion or tokens.
        frames: its pictures.
        poster: one of them, for the first page.
        about: a sentence for the first page.
    """

    key: str
    name: str
    file: Path
    frames: Path
    poster: Path
    about: str


EXAMPLES = (
    Example(
        "example-speech",
        "Speech (example)",
        EXAMPLE / "speech.motion.safetensors",
        EXAMPLE / "speech.mp4",
        EXAMPLE / "speech.jpg",
        "motion read from a clip: a drawn woman who speaks",
    ),
    Example(
        "example-feelings",
        "Feelings (example)",
        EXAMPLE / "feelings.tokens.json",
        EXAMPLE / "feelings.mp4",
        EXAMPLE / "feelings.jpg",
        "motion that the generator made up: neutral, happy, surprised",
    ),
)


def open_example(example: Example) -> Take:
    """One of the bundled takes.

    Raises:
        XNeMoError: the viewer runs with other weights than the packaged ones.
    """
    about = {"frames": example.frames, "portrait": networks.default_portrait(), "shared": True}
    try:
        return _open_file(example.file, example.key, example.name, about)
    except XNeMoError as error:
        raise XNeMoError(f"the example belongs to the packaged weights: {error}") from error


def open_named(key: str) -> Take:
    """Open the take that an address names.

    Raises:
        XNeMoError: nobody but the session that made it can see it, or it is not there any more.
    """
    for example in EXAMPLES:
        if key == example.key:
            return open_example(example)
    path = started().path
    if path is not None and path.is_dir() and key.startswith(CLIP):
        return open_clip(path, key.removeprefix(CLIP), shared=True)
    if path is not None and path.is_file() and key == FILE:
        return open_path(path)
    raise XNeMoError(
        f"The address names the take {key!r}, which this viewer cannot open by itself: uploads and edits are seen only "
        "by the window that made them. Open the file again."
    )


def open_path(path: Path) -> Take:
    """The file that the viewer was started with.

    Raises:
        XNeMoError: it is none of the kinds that the viewer knows, or is damaged.
    """
    kind = kind_of(path)
    if kind in ("picture", "edits"):
        what = {"picture": "a picture", "edits": "a history of edits"}[kind]
        raise XNeMoError(f"{path}: is {what}; start the viewer with a clip, and open this file from its page")
    if kind == "video":
        return _open_video(path, FILE, path.name, shared=True)
    return _open_file(path, FILE, path.name, {"shared": True})


# Motion datasets ------------------------------------------------------------------------------------------------------


@st.cache_resource(show_spinner="Opening the dataset …", max_entries=4)
def dataset(folder: Path) -> MotionDataset:
    """A motion dataset.

    Raises:
        XNeMoError: it is none, or damaged.
    """
    slow_imports()
    from animator.dataset import MotionDataset

    return MotionDataset.open(folder)


def open_clip(folder: Path, clip_id: str, shared: bool) -> Take:
    """One clip of a motion dataset.

    Args:
        folder: of the dataset.
        clip_id: which clip.
        shared: whether the viewer was started with this dataset.
    Raises:
        XNeMoError: no such clip, or latents of another encoder.
    """
    for record in dataset(folder).records():
        if record.clip_id == clip_id:
            return from_motion(
                CLIP + clip_id,
                clip_id,
                record.motion,
                networks.tokenizer(),
                identity=record.identity,
                emotion=record.emotion,
                intensity=record.intensity,
                shared=shared,
            )
    raise XNeMoError(f"{folder}: has no clip {clip_id}")


# Uploads --------------------------------------------------------------------------------------------------------------


def kind_of(path: Path) -> Kind:
    """What a file is, by its first bytes; its name is not asked.

    Raises:
        XNeMoError: it is empty.
    """
    with open(path, "rb") as file:
        start = file.read(512)
    if len(start) < _LEAST_BYTES:
        raise XNeMoError(f"{path}: is empty or nearly so ({len(start)} bytes)")
    if start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF8")) or start[8:12] == b"WEBP":
        return "picture"
    if _EDITS.match(start):
        return "edits"
    if start.lstrip()[:1] == b"{":
        return "tokens"
    # safetensors: the length of its header, 8 bytes, and the header, an object of JSON.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 100_000_000:
        return "motion"
    return "video"


@dataclass(frozen=True)
class Opened:
    """What became of an upload: a take, a portrait that motion can be drawn with, or edits to be made again."""

    take: Take | None = None
    portrait: Path | None = None
    edits: SavedHistory | None = None


def open_upload(session: Session, name: str, data: bytes) -> Opened:
    """Check an uploaded file and open it.

    Args:
        session: whose folder keeps it; what is refused is removed again.
        name: what its owner calls it: shown, never used as a path.
        data: its bytes.
    Raises:
        XNeMoError: too large or too long, of no kind that is known, damaged, without a face, or of another model.
    """
    limit = settings().upload_mb
    if len(data) > limit * 2**20:
        raise XNeMoError(f"{name}: has {len(data) / 2**20:.0f} MB; at most {limit} MB are taken")
    path = session.new_file(".upload")
    kept = False
    try:
        path.write_bytes(data)
        opened = _opened(session, path, name)
        kept = opened.portrait is not None or (opened.take is not None and opened.take.frames is not None)
        return opened
    except XNeMoError as error:
        # The owner knows the file by its own name.
        raise XNeMoError(str(error).replace(str(path), name)) from error
    finally:
        if not kept:
            path.unlink(missing_ok=True)


def _opened(session: Session, path: Path, name: str) -> Opened:
    kind = kind_of(path)
    if kind == "picture":
        networks.pictures(path)
        session.names[path] = name
        return Opened(portrait=path)
    if kind == "edits":
        slow_imports()
        from motion_tokenizer.edit_file import SavedHistory

        return Opened(edits=SavedHistory.load(path))
    if len(session.takes) >= MAX_TAKES:
        raise XNeMoError(f"{name}: {MAX_TAKES} takes are open; close one first")
    key = session.new_key(name.split(".")[0])
    if kind == "video":
        return Opened(_open_video(path, key, name, shared=False))
    return Opened(_open_file(path, key, name, {}))


def _open_file(path: Path, key: str, name: str, about: dict[str, Any]) -> Take:
    """A motion or token file."""
    slow_imports()
    from animator.motion_clip import MotionClip
    from motion_tokenizer.token_sequence import TokenSequence

    tokenizer = networks.tokenizer()
    if kind_of(path) == "tokens":
        tokens = TokenSequence.load(path)
        _check_length(name, tokens.seconds)
        return from_tokens(key, name, tokens, tokenizer, **about)
    motion = MotionClip.load(path, tokenizer.encoder_id)
    _check_length(name, motion.seconds)
    return from_motion(key, name, motion, tokenizer, **about)


def _open_video(path: Path, key: str, name: str, shared: bool) -> Take:
    """A video: its motion is read from the face in it."""
    slow_imports()
    from animator.face import FaceDetector
    from apps.animation import open_video, read_part

    config = settings()
    with ExitStack() as stack:
        reader = stack.enter_context(open_video(str(path), config))
        _check_length(name, reader.info.seconds)
        detector = stack.enter_context(FaceDetector(min_score=config.face.min_score))
        pipeline = networks.pipeline()
        pipeline.set_progress_bar_config(disable=True)
        motion = read_part(pipeline, reader, 0, config.face, detector)
    return from_motion(key, name, motion, networks.tokenizer(), frames=path, sound=path, shared=shared)


def _check_length(name: str, seconds: float) -> None:
    longest = settings().upload_seconds
    if seconds > longest:
        raise XNeMoError(
            f"{name}: is {seconds:.0f} s long; the viewer takes {longest:g} s: cut it, or start with "
            "upload_seconds=SECONDS"
        )
