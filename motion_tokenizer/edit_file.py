"""History files, read strictly, as they may come from anybody: `EditHistory.save` writes them."""

from __future__ import annotations

import json
import math
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from animator.errors import XNeMoError
from motion_tokenizer.edit_history import MOST_EDITS, MOST_SOURCES, SCHEMA, EditHistory, SourceNote, fingerprint
from motion_tokenizer.editing import EDITS, MOST_STEPS, Edit, Steps, TokenKind
from motion_tokenizer.token_sequence import TokenSequence

MOST_BYTES = 32 * 2**20
_LONGEST_TEXT = 1000

Record = TypeVar("Record")


@dataclass(frozen=True)
class SavedHistory:
    """A history file that was read, waiting for its clips.

    Attributes:
        path: the file.
        kind: what the tokens are.
        sources: what it says of its clips.
        edits: what was done.
    """

    path: str
    kind: TokenKind
    sources: tuple[SourceNote, ...]
    edits: tuple[Edit, ...]

    @classmethod
    def load(cls, path: str | Path) -> SavedHistory:
        """Read what `EditHistory.save` wrote.

        Raises:
            XNeMoError: the file is missing or too large, no history, of a newer schema, or holds unknown keys or values
                that cannot be.
        """
        path = Path(path)
        if not path.is_file():
            raise XNeMoError(f"{path}: no such history file")
        try:
            size = path.stat().st_size
            if size > MOST_BYTES:
                raise XNeMoError(f"{path}: has {size} bytes; a history has at most {MOST_BYTES}")
            return cls.parse(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise XNeMoError(f"{path}: not an edit history ({error})") from error

    @classmethod
    def parse(cls, text: str, name: str) -> SavedHistory:
        """Read the text of a history file; `name` is what errors call it.

        Raises:
            XNeMoError: as of `load`.
        """
        if len(text) > MOST_BYTES:
            raise XNeMoError(f"{name}: has {len(text)} characters; a history has at most {MOST_BYTES}")
        try:
            content = json.loads(text, object_pairs_hook=_no_duplicates)
        except (ValueError, RecursionError) as error:
            raise XNeMoError(f"{name}: not an edit history ({error})") from error
        if not isinstance(content, dict) or "schema" not in content:
            raise XNeMoError(f"{name}: not an edit history (JSON without a schema)")
        try:
            schema = _whole(content["schema"], "schema")
            if schema > SCHEMA:
                raise ValueError(f"schema {schema} is newer than {SCHEMA}, the newest known here; update xnemo")
            if schema != SCHEMA:
                raise ValueError(f"schema {schema} is unknown")
            _check_keys(content, {"schema", "tokens", "sources", "edits"}, "the file")
            kind = _read(TokenKind, content["tokens"], "tokens")
            _check_kind(kind)
            notes = _list(content["sources"], "sources", MOST_SOURCES)
            sources = tuple(_read(SourceNote, note, f"source {number}") for number, note in enumerate(notes, 1))
            for number, note in enumerate(sources, 1):
                _check_note(note, number)
            made = _list(content["edits"], "edits", MOST_EDITS)
            edits = tuple(_read_edit(edit, f"edit {number}") for number, edit in enumerate(made, 1))
        except ValueError as error:
            raise XNeMoError(f"{name}: damaged edit history: {error}") from error
        if not sources:
            raise XNeMoError(f"{name}: damaged edit history: it names no source")
        return cls(name, kind, sources, edits)

    def open(self, clips: Sequence[TokenSequence]) -> EditHistory:
        """Give the history its clips, in any order.

        Raises:
            XNeMoError: a clip is missing, is another than the history was made with, or is not needed; or an edit
                cannot be made.
        """
        found = {fingerprint(clip): clip for clip in clips}
        for number, note in enumerate(self.sources, 1):
            if note.sha256 not in found:
                given = ", ".join(clip.source or "a clip without a name" for clip in clips) or "nothing"
                raise XNeMoError(
                    f"{self.path}: its source {number}, {note.source or 'without a name'} ({note.steps} tokens, "
                    f"{note.sha256[:16]}), is not what was given ({given}); give the very clip that was edited"
                )
        wanted = {note.sha256 for note in self.sources}
        for print_, clip in found.items():
            if print_ not in wanted:
                raise XNeMoError(f"{self.path}: has no source like {clip.source or 'one that was given'}; leave it out")
        try:
            sources = tuple(note.label(found[note.sha256]) for note in self.sources)
            history = EditHistory(self.kind, sources, self.edits, len(self.edits))
            _ = history.table  # every edit is made once, so that one that cannot be is found now
        except (XNeMoError, ValueError) as error:
            raise XNeMoError(f"{self.path}: {error}") from error
        return history


def _read_edit(content: Any, where: str) -> Edit:
    if not isinstance(content, dict) or not isinstance(content.get("edit"), str):
        raise ValueError(f"{where} has no name under the key 'edit'")
    name = content["edit"]
    if name not in EDITS:
        raise ValueError(f"{where}: there is no edit {_short(name)}; there are {', '.join(EDITS)}")
    rest = {key: value for key, value in content.items() if key != "edit"}
    edit: Edit = _read(EDITS[name], rest, f"{where} ({name})")
    return edit


def _read(kind: type[Record], content: Any, where: str) -> Record:
    """Make a dataclass of a JSON object that has all of its fields, and no others, with values of their types."""
    if not isinstance(content, dict):
        raise ValueError(f"{where} must be an object, not {_short(content)}")
    hints = typing.get_type_hints(kind)
    _check_keys(content, set(hints), where)
    return kind(**{name: _value(content[name], hint, f"{where}, {name}") for name, hint in hints.items()})


def _value(value: Any, hint: Any, where: str) -> Any:
    if hint == Steps:
        return _steps(value, where)
    if typing.get_origin(hint) is types.UnionType:
        if value is None:
            return None
        (hint,) = (each for each in typing.get_args(hint) if each is not type(None))
    if hint == tuple[int, int, int, int]:
        return _crop(value, where)
    if hint is int:
        return _whole(value, where)
    if hint is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{where} must be true or false, not {_short(value)}")
        return value
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"{where} must be a finite number, not {_short(value)}")
        return float(value)
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        raise ValueError(f"{where} must be a text of at most {_LONGEST_TEXT} characters, not {_short(value)}")
    return value


