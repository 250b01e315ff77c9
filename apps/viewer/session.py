"""What one browser session has open: its own temporary folder, its takes, and where the cursor is."""

from __future__ import annotations

import atexit
import re
import secrets
import shutil
import tempfile
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import streamlit as st

from animator.errors import XNeMoError
from apps.viewer.takes import Take

MAX_TAKES = 10
_NOT_IN_KEYS = re.compile(r"[^a-z0-9_]+")
_SPAN = re.compile(r"(\d{1,7})-(\d{1,7})")


@dataclass
class Session:
    """One browser session; made anew by each, so that nobody sees another's files.

    Attributes:
        folder: its temporary folder, removed when the session ends.
        takes: what is open, by key, in the order of opening; at most `MAX_TAKES`.
        selected: key of the take that the pages show; None when nothing is open.
        cursor: frame that the pages show, of the selected take.
        span: selected tokens, the first and the one after the last; None when none are.
        portrait: the picture that motion is drawn with; None for the viewer's own.
        scratch: what pages want to keep with the session (undo stacks, render jobs), each under a name of its own.
        notices: one-line messages that the next page shows once.
        names: what their owner calls files of the folder.
    """

    folder: Path
    takes: dict[str, Take] = field(default_factory=dict)
    selected: str | None = None
    cursor: int = 0
    span: tuple[int, int] | None = None
    portrait: Path | None = None
    scratch: dict[str, Any] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    names: dict[Path, str] = field(default_factory=dict)

    @property
    def take(self) -> Take | None:
        """The selected take."""
        return None if self.selected is None else self.takes[self.selected]

    def add(self, take: Take) -> None:
        """Open a take, or put one in the place of the one with its key, and select it.

        Raises:
            XNeMoError: too many are open.
        """
        if take.key not in self.takes and len(self.takes) >= MAX_TAKES:
            raise XNeMoError(f"{MAX_TAKES} takes are open; close one first")
        self.takes[take.key] = take
        self.select(take.key)

    def replace(self, take: Take) -> None:
        """Put a changed take in the place of the one with its key; cursor and selection stay as far as they can."""
        self.takes[take.key] = take
        if take.key == self.selected:
            self.point(self.cursor)
            if self.span is not None:
                self.choose(*self.span)

    def close(self, key: str) -> None:
        """Close a take; another one is selected if this one was. Its video goes too, if it is the session's own."""
        closed = self.takes.pop(key, None)
        # An edited take shows its video no more, but may still sound like it.
        in_use = {file for take in self.takes.values() for file in (take.frames, take.sound)}
        for video in () if closed is None else {closed.frames, closed.sound}:
            if video is not None and video.parent == self.folder and video not in in_use:
                video.unlink(missing_ok=True)
        if self.selected == key:
            self.selected, self.cursor, self.span = None, 0, None
            if self.takes:
                self.select(next(reversed(self.takes)))

    def draw_with(self, portrait: Path) -> None:
        """Draw motion with another picture of this session; the one before goes, unless a take has it for its own."""
        before, self.portrait = self.portrait, portrait
        if before is not None and before not in {take.portrait for take in self.takes.values()}:
            before.unlink(missing_ok=True)
            self.names.pop(before, None)

    def select(self, key: str) -> None:
        """Show another take, from its first frame on and without a selection."""
        if key != self.selected:
            self.selected, self.cursor, self.span = key, 0, None

    def point(self, frame: int) -> None:
        """Move the cursor, within the take."""
        take = self.take
        self.cursor = 0 if take is None else min(max(int(frame), 0), take.length - 1)

    def choose(self, start: int, stop: int) -> None:
        """Select the tokens from `start` to before `stop`, within the take; none if nothing is left."""
        take = self.take
        stop = min(int(stop), 0 if take is None else len(take))
        start = max(int(start), 0)
        self.span = (start, stop) if start < stop else None

    def new_key(self, name: str) -> str:
        """A key for a take that is called so, unlike those that are there."""
        stem = _NOT_IN_KEYS.sub("-", name.lower()).strip("-")[:40] or "take"
        key, number = stem, 1
        while key in self.takes:
            number += 1
            key = f"{stem}-{number}"
        return key

    def new_file(self, suffix: str) -> Path:
        """A path for a new file in the session's folder; people's file names are never used as paths."""
        return self.folder / f"{secrets.token_hex(8)}{suffix}"

    def end(self) -> None:
        """Remove everything that the session wrote."""
        shutil.rmtree(self.folder, ignore_errors=True)


@st.cache_resource(scope="session", on_release=Session.end, show_spinner=False)
def current() -> Session:
    """The session of whoever looks at the page."""
    return Session(Path(tempfile.mkdtemp(prefix="session-", dir=_root())))


@st.cache_resource(show_spinner=False)
def _root() -> Path:
    """The folder of all sessions of this server, removed when the server ends however the sessions did."""
    root = Path(tempfile.mkdtemp(prefix="xnemo-view-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


@dataclass(frozen=True)
class Address:
    """What the page's URL says.

    Attributes:
        take: key of the take; None if it names none.
        frame: where the cursor is.
        span: selected tokens, as in `Session`.
    """

    take: str | None = None
    frame: int = 0
    span: tuple[int, int] | None = None


def read_address(parameters: Mapping[str, str]) -> Address:
    """Understand the URL's parameters; what cannot be understood is left out, as anybody can write a URL."""
    frame = parameters.get("frame", "")
    match = _SPAN.fullmatch(parameters.get("tokens", ""))
    # People count the last token in; a span ends before it.
    span = None if match is None else (int(match[1]), int(match[2]) + 1)
    return Address(
        take=parameters.get("take") or None,
        frame=int(frame) if frame.isascii() and frame.isdigit() and len(frame) < 8 else 0,
        span=span,
    )


def write_address(session: Session, parameters: MutableMapping[str, str]) -> None:
    """Make the URL say what the session shows, so that it can be shared; other parameters stay."""
    wanted: dict[str, str] = {}
    if session.selected is not None:
        wanted["take"] = session.selected
        if session.cursor:
            wanted["frame"] = str(session.cursor)
        if session.span is not None:
            wanted["tokens"] = f"{session.span[0]}-{session.span[1] - 1}"
    for name in ("take", "frame", "tokens"):
        if name in wanted and parameters.get(name) != wanted[name]:
            parameters[name] = wanted[name]
        elif name not in wanted and name in parameters:
            del parameters[name]
