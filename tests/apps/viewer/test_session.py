"""A browser session keeps what is open to itself, within bounds, and says in its URL what it shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from animator.errors import XNeMoError
from apps.viewer.session import MAX_TAKES, Address, Session, read_address, write_address
from apps.viewer.takes import Take, token_at, token_frames
from motion_tokenizer.token_sequence import TokenSequence


def take(key: str, tokens: int = 5, frames: int | None = None) -> Take:
    count = 4 * tokens if frames is None else frames
    sequence = TokenSequence(torch.arange(tokens)[:, None], count, 25.0, "tokenizer-a", "encoder-a")
    return Take(key, key.title(), sequence)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path / "one")


def test_cursor_and_selection_stay_within_the_take(session: Session) -> None:
    session.add(take("a", tokens=5, frames=18))
    session.point(99)
    assert session.cursor == 17
    session.choose(-3, 99)
    assert session.span == (0, 5)
    session.choose(3, 3)
    assert session.span is None


def test_shorter_take_in_its_place_pulls_cursor_and_selection_in(session: Session) -> None:
    session.add(take("a", tokens=5))
    session.point(19)
    session.choose(2, 5)
    session.replace(take("a", tokens=3))
    assert (session.cursor, session.span) == (11, (2, 3))


def test_another_take_is_shown_from_its_beginning(session: Session) -> None:
    session.add(take("a"))
    session.point(7)
    session.add(take("b"))
    assert (session.selected, session.cursor, session.span) == ("b", 0, None)
    session.close("b")
    assert session.take is session.takes["a"]
    session.close("a")
    assert session.take is None


def test_number_of_takes_is_bounded(session: Session) -> None:
    for number in range(MAX_TAKES):
        session.add(take(f"take-{number}"))
    with pytest.raises(XNeMoError, match="close one first"):
        session.add(take("one-more"))
    session.add(take("take-3", tokens=2))  # in the place of one that is there
    assert len(session.takes) == MAX_TAKES


def test_keys_and_files_never_hold_what_a_name_says(session: Session) -> None:
    session.takes["etc-passwd"] = take("etc-passwd")
    assert session.new_key("../../etc/passwd") == "etc-passwd-2"
    assert session.new_key("…") == "take"
    assert session.new_file(".mp4").parent == session.folder


def test_closing_the_last_take_with_an_uploaded_video_removes_it(session: Session) -> None:
    session.folder.mkdir()
    video = session.new_file(".upload")
    video.write_bytes(b"film")
    session.add(replace(take("a"), frames=video))
    session.add(replace(take("edited"), frames=video))
    session.close("a")
    assert video.exists()
    session.close("edited")
    assert not video.exists()


def test_portrait_goes_when_another_comes_unless_a_take_has_it(session: Session) -> None:
    session.folder.mkdir()
    first, second, third = (session.new_file(".upload") for _ in range(3))
    for file in (first, second, third):
        file.write_bytes(b"face")
    session.draw_with(first)
    session.draw_with(second)
    assert not first.exists()
    session.add(replace(take("a"), portrait=second))
    session.draw_with(third)
    assert second.exists() and session.portrait == third


def test_end_of_a_session_removes_its_files(session: Session) -> None:
    session.folder.mkdir()
    session.new_file(".mp4").write_bytes(b"film")
    session.end()
    assert not session.folder.exists()


def test_url_says_what_is_shown_and_is_understood(session: Session) -> None:
    parameters = {"edits": "kept", "frame": "3"}
    write_address(session, parameters)
    assert parameters == {"edits": "kept"}
    session.add(take("a"))
    session.point(9)
    session.choose(1, 3)
    write_address(session, parameters)
    assert parameters == {"edits": "kept", "take": "a", "frame": "9", "tokens": "1-2"}
    assert read_address(parameters) == Address("a", 9, (1, 3))


@pytest.mark.parametrize("frame", ["-1", "x", "9" * 30, "²"])
@pytest.mark.parametrize("tokens", ["", "1", "a-b", "5-" + "9" * 30])
def test_nonsense_in_a_url_is_left_out(frame: str, tokens: str) -> None:
    assert read_address({"take": "a", "frame": frame, "tokens": tokens}) == Address("a", 0, None)


@pytest.mark.parametrize("frames", [17, 18, 19, 20])
def test_first_token_is_shorter_where_the_clip_does_not_divide(frames: int) -> None:
    clip = take("a", tokens=5, frames=frames)
    parts = token_frames(clip, 4)
    assert [stop - start for start, stop in parts] == [frames - 16, 4, 4, 4, 4]
    assert [token_at(clip, frame, 4) for frame in range(frames)] == [
        token for token, (start, stop) in enumerate(parts) for _ in range(start, stop)
    ]
