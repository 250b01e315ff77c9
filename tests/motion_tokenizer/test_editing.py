"""Edits do what they say, refuse what cannot be, and come back from their file as they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from animator.errors import XNeMoError
from motion_tokenizer.edit_file import SavedHistory
from motion_tokenizer.edit_history import EditHistory, fingerprint
from motion_tokenizer.editing import (
    NEW,
    Delete,
    Edit,
    Insert,
    Lock,
    Repeat,
    Replace,
    Resample,
    Swap,
    TokenKind,
    describe,
)
from motion_tokenizer.token_sequence import TokenSequence

KIND = TokenKind("tokenizer-a", codes=64, levels=1, frames_per_token=4)
DRAWN = {"seed": 7, "candidate": 1, "temperature": 1.0, "top_k": None, "guidance_scale": 1.0}


def clip(*tokens: int, frames: int | None = None, source: str = "a.mp4") -> TokenSequence:
    count = 4 * len(tokens) if frames is None else frames
    steps = torch.tensor(tokens)[:, None]
    return TokenSequence(steps, count, 25.0, KIND.tokenizer_id, "encoder", source, crop=(-3, 4, 80, 80))


def history(*edits: Edit, sources: tuple[TokenSequence, ...] = ()) -> EditHistory:
    made = EditHistory(KIND, sources or (clip(0, 1, 2, 3, 4, 5, frames=22), clip(20, 21, 22, source="b.mp4")))
    for edit in edits:
        made = made.do(edit)
    return made


def steps(*tokens: int) -> tuple[tuple[int, ...], ...]:
    return tuple((token,) for token in tokens)


def now(made: EditHistory, number: int = 0) -> list[int]:
    return made.result(number).tokens[:, 0].tolist()


@pytest.mark.parametrize(
    ("edit", "after"),
    [
        (Replace(0, 1, steps(9, 8)), [0, 9, 8, 3, 4, 5]),
        (Insert(0, 0, steps(9)), [9, 0, 1, 2, 3, 4, 5]),
        (Insert(0, 6, steps(9, 8)), [0, 1, 2, 3, 4, 5, 9, 8]),
        (Delete(0, 0, 2), [2, 3, 4, 5]),
        (Repeat(0, 1, 3, 2), [0, 1, 2, 1, 2, 1, 2, 3, 4, 5]),
        (Swap(0, 4, 6, 0, 0, 1), [4, 5, 1, 2, 3, 0]),
        (Lock(0, 2, 4, True), [0, 1, 2, 3, 4, 5]),
        (Resample(0, 2, steps(7, 3), **DRAWN, emotion="happy", intensity=2), [0, 1, 7, 3, 4, 5]),
    ],
)
def test_each_edit_and_its_way_back(edit: Edit, after: list[int]) -> None:
    made = history(edit)
    assert now(made) == after
    assert made.result().frames == 4 * len(after) - 2, "what pads the first token is still left out"
    assert now(made.undo()) == [0, 1, 2, 3, 4, 5] and now(made.undo().redo()) == after
    assert made.undo().undo().done == 0 and made.redo() == made
    assert describe(edit).split()[0] in {"replace", "insert", "delete", "repeat", "swap", "lock", "resample"}


def test_a_swap_between_clips_changes_both() -> None:
    made = history(Swap(0, 1, 2, 1, 0, 2))
    assert now(made) == [0, 20, 21, 2, 3, 4, 5] and now(made, 1) == [1, 22]
    assert made.table[0].origin.tolist() == [0, NEW, NEW, 2, 3, 4, 5]
    assert (now(made.undo()), now(made.undo(), 1)) == ([0, 1, 2, 3, 4, 5], [20, 21, 22])


@pytest.mark.parametrize(
    "edit",
    [
        Replace(0, 2, steps(9)),
        Delete(0, 1, 3),
        Swap(0, 2, 3, 1, 0, 1),
        Swap(1, 0, 1, 0, 0, 3),
        Resample(0, 1, steps(9, 9), **DRAWN, emotion=None, intensity=None),
    ],
)
def test_locked_tokens_do_not_change_until_they_are_unlocked(edit: Edit) -> None:
    made = history(Lock(0, 2, 3, True))
    with pytest.raises(XNeMoError, match="token 2 is locked"):
        made.do(edit)
    assert made.do(Lock(0, 2, 3, False)).do(edit).done == 3


def test_locks_move_with_their_tokens_and_copies_are_free() -> None:
    made = history(Lock(0, 1, 2, True), Insert(0, 0, steps(9)), Repeat(0, 2, 3, 1))
    assert now(made) == [9, 0, 1, 1, 2, 3, 4, 5]
    assert made.table[0].locked.nonzero()[:, 0].tolist() == [2]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (Replace(0, 5, steps(9, 9)), "no tokens 5 to 6 in a clip of 6"),
        (Replace(2, 0, steps(9)), "no clip 3"),
        (Replace(0, 0, ()), "at least one"),
        (Replace(0, 0, ((1, 2),)), "1 level each"),
        (Insert(0, 7, steps(9)), "no place 7"),
        (Insert(0, 0, steps(64)), "token 64: must be 0 to 63"),
        (Delete(0, 0, 6), "at least one token"),
        (Delete(0, 2, 2), "no tokens"),
        (Repeat(0, 0, 6, 2**62), "at most 100000"),
        (Repeat(0, 0, 6, 0), "at least once"),
        (Swap(0, 0, 3, 0, 2, 4), "overlap"),
    ],
)
def test_what_cannot_be_is_refused_in_words(edit: Edit, reason: str) -> None:
    with pytest.raises(XNeMoError, match=reason):
        history().do(edit)


def test_the_difference_tells_what_changed_is_new_moved_and_gone() -> None:
    assert not history(Lock(0, 0, 3, True)).difference().any
    made = history(Replace(0, 1, steps(9)), Insert(0, 3, steps(8)), Swap(0, 4, 5, 0, 0, 1), Delete(0, 5, 6))
    # 0 9 2 8 3 4 5, then 3 9 2 8 0 4 5, then without the 4.
    found = made.difference()
    assert now(made) == [3, 9, 2, 8, 0, 5]
    assert (found.changed, found.new, found.moved, found.gone) == ((1,), (3,), (1, 2, 4), (4,))


def test_an_edited_clip_says_from_where_on_it_is_not_the_original() -> None:
    made = history(Replace(0, 2, steps(9)))
    assert made.result().t0 == 6, "token 2 begins at frame 8 of the grid, which is 6 of the clip"
    assert made.do(Replace(0, 2, steps(2))).result() is made.sources[0]
    assert history(Delete(0, 4, 6)).result().t0 is None, "a shortened clip is all observed"
    drawn = history(Resample(0, 0, steps(5), **DRAWN, emotion=None, intensity=None)).result()
    assert (drawn.t0, drawn.seed) == (0, 7)


def test_merged_histories_have_both_tables() -> None:
    one = history(Delete(0, 0, 1), sources=(clip(1, 2, 3),)).do(Delete(0, 0, 1)).undo()
    both = one.merged(history(Swap(0, 0, 1, 1, 0, 1)))
    assert [now(both, number) for number in range(3)] == [[2, 3], [20, 1, 2, 3, 4, 5], [0, 21, 22]]
    assert [now(replace(both), number) for number in range(3)] == [now(both, number) for number in range(3)]


def test_a_history_comes_back_from_its_file(tmp_path: Path) -> None:
    made = history(
        Lock(0, 4, 6, True),
        Swap(0, 0, 2, 1, 1, 3),
        Resample(0, 2, steps(7), **DRAWN, emotion="sad", intensity=None),
        Repeat(1, 0, 1, 3),
        Delete(0, 0, 1),
    ).undo()
    saved = SavedHistory.load(made.save(tmp_path / "h.edits.json"))
    # The clips may be called anything, and come in any order.
    again = saved.open([replace(source, source="other", crop=None) for source in reversed(made.sources)])
    assert again.edits == made.edits[:4]
    for number in range(2):
        ours = made.result(number).save(tmp_path / "ours")
        theirs = again.result(number).save(tmp_path / "theirs")
        assert ours.read_bytes() == theirs.read_bytes()
    changed = replace(made.sources[1], tokens=made.sources[1].tokens + 1)
    with pytest.raises(XNeMoError, match=rf"source 2, b\.mp4 \(3 tokens, {fingerprint(made.sources[1])[:16]}\)"):
        saved.open([made.sources[0], changed])
    with pytest.raises(XNeMoError, match="leave it out"):
        saved.open([*made.sources, changed])


def _set(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        place: Any = content
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set("schema", to=2), "schema 2 is newer"),
        (_set("schema", to=True), "schema must be a whole number"),
        (_set("extra", to=1), "unknown key 'extra'"),
        (_set("tokens", "codes", to=0), "codes must be 1 to"),
        (_set("tokens", "levels", to=1.0), "levels must be a whole number"),
        (_set("sources", to=[]), "no source"),
        (_set("sources", to=[{}] * 101), "101 entries"),
        (_set("sources", 0, "sha256", to="../x"), "64 hexadecimal"),
        (_set("sources", 0, "crop", to=[1, 2, 3]), "crop must be"),
        (_set("sources", 0, "source", to="x" * 1001), "at most 1000 characters"),
        (_set("edits", 0, "edit", to="eval"), "no edit 'eval'"),
        (_set("edits", 0, "edit", to=["replace"]), "edit 1 has no name"),
        (_set("edits", 0, "clip", to=-1), "from 0 on"),
        (_set("edits", 0, "start", to=2**70), "from 0 on"),
        (_set("edits", 0, "tokens", to=[]), "list of steps"),
        (_set("edits", 0, "tokens", to=[[1], "2"]), "list of steps"),
        (_set("edits", 0, "tokens", to=[[1.5]]), "whole number"),
        (_set("edits", 0, "path", to="/etc/passwd"), "unknown key 'path'"),
        (_set("edits", 1, "temperature", to=float("nan")), "finite"),
        (_set("edits", to={}), "edits must be a list"),
        (_set("edits", to=[{}] * 10_001), "10001 entries"),
    ],
)
def test_a_hostile_history_gets_one_line(change: Callable[[dict[str, Any]], None], reason: str) -> None:
    made = history(Replace(0, 1, steps(9)), Resample(0, 2, steps(7), **DRAWN, emotion=None, intensity=None))
    content = json.loads(made.to_json())
    change(content)
    with pytest.raises(XNeMoError, match=reason) as error:
        SavedHistory.parse(json.dumps(content), "h.json")
    assert str(error.value).startswith("h.json: ") and len(str(error.value)) < 300


@pytest.mark.parametrize("text", ["", "[" * 100_000, "null", "[]", '{"schema": 1, "schema": 1}', "1" * 5000])
def test_what_is_no_history_gets_one_line(text: str) -> None:
    with pytest.raises(XNeMoError, match=r"h\.json: (not an|damaged) edit history"):
        SavedHistory.parse(text, "h.json")


def test_edits_that_do_not_fit_their_clip_are_named() -> None:
    content = json.loads(history(Replace(0, 1, steps(9))).to_json())
    content["edits"][0]["start"] = 99
    saved = SavedHistory.parse(json.dumps(content), "h.json")
    with pytest.raises(XNeMoError, match=r"h\.json: edit 1 \(replace\): there are no tokens 99"):
        saved.open(history().sources)
