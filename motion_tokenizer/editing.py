"""Editing tokens: an edit is a small record, and applying one makes new drafts out of old ones, which stay as they are.

Several clips may be on the table, so that ranges can change places between them; every edit names its clip by number.
Steps are counted from 0, ranges are [start, stop).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from animator.errors import XNeMoError
from motion_tokenizer.token_sequence import TokenSequence
from motion_tokenizer.tokenizer import MotionTokenizer

MOST_STEPS = 100_000
"""Longest clip that edits may make, in steps; 4.4 hours at 160 ms each."""

NEW = -1
"""Origin of a step that was not in the original."""

Steps = tuple[tuple[int, ...], ...]
"""The tokens of some steps as plain numbers: for each step its levels."""


@dataclass(frozen=True)
class TokenKind:
    """What the tokens of a tokenizer look like.

    Attributes:
        tokenizer_id: id of the tokenizer.
        codes: tokens are 0 to codes - 1.
        levels: tokens of each step.
        frames_per_token: frames that a step stands for.
    """

    tokenizer_id: str
    codes: int
    levels: int
    frames_per_token: int

    @classmethod
    def of(cls, tokenizer: MotionTokenizer) -> TokenKind:
        """What a tokenizer makes."""
        return cls(tokenizer.id, tokenizer.codes, tokenizer.levels, tokenizer.frames_per_token)


@dataclass(frozen=True, eq=False)
class Draft:
    """A clip while it is edited.

    Attributes:
        tokens: (n, levels) int64, n >= 1.
        locked: steps that no edit may change, (n,) bool.
        origin: the step of the original that each one was, or `NEW`, (n,) int64. A replaced step keeps its origin.
    """

    tokens: Tensor
    locked: Tensor
    origin: Tensor

    @classmethod
    def of(cls, sequence: TokenSequence) -> Draft:
        """A clip before its first edit."""
        count = len(sequence)
        return cls(sequence.tokens, torch.zeros(count, dtype=torch.bool), torch.arange(count))

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.tokens)

    def part(self, start: int, stop: int) -> Draft:
        """Steps [start, stop) alone; there may be none."""
        return Draft(self.tokens[start:stop], self.locked[start:stop], self.origin[start:stop])

    @staticmethod
    def joined(parts: Sequence[Draft]) -> Draft:
        """Parts, one after the other."""
        return Draft(
            torch.cat([part.tokens for part in parts]),
            torch.cat([part.locked for part in parts]),
            torch.cat([part.origin for part in parts]),
        )


Table = tuple[Draft, ...]
"""All clips that are edited together."""


@dataclass(frozen=True)
class Replace:
    """Other tokens in the place of those from `start` on, as many as are given."""

    clip: int
    start: int
    tokens: Steps


@dataclass(frozen=True)
class Insert:
    """New tokens before step `start`; the clip's length puts them at its end."""

    clip: int
    start: int
    tokens: Steps


@dataclass(frozen=True)
class Delete:
    """Steps taken out."""

    clip: int
    start: int
    stop: int


@dataclass(frozen=True)
class Repeat:
    """Steps said `times` more times, right behind themselves."""

    clip: int
    start: int
    stop: int
    times: int


@dataclass(frozen=True)
class Swap:
    """A range of one clip and a range of another (or of the same, elsewhere) change places; lengths may differ."""

    clip: int
    start: int
    stop: int
    other: int
    other_start: int
    other_stop: int


@dataclass(frozen=True)
class Lock:
    """Steps that no later edit may change, until they are unlocked; they may still move."""

    clip: int
    start: int
    stop: int
    locked: bool


@dataclass(frozen=True)
class Resample:
    """Steps drawn anew by a generator; the record holds what it drew, so that no generator is needed to repeat it.

    Attributes:
        clip, start, tokens: as of `Replace`. Locked steps in between are as they were.
        seed, candidate: of the draw.
        temperature, top_k, guidance_scale, emotion, intensity: how it was drawn, as of `motion_gpt.settings.Sampling`
            and `motion_gpt.vocabulary.Condition`; a note, nothing depends on them.
    """

    clip: int
    start: int
    tokens: Steps
    seed: int
    candidate: int
    temperature: float
    top_k: int | None
    guidance_scale: float
    emotion: str | None
    intensity: int | None


Edit = Replace | Insert | Delete | Repeat | Swap | Lock | Resample

EDITS: dict[str, type[Edit]] = {
    "replace": Replace,
    "insert": Insert,
    "delete": Delete,
    "repeat": Repeat,
    "swap": Swap,
    "lock": Lock,
    "resample": Resample,
}
"""Every kind of edit under the name that it has in files."""


