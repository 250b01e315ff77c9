"""The history of edits: undo, redo, the result, and what a history file says.

The file (read by `motion_tokenizer.edit_file`) names its sources by what they hold (`fingerprint`), so that it does not
matter where they lie or what they are called.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from animator.errors import XNeMoError
from animator.files import atomic_path
from motion_tokenizer.editing import (
    EDITS,
    MOST_STEPS,
    Difference,
    Draft,
    Edit,
    Resample,
    Swap,
    Table,
    TokenKind,
    apply,
    difference,
    finished,
)
from motion_tokenizer.token_sequence import TokenSequence

SCHEMA = 1
SUFFIX = ".edits.json"
MOST_EDITS = 10_000
MOST_SOURCES = 100
_NAMES = {kind: name for name, kind in EDITS.items()}


def fingerprint(sequence: TokenSequence) -> str:
    """SHA-256 of what a token sequence says: tokens, frames, frame rate, tokenizer; 64 hexadecimal digits."""
    said = [sequence.tokenizer_id, sequence.frames, float(sequence.fps), sequence.tokens.tolist()]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


@dataclass(frozen=True)
class SourceNote:
    """What a history file says of one of its clips.

    Attributes:
        sha256: its `fingerprint`.
        steps, frames: its length.
        source, source_sha256, crop, t0, seed: as of `TokenSequence`; the result has them from here, so that it is the
            same whatever file the clip is read from.
    """

    sha256: str
    steps: int
    frames: int
    source: str
    source_sha256: str
    crop: tuple[int, int, int, int] | None
    t0: int | None
    seed: int | None

    @classmethod
    def of(cls, sequence: TokenSequence) -> SourceNote:
        """A note of a clip."""
        return cls(
            fingerprint(sequence),
            len(sequence),
            sequence.frames,
            sequence.source,
            sequence.source_sha256,
            sequence.crop,
            sequence.t0,
            sequence.seed,
        )

    def label(self, sequence: TokenSequence) -> TokenSequence:
        """The clip with what is noted here.

        Raises:
            ValueError: values that a token sequence does not allow.
        """
        return replace(
            sequence,
            source=self.source,
            source_sha256=self.source_sha256,
            crop=self.crop,
            t0=self.t0,
            seed=self.seed,
        )


@dataclass(frozen=True)
class EditHistory:
    """Clips, and what was done to them.

    Attributes:
        kind: what their tokens are.
        sources: the clips as they were, at least one.
        edits: what was done, in order, and behind that what was undone and can be done again.
        done: how many of `edits` are done.
    Raises:
        XNeMoError: too much of anything, tokens of another tokenizer or kind, or an edit that cannot be.
    """

    kind: TokenKind
    sources: tuple[TokenSequence, ...]
    edits: tuple[Edit, ...] = ()
    done: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.sources) <= MOST_SOURCES:
            raise XNeMoError(f"{len(self.sources)} clips cannot be edited together; take 1 to {MOST_SOURCES}")
        if len(self.edits) > MOST_EDITS:
            raise XNeMoError(f"at most {MOST_EDITS} edits are kept; save the result and begin again from it")
        for source in self.sources:
            self._check(source)

    def _check(self, source: TokenSequence) -> None:
        name, kind = source.source or "a clip without a name", self.kind
        if source.tokenizer_id != kind.tokenizer_id:
            raise XNeMoError(
                f"{name}: tokens of tokenizer {source.tokenizer_id}, but this history is of tokens of "
                f"{kind.tokenizer_id}; tokenise the clip with that one"
            )
        padding = len(source) * kind.frames_per_token - source.frames
        fits = source.tokens.shape[1] == kind.levels and 0 <= padding < kind.frames_per_token
        if not fits or int(source.tokens.max()) >= kind.codes:
            raise XNeMoError(f"{name}: the tokens are not what this tokenizer makes; tokenise the clip again")
        if len(source) > MOST_STEPS:
            raise XNeMoError(f"{name}: has {len(source)} tokens; at most {MOST_STEPS} can be edited")

    @cached_property
    def table(self) -> Table:
        """The clips as they are now.

        Raises:
            XNeMoError: an edit cannot be made (the message says which, counted from 1).
        """
        table = tuple(Draft.of(source) for source in self.sources)
        for number, edit in enumerate(self.edits[: self.done], 1):
            try:
                table = apply(table, edit, self.kind)
            except XNeMoError as error:
                raise XNeMoError(f"edit {number} ({_NAMES[type(edit)]}): {error}") from error
        return table

    def do(self, edit: Edit) -> EditHistory:
        """With one more edit; what was undone is forgotten.

        Raises:
            XNeMoError: the edit cannot be made.
        """
        table = apply(self.table, edit, self.kind)
        after = replace(self, edits=(*self.edits[: self.done], edit), done=self.done + 1)
        # What is known need not be found again by making all edits from the beginning.
        after.__dict__["table"] = table
        return after

    def undo(self) -> EditHistory:
        """Without the last edit; as it is where nothing was done."""
        return replace(self, done=max(0, self.done - 1))

    def redo(self) -> EditHistory:
        """With the edit that was undone last; as it is where nothing was undone."""
        return replace(self, done=min(len(self.edits), self.done + 1))

    def merged(self, other: EditHistory) -> EditHistory:
        """Two histories on one table: the other's clips, and then its edits, come behind ours; what was undone is
        forgotten.

        Raises:
            XNeMoError: they are of several tokenizers, or too much together.
        """
        shift = len(self.sources)
        theirs = [_renumbered(edit, shift) for edit in other.edits[: other.done]]
        edits = (*self.edits[: self.done], *theirs)
        after = replace(self, sources=(*self.sources, *other.sources), edits=edits, done=len(edits))
        after.__dict__["table"] = (*self.table, *other.table)
        return after

    def result(self, clip: int = 0) -> TokenSequence:
        """A clip as it is now; the original itself where it is as it was.

        Raises:
            XNeMoError: there is no such clip, or an edit cannot be made.
        """
        if not 0 <= clip < len(self.sources):
            raise XNeMoError(f"there is no clip {clip + 1}; the history has {len(self.sources)}")
        drawn = [edit.seed for edit in self.edits[: self.done] if isinstance(edit, Resample) and edit.clip == clip]
        return finished(self.sources[clip], self.table[clip], self.kind, drawn[-1] if drawn else None)

    def difference(self, clip: int = 0) -> Difference:
        """What was done to a clip in all."""
        return difference(self.sources[clip], self.table[clip])

    def records(self) -> list[dict[str, Any]]:
        """The edits that are done, as the file has them."""
        return [{"edit": _NAMES[type(edit)]} | _record(edit) for edit in self.edits[: self.done]]

    def to_json(self) -> str:
        """What `save` writes; edits that were undone are left out."""
        content = {
            "schema": SCHEMA,
            "tokens": _record(self.kind),
            "sources": [_record(SourceNote.of(source)) for source in self.sources],
            "edits": self.records(),
        }
        return json.dumps(content, indent=1) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write the history as JSON; by custom the name ends in `.edits.json`.

        The file appears under its name only when it is whole.

        Raises:
            XNeMoError: the file cannot be written.
        """
        with atomic_path(path) as temporary:
            temporary.write_text(self.to_json(), encoding="utf-8")
        return Path(path)


def _record(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _renumbered(edit: Edit, shift: int) -> Edit:
    if isinstance(edit, Swap):
        return replace(edit, clip=edit.clip + shift, other=edit.other + shift)
    return replace(edit, clip=edit.clip + shift)
