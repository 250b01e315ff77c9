"""What a take is saved as: the very bytes that the commands write for the same thing."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from apps.viewer import networks, stills
from apps.viewer.editing import EditTable
from apps.viewer.server import settings
from apps.viewer.session import Session
from apps.viewer.takes import Take, shown_motion

if TYPE_CHECKING:
    from motion_tokenizer.token_sequence import TokenSequence

SHEET = 24  # pictures of a contact sheet
COLUMNS = 8
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


def file_name(name: str, suffix: str) -> str:
    """What a browser saves a file as: the take's name, without what file systems mind."""
    stem = _NOT_IN_NAMES.sub("_", name).strip("._")[:60] or "take"
    return stem + suffix


def _bytes(session: Session, suffix: str, save: Callable[[Path], object]) -> bytes:
    """What `save` writes."""
    path = session.new_file(suffix)
    try:
        save(path)
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def token_file(session: Session, tokens: TokenSequence) -> bytes:
    """A `.tokens.json` file."""
    return _bytes(session, ".tokens.json", tokens.save)


def motion_file(session: Session, take: Take) -> bytes:
    """A `.motion.safetensors` file: what was observed, or of an edited take what its tokens decode to."""
    return _bytes(session, ".motion.safetensors", shown_motion(take, networks.tokenizer()).save)


def history_file(session: Session, table: EditTable) -> bytes:
    """An `.edits.json` file, which `xnemo replay` takes."""
    return _bytes(session, ".edits.json", table.history.save)


def contact_sheet_file(take: Take, portrait: Path) -> bytes:
    """A PNG of frames of the take, evenly spread, each row under the time at which it begins; marked as synthetic.

    Raises:
        XNeMoError: no face in the portrait, or weights without a GAN head.
    """
    from animator.provenance.marks import Marker, Marks
    from animator.visuals import Row, contact_sheet

    motion = shown_motion(take, networks.tokenizer())
    frames = stills.evenly(len(motion), SHEET)
    pictures = stills.draw(portrait, motion, frames)
    rows = [
        Row(f"{take.name}, from {frames[first] / motion.fps:.2f} s on", list(pictures[first : first + COLUMNS]))
        for first in range(0, len(frames), COLUMNS)
    ]
    marker = Marker(Path("sheet.png"), Marks("view", config=settings().marks))
    about = PngInfo()
    for name, text in marker.metadata.items():
        about.add_itxt(name, text)
    target = io.BytesIO()
    Image.fromarray(marker.drawn_on(contact_sheet(rows))).save(target, "PNG", pnginfo=about)
    return target.getvalue()


def replay_command(take: Take, table: EditTable) -> str:
    """The command that makes the take again from the files that this page saves."""
    clip = table.clip(take.key)
    sources = " ".join(file_name(original.name, ".original.tokens.json") for original in table.originals)
    chosen = f" --clip {clip + 1}" if clip else ""
    output = file_name(take.name, ".tokens.json")
    return f"xnemo replay {file_name(take.name, '.edits.json')} {sources}{chosen} -o {output}"