def apply(table: Table, edit: Edit, kind: TokenKind) -> Table:
    """Make one edit.

    Args:
        table: the clips.
        edit: what to do.
        kind: what the tokens may be.
    Returns:
        The clips afterwards.
    Raises:
        XNeMoError: there is no such clip or range, the tokens are not of this kind, a locked step would change, or a
            clip would become empty or longer than `MOST_STEPS`.
    """
    draft = _clip(table, edit.clip)
    if isinstance(edit, Swap):
        return _swap(table, edit)
    if isinstance(edit, (Replace, Resample)):
        changed = _replace(draft, edit.start, _tensor(edit.tokens, kind))
    elif isinstance(edit, Insert):
        changed = _insert(draft, edit.start, _tensor(edit.tokens, kind))
    elif isinstance(edit, Delete):
        _check_free(draft, edit.start, edit.stop)
        changed = Draft.joined([draft.part(0, edit.start), draft.part(edit.stop, len(draft))])
    elif isinstance(edit, Repeat):
        changed = _repeat(draft, edit)
    else:
        _check_range(draft, edit.start, edit.stop)
        locked = draft.locked.clone()
        locked[edit.start : edit.stop] = edit.locked
        changed = replace(draft, locked=locked)
    return _put(table, edit.clip, changed)


def describe(edit: Edit) -> str:
    """An edit in a few words, steps counted from 0, the last one named."""
    if isinstance(edit, Swap):
        there = f"{_range(edit.other_start, edit.other_stop)} of clip {edit.other + 1}"
        return f"swap {_range(edit.start, edit.stop)} with {there}"
    if isinstance(edit, Insert):
        return f"insert {_count(len(edit.tokens))} before {edit.start}"
    if isinstance(edit, Replace):
        return f"replace {_range(edit.start, edit.start + len(edit.tokens))}"
    if isinstance(edit, Resample):
        return f"resample {_range(edit.start, edit.start + len(edit.tokens))} (seed {edit.seed}.{edit.candidate})"
    if isinstance(edit, Repeat):
        return f"repeat {_range(edit.start, edit.stop)}, {edit.times} more"
    if isinstance(edit, Lock):
        return f"{'lock' if edit.locked else 'unlock'} {_range(edit.start, edit.stop)}"
    return f"delete {_range(edit.start, edit.stop)}"


def steps_of(tokens: Tensor) -> Steps:
    """Tokens (n, levels) as an edit holds them."""
    return tuple(tuple(row) for row in tokens.tolist())


@dataclass(frozen=True)
class Difference:
    """What edits did to a clip.

    Attributes:
        changed: steps of the draft that are in their place with another token.
        new: steps of the draft that the original does not have.
        moved: steps of the draft that the original has, but not after the one they follow now.
        gone: steps of the original that the draft does not have.
    """

    changed: tuple[int, ...]
    new: tuple[int, ...]
    moved: tuple[int, ...]
    gone: tuple[int, ...]

    @property
    def any(self) -> bool:
        """Whether there is a difference at all."""
        return bool(self.changed or self.new or self.moved or self.gone)


def difference(original: TokenSequence, draft: Draft) -> Difference:
    """Compare a draft with what it was made of."""
    origin = draft.origin
    kept = origin != NEW
    before = original.tokens[origin.clamp(min=0)]
    changed = kept & (before != draft.tokens).any(dim=1)
    missing = torch.ones(len(original), dtype=torch.bool)
    missing[origin[kept]] = False
    places = kept.nonzero()[:, 0].tolist()
    farthest, moved = NEW, []
    for place in places:
        here = int(origin[place])
        if here < farthest:
            moved.append(place)
        farthest = max(farthest, here)
    return Difference(
        changed=tuple(changed.nonzero()[:, 0].tolist()),
        new=tuple((~kept).nonzero()[:, 0].tolist()),
        moved=tuple(moved),
        gone=tuple(missing.nonzero()[:, 0].tolist()),
    )


def finished(original: TokenSequence, draft: Draft, kind: TokenKind, seed: int | None = None) -> TokenSequence:
    """A draft as a token sequence.

    Frames that only pad the original's first step are dropped from the draft's first step too. `t0` is the first frame
    that is not the original's, and the original itself comes back where nothing differs.

    Args:
        original: what the draft was made of.
        draft: the clip now.
        kind: for the number of frames.
        seed: of steps that a generator drew; None: the original's.
    """
    shared = min(len(original), len(draft))
    differs = (original.tokens[:shared] != draft.tokens[:shared]).any(dim=1).nonzero()
    first = int(differs[0]) if len(differs) else shared
    if first == shared and len(original) == len(draft):
        return original
    padding = len(original) * kind.frames_per_token - original.frames
    frames = len(draft) * kind.frames_per_token - padding
    t0 = max(0, first * kind.frames_per_token - padding)
    t0 = t0 if original.t0 is None else min(t0, original.t0)
    return replace(
        original,
        tokens=draft.tokens.clone(),
        frames=frames,
        t0=t0 if t0 < frames else None,
        seed=original.seed if seed is None else seed,
    )


