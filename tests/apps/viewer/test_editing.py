"""Takes follow the edits of their table, there and back, and swaps join tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from animator.errors import XNeMoError
from apps.viewer.editing import edit, in_words, open_history, read_codes, redo, table_of, together, undo
from apps.viewer.session import Session
from apps.viewer.takes import Take, from_motion
from motion_tokenizer.edit_file import SavedHistory
from motion_tokenizer.editing import Delete, Lock, Replace, Swap, TokenKind
from motion_tokenizer.tokenizer import MotionTokenizer
from tests.motion_tokenizer import tiny


@pytest.fixture(scope="module")
def tokenizer() -> MotionTokenizer:
    return tiny.tokenizer()


def take(tokenizer: MotionTokenizer, key: str, seed: int) -> Take:
    return from_motion(key, f"{key}.mp4", tiny.motion(24, seed), tokenizer, frames=Path("x.mp4"), shared=True)


@pytest.fixture
def session(tokenizer: MotionTokenizer, tmp_path: Path) -> Session:
    made = Session(tmp_path)
    for seed, key in enumerate("abc"):
        made.add(take(tokenizer, key, seed))
    return made


def codes(session: Session, key: str) -> list[int]:
    return session.takes[key].tokens.tokens[:, 0].tolist()


def test_an_edited_take_shows_its_tokens_alone_and_the_original_comes_back(
    session: Session, tokenizer: MotionTokenizer
) -> None:
    before = session.takes["a"]
    table = table_of(session, "a", tokenizer)
    edit(session, table, Replace(0, 2, ((9,),)))
    after = session.takes["a"]
    assert codes(session, "a")[2] == 9 and after.motion is None and after.frames is None and not after.shared
    assert [record["edit"] for record in after.history] == ["replace"]
    assert table_of(session, "a", tokenizer) is table, "the table is found again"
    undo(session, table)
    assert session.takes["a"].motion is before.motion and session.takes["a"].frames == before.frames
    redo(session, table)
    assert codes(session, "a")[2] == 9
    edit(session, table, Lock(0, 2, 3, True))
    with pytest.raises(XNeMoError, match="locked"):
        edit(session, table, Delete(0, 0, 3))
    assert len(session.takes["a"]) == 6


def test_a_swap_joins_two_tables_and_undoing_it_mends_both(session: Session, tokenizer: MotionTokenizer) -> None:
    edit(session, table_of(session, "b", tokenizer), Delete(0, 0, 1))
    a, b = codes(session, "a"), codes(session, "b")
    table = together(session, "a", "b", tokenizer)
    assert table is together(session, "b", "a", tokenizer) and (table.clip("a"), table.clip("b")) == (0, 1)
    edit(session, table, Swap(0, 0, 2, 1, 4, 5))
    assert codes(session, "a") == [b[4], *a[2:]] and codes(session, "b") == [*b[:4], *a[:2]]
    again = SavedHistory.parse(table.history.to_json(), "h").open([each.tokens for each in table.originals])
    assert again.result(1).tokens[:, 0].tolist() == codes(session, "b")
    undo(session, table)
    assert (codes(session, "a"), codes(session, "b")) == (a, b)
    assert codes(session, "c") == take(tokenizer, "c", 2).tokens.tokens[:, 0].tolist()


def test_another_take_under_a_known_key_begins_anew(session: Session, tokenizer: MotionTokenizer) -> None:
    table = table_of(session, "a", tokenizer)
    edit(session, table, Delete(0, 0, 1))
    session.close("a")
    session.add(take(tokenizer, "a", 7))
    fresh = table_of(session, "a", tokenizer)
    assert fresh is not table and fresh.history.done == 0
    session.replace(replace(session.takes["a"], name="renamed"))
    assert table_of(session, "a", tokenizer) is fresh


def test_a_history_file_is_opened_beside_the_takes_that_it_was_made_on(
    session: Session, tokenizer: MotionTokenizer, tmp_path: Path
) -> None:
    table = together(session, "b", "a", tokenizer)
    for change in (Replace(0, 2, ((9,),)), Swap(0, 0, 2, 1, 4, 5), Lock(1, 0, 1, True)):
        edit(session, table, change)
    path = table.history.save(tmp_path / "x.edits.json")
    wanted = [table.history.result(clip) for clip in (0, 1)]
    undo(session, table)
    before = dict(session.takes)
    opened = open_history(session, SavedHistory.load(path), "x.edits.json", tokenizer)
    assert (opened.key, opened.name, session.selected) == ("b-edited", "b.mp4, edited", "b-edited")
    for key, tokens in zip(("b-edited", "a-edited"), wanted, strict=True):
        assert session.takes[key].tokens.tokens.equal(tokens.tokens)
    assert all(session.takes[key] is before[key] for key in before), "what was open stays as it was"
    again = table_of(session, "a-edited", tokenizer)
    assert again.history.to_json() == path.read_text()
    undo(session, again)
    undo(session, again)
    assert codes(session, "a-edited") == take(tokenizer, "a", 0).tokens.tokens[:, 0].tolist()
    assert session.takes["a-edited"].motion is not None


def test_a_history_whose_clip_is_not_open_is_refused_and_opens_nothing(
    session: Session, tokenizer: MotionTokenizer, tmp_path: Path
) -> None:
    table = table_of(session, "a", tokenizer)
    edit(session, table, Delete(0, 0, 1))
    saved = SavedHistory.load(table.history.save(tmp_path / "x.edits.json"))
    session.close("a")
    with pytest.raises(XNeMoError, match=r"x.edits.json: the clip that was edited is not open: a.mp4, 24 frames"):
        open_history(session, saved, "x.edits.json", tokenizer)
    other = replace(saved, kind=replace(saved.kind, tokenizer_id="else"))
    with pytest.raises(XNeMoError, match="of tokenizer else"):
        open_history(session, other, "x.edits.json", tokenizer)
    assert list(session.takes) == ["b", "c"]


def test_sound_stays_until_something_moves_in_time(session: Session, tokenizer: MotionTokenizer) -> None:
    session.replace(replace(session.takes["a"], sound=Path("x.mp4")))
    table = table_of(session, "a", tokenizer)
    edit(session, table, Replace(0, 2, ((9,),)))
    assert session.takes["a"].sound == Path("x.mp4")
    edit(session, table, Delete(0, 0, 1))
    assert session.takes["a"].sound is None
    undo(session, table)
    assert session.takes["a"].sound == Path("x.mp4")


def test_typed_codes_are_read_or_refused_in_words() -> None:
    kind = TokenKind("t", codes=64, levels=1, frames_per_token=4)
    assert read_codes(" 3, 4 5 ", kind) == ((3,), (4,), (5,))
    two = replace(kind, levels=2)
    assert read_codes("3.4 5.6", two) == ((3, 4), (5, 6)) and in_words((3, 4)) == "3.4"
    for text in ("", "x", "-1", "3.4", "9" * 12, "²"):
        with pytest.raises(XNeMoError):
            read_codes(text, kind)
