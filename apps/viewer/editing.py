"""The editing table of a browser session: which takes are edited together, and what the edits make of them.

The edits and their history are `motion_tokenizer.editing` and `motion_tokenizer.edit_history`. A take has a history
of its own until a range changes places with another take: from then on the two share one, so that undoing the
swap mends both.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from animator.errors import XNeMoError
from apps.viewer import sources
from apps.viewer.session import MAX_TAKES, Session
from apps.viewer.takes import Take
from motion_tokenizer.edit_history import EditHistory, fingerprint
from motion_tokenizer.editing import Edit, Steps, TokenKind

if TYPE_CHECKING:
    from motion_tokenizer.edit_file import SavedHistory
    from motion_tokenizer.tokenizer import MotionTokenizer

_TABLES = "edit tables"


@dataclass(eq=False)
class EditTable:
    """Takes that are edited together.

    Attributes:
        history: what was done; its clips are the takes, in order.
        originals: the takes as they were before.
    """

    history: EditHistory
    originals: list[Take]

    def clip(self, key: str) -> int:
        """Number of a take in the history."""
        return next(number for number, take in enumerate(self.originals) if take.key == key)


def table_of(session: Session, key: str, tokenizer: MotionTokenizer) -> EditTable:
    """The table that an open take lies on; a new one if it lies on none.

    Raises:
        XNeMoError: the take is too long to be edited.
    """
    tables: list[EditTable] = session.scratch.setdefault(_TABLES, [])
    take = session.takes[key]
    for table in tables:
        for number, original in enumerate(table.originals):
            # Another take may have come under the same key since.
            if original.key == key and torch.equal(table.history.result(number).tokens, take.tokens.tokens):
                return table
    # What lies there alone and is open no more is cleared away.
    tables[:] = [table for table in tables if any(each.key in session.takes for each in table.originals)]
    table = EditTable(EditHistory(TokenKind.of(tokenizer), (take.tokens,)), [take])
    tables.append(table)
    return table


def together(session: Session, key: str, other: str, tokenizer: MotionTokenizer) -> EditTable:
    """One table for two open takes; two tables become one, and what was undone on them is forgotten.

    Raises:
        XNeMoError: too much for one table.
    """
    first, second = table_of(session, key, tokenizer), table_of(session, other, tokenizer)
    if first is not second:
        first.history = first.history.merged(second.history)
        first.originals += second.originals
        session.scratch[_TABLES].remove(second)
    return first


def edit(session: Session, table: EditTable, change: Edit) -> None:
    """Make an edit; the takes on the table change with it.

    Raises:
        XNeMoError: the edit cannot be made; nothing changed.
    """
    _settle(session, table, table.history.do(change))


def undo(session: Session, table: EditTable) -> None:
    """Take the last edit back."""
    _settle(session, table, table.history.undo())


def redo(session: Session, table: EditTable) -> None:
    """Make the edit again that was taken back last."""
    _settle(session, table, table.history.redo())


def _settle(session: Session, table: EditTable, history: EditHistory) -> None:
    table.history = history
    for number, original in enumerate(table.originals):
        if original.key in session.takes:
            session.replace(edited_take(original, history, number))


def edited_take(original: Take, history: EditHistory, clip: int) -> Take:
    """A take as a history leaves it: its pictures and its observed motion do not show it any more, if it changed."""
    tokens = history.result(clip)
    records = tuple(history.records())
    if tokens is original.tokens:
        return replace(original, history=records)
    apart = history.difference(clip)
    in_step = not (apart.new or apart.moved or apart.gone)
    sound = original.sound if in_step else None
    return replace(original, tokens=tokens, motion=None, frames=None, sound=sound, history=records, shared=False)


def open_history(session: Session, saved: SavedHistory, name: str, tokenizer: MotionTokenizer) -> Take:
    """Make the edits of a history file again, on takes of their own; the takes that they were made on stay as they are.

    Args:
        session: has those takes open, edited or not, or they are bundled examples.
        saved: the file.
        name: what its owner calls it.
        tokenizer: the one in use.
    Returns:
        The first take that the edits changed.
    Raises:
        XNeMoError: the file is of another tokenizer, a clip is not open, an edit cannot be made, or too many takes
            would be open; nothing changed.
    """
    if saved.kind != TokenKind.of(tokenizer):
        raise XNeMoError(
            f"{name}: edits of tokens of tokenizer {saved.kind.tokenizer_id}, but the one in use is {tokenizer.id}; "
            "start the viewer with tokenizer_weights=FOLDER"
        )
    if len(session.takes) + len(saved.sources) > MAX_TAKES:
        raise XNeMoError(
            f"{name}: opens {len(saved.sources)} takes, and {len(session.takes)} of {MAX_TAKES} are open; close some"
        )
    known = {fingerprint(take.tokens): take for take in _originals(session)}
    for number, note in enumerate(saved.sources, 1):
        if note.sha256 not in known:
            raise XNeMoError(
                f"{name}: the clip that was edited is not open: {note.source or f'its source {number}'}, {note.frames} "
                "frames; open it (its tokens before the edits are saved beside the history), then this file again"
            )
    history = saved.open([known[note.sha256].tokens for note in saved.sources])
    table = EditTable(history, [])
    for number, source in enumerate(history.sources):
        like = known[fingerprint(source)]
        key = session.new_key(f"{like.key}-edited")
        original = replace(like, key=key, name=f"{like.name}, edited", tokens=source, shared=False)
        table.originals.append(original)
        session.add(edited_take(original, history, number))
    session.scratch.setdefault(_TABLES, []).append(table)
    changed = (number for number, take in enumerate(table.originals) if history.result(number) is not take.tokens)
    first = table.originals[next(changed, 0)].key
    session.select(first)
    return session.takes[first]


def _originals(session: Session) -> list[Take]:
    """The open takes as they were opened, and as they are; and the examples, which are always there."""
    tables: list[EditTable] = session.scratch.get(_TABLES, [])
    before = [take for table in tables for take in table.originals if take.key in session.takes]
    return [*_examples(), *session.takes.values(), *before]


def _examples() -> list[Take]:
    found = []
    for example in sources.EXAMPLES:
        with suppress(XNeMoError):  # they belong to the packaged weights
            found.append(sources.open_example(example))
    return found


def read_codes(text: str, kind: TokenKind) -> Steps:
    """Tokens from what somebody typed: numbers with spaces or commas between them; of residual tokens those of a step
    joined by dots, as in 12.7.3.

    Raises:
        XNeMoError: something else, or too many.
    """
    words = text.replace(",", " ").split()
    if not words:
        raise XNeMoError("type the codes to put here, such as 17 or 17, 1203, 5")
    if len(words) > 1000:
        raise XNeMoError("at most 1000 tokens are taken at a time")
    steps = []
    for word in words:
        parts = word.split(".")
        if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts) or len(parts) != kind.levels:
            levels = "a whole number" if kind.levels == 1 else f"{kind.levels} whole numbers joined by dots"
            raise XNeMoError(f"{word[:40]}: a token is {levels}, from 0 to {kind.codes - 1}")
        steps.append(tuple(int(part) for part in parts))
    return tuple(steps)


def in_words(step: tuple[int, ...]) -> str:
    """A token as `read_codes` reads it."""
    return ".".join(str(token) for token in step)