def _clip(table: Table, number: int) -> Draft:
    if not 0 <= number < len(table):
        raise XNeMoError(f"there is no clip {number + 1}; there are {len(table)}")
    return table[number]


def _put(table: Table, number: int, draft: Draft) -> Table:
    if len(draft) == 0:
        raise XNeMoError("a clip keeps at least one token")
    if len(draft) > MOST_STEPS:
        raise XNeMoError(f"the clip would have {len(draft)} tokens; at most {MOST_STEPS} are allowed")
    return (*table[:number], draft, *table[number + 1 :])


def _replace(draft: Draft, start: int, tokens: Tensor) -> Draft:
    stop = start + len(tokens)
    _check_range(draft, start, stop)
    differs = (draft.tokens[start:stop] != tokens).any(dim=1)
    held = (differs & draft.locked[start:stop]).nonzero()
    if len(held):
        raise XNeMoError(f"token {start + int(held[0])} is locked; unlock it first")
    return replace(draft, tokens=torch.cat([draft.tokens[:start], tokens, draft.tokens[stop:]]))


def _insert(draft: Draft, start: int, tokens: Tensor) -> Draft:
    if not 0 <= start <= len(draft):
        raise XNeMoError(f"there is no place {start}; tokens can be put in at 0 to {len(draft)}")
    _check_growth(draft, len(tokens))
    new = Draft(tokens, torch.zeros(len(tokens), dtype=torch.bool), torch.full((len(tokens),), NEW))
    return Draft.joined([draft.part(0, start), new, draft.part(start, len(draft))])


def _repeat(draft: Draft, edit: Repeat) -> Draft:
    _check_range(draft, edit.start, edit.stop)
    if edit.times < 1:
        raise XNeMoError(f"repeating {edit.times} times: must be at least once")
    _check_growth(draft, (edit.stop - edit.start) * edit.times)
    return _insert(draft, edit.stop, draft.tokens[edit.start : edit.stop].repeat(edit.times, 1))


def _swap(table: Table, edit: Swap) -> Table:
    first, second = table[edit.clip], _clip(table, edit.other)
    _check_free(first, edit.start, edit.stop)
    _check_free(second, edit.other_start, edit.other_stop)
    if edit.clip == edit.other:
        (a, b), (c, d) = sorted([(edit.start, edit.stop), (edit.other_start, edit.other_stop)])
        if c < b:
            raise XNeMoError("the two ranges overlap; swap ranges that have nothing in common")
        parts = [first.part(0, a), first.part(c, d), first.part(b, c), first.part(a, b), first.part(d, len(first))]
        return _put(table, edit.clip, Draft.joined(parts))
    coming = _foreign(second.part(edit.other_start, edit.other_stop))
    going = _foreign(first.part(edit.start, edit.stop))
    here = [first.part(0, edit.start), coming, first.part(edit.stop, len(first))]
    there = [second.part(0, edit.other_start), going, second.part(edit.other_stop, len(second))]
    return _put(_put(table, edit.clip, Draft.joined(here)), edit.other, Draft.joined(there))


def _foreign(part: Draft) -> Draft:
    """Steps that go to another clip, whose original does not have them."""
    return replace(part, origin=torch.full_like(part.origin, NEW))


def _tensor(steps: Steps, kind: TokenKind) -> Tensor:
    if not steps or any(len(step) != kind.levels for step in steps):
        raise XNeMoError(f"tokens must be at least one, of {kind.levels} level{'s' * (kind.levels > 1)} each")
    for step in steps:
        for token in step:
            if not 0 <= token < kind.codes:
                raise XNeMoError(f"token {token}: must be 0 to {kind.codes - 1}")
    return torch.tensor(steps, dtype=torch.int64)


def _check_range(draft: Draft, start: int, stop: int) -> None:
    if not 0 <= start < stop <= len(draft):
        raise XNeMoError(
            f"there are no tokens {_range(start, stop)} in a clip of {len(draft)} (0 to {len(draft) - 1}); "
            "take a range inside of it"
        )


def _check_free(draft: Draft, start: int, stop: int) -> None:
    _check_range(draft, start, stop)
    held = draft.locked[start:stop].nonzero()
    if len(held):
        raise XNeMoError(f"token {start + int(held[0])} is locked; unlock it first")


def _check_growth(draft: Draft, more: int) -> None:
    # Before anything is allocated.
    if len(draft) + more > MOST_STEPS:
        raise XNeMoError(f"the clip would have {len(draft) + more} tokens; at most {MOST_STEPS} are allowed")


def _range(start: int, stop: int) -> str:
    return f"{start}" if stop == start + 1 else f"{start} to {stop - 1}"


def _count(number: int) -> str:
    return f"{number} token{'s' * (number != 1)}"
