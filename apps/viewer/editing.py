"""The editing table of a browser session: which takes are edited together, and what the edits make of them.

The edits and their history are `motion_tokenizer.editing` and `motion_tokenizer.edit_history`. A take has a history
of its own until a range changes places with another take: from then on the two share one, so that undoing the
swap mends both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from animator.errors import XNeMoError
from apps.viewer.session import Session
from apps.viewer.takes import Take
from motion_tokenizer.edit_history import EditHistory
from motion_tokenizer.editing import Edit, Steps, TokenKind

if TYPE_CHECKING:
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
    return replace(original, tokens=tokens, motion=None, frames=None, history=records, shared=False)


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