def _steps(value: Any, where: str) -> Steps:
    rows = _list(value, where, MOST_STEPS)
    if not rows or not all(isinstance(row, list) and 1 <= len(row) <= 64 for row in rows):
        raise ValueError(f"{where} must be a list of steps, each a list of 1 to 64 whole numbers")
    return tuple(tuple(_whole(token, where) for token in row) for row in rows)


def _crop(value: Any, where: str) -> tuple[int, int, int, int]:
    if not isinstance(value, list) or len(value) != 4 or not all(type(side) is int for side in value):
        raise ValueError(f"{where} must be [x, y, width, height], not {_short(value)}")
    x, y, width, height = value
    return x, y, width, height


def _whole(value: Any, where: str) -> int:
    # JSON's true is Python's 1; numbers of more than 63 bits fit no tensor.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f"{where} must be a whole number from 0 on, not {_short(value)}")
    return value


def _list(value: Any, where: str, most: int) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list, not {_short(value)}")
    if len(value) > most:
        raise ValueError(f"{where} has {len(value)} entries; at most {most} are allowed")
    return value


def _check_keys(content: dict[str, Any], wanted: set[str], where: str) -> None:
    for name in sorted(wanted - set(content)):
        raise ValueError(f"{where} has no {name!r}")
    for name in sorted(set(content) - wanted):
        raise ValueError(f"{where} has an unknown key {_short(name)}")


def _check_kind(kind: TokenKind) -> None:
    if not kind.tokenizer_id:
        raise ValueError("tokens, tokenizer_id is empty")
    for name, most in (("codes", 2**31), ("levels", 64), ("frames_per_token", 1024)):
        if not 1 <= getattr(kind, name) <= most:
            raise ValueError(f"tokens, {name} must be 1 to {most}, not {getattr(kind, name)}")


def _check_note(note: SourceNote, number: int) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", note.sha256):
        raise ValueError(f"source {number}, sha256 must be 64 hexadecimal digits, not {_short(note.sha256)}")
    if not 1 <= note.steps <= MOST_STEPS:
        raise ValueError(f"source {number}, steps must be 1 to {MOST_STEPS}, not {note.steps}")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {_short(twice)} is there twice")
    return content


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
