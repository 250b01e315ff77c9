"""What is opened is judged by what it holds, refused in the words of its owner, and leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import streamlit as st

from animator.config_loader import load_config
from animator.dataset import MotionRecord, write_dataset
from animator.errors import XNeMoError
from animator.image import write_image
from animator.motion_clip import MotionClip
from apps.viewer import config, networks, server, sources, thumbnails  # noqa: F401 (config types the settings)
from apps.viewer.analysis import analyse
from apps.viewer.editing import open_history
from apps.viewer.session import MAX_TAKES, Session
from apps.viewer.sources import EXAMPLES, kind_of, open_clip, open_example, open_named, open_upload
from motion_tokenizer.edit_history import EditHistory
from motion_tokenizer.editing import Delete, TokenKind
from motion_tokenizer.token_sequence import TokenSequence
from tests.motion_tokenizer.synthetic import synthetic_motion


@pytest.fixture(scope="module", autouse=True)
def packaged() -> Iterator[None]:
    """A viewer with the packaged weights, which takes 2 MB and 10 s."""
    before = server._started[:]
    st.cache_resource.clear()
    server.configure(load_config("view", ["device=cpu", "upload_mb=2", "upload_seconds=10"]))
    yield
    st.cache_resource.clear()
    server._started[:] = before


@pytest.fixture
def session(tmp_path: Path) -> Session:
    folder = tmp_path / "session"
    folder.mkdir()
    return Session(folder)


def refused(session: Session, name: str, data: bytes) -> str:
    """Why an upload is refused; its file is gone."""
    with pytest.raises(XNeMoError) as caught:
        open_upload(session, name, data)
    assert list(session.folder.iterdir()) == []
    assert str(session.folder) not in str(caught.value)
    assert str(caught.value).startswith(name)
    return str(caught.value)


def test_example_opens_with_pictures_and_figures() -> None:
    for example in EXAMPLES:
        take = open_example(example)
        assert open_named(example.key).key == take.key
        assert take.shared
        figures = analyse(take)
        assert figures.places.shape == (take.length, 3)
        assert set(figures.signals) == {"mouth", "blink", "smile", "yaw"}
        assert figures.surprise.shape == (len(take),)
        assert (figures.surprise >= 0).all()
        assert (figures.error is None) == (take.motion is None)
        pictures = thumbnails.strip(take, networks.default_portrait())
        assert pictures.frames == sorted(set(pictures.frames))
        assert pictures.frames[-1] == take.length - 1
    speech = open_example(EXAMPLES[0])
    assert np.ptp(analyse(speech).signals["mouth"]) > 0.2


def test_address_of_an_upload_says_why_it_cannot_be_opened() -> None:
    with pytest.raises(XNeMoError, match="only by the window that made them"):
        open_named("holiday")


def test_what_a_file_is_called_is_not_asked(tmp_path: Path) -> None:
    picture = tmp_path / "film.mp4.png"
    write_image(picture, np.zeros((32, 32, 3), np.uint8))
    assert kind_of(picture) == "picture"
    assert kind_of(EXAMPLES[0].file) == "motion"
    assert kind_of(EXAMPLES[0].frames) == "video"
    assert kind_of(EXAMPLES[1].file) == "tokens"
    tokens = TokenSequence.load(EXAMPLES[1].file)
    history = EditHistory(TokenKind.of(networks.tokenizer()), (tokens,)).do(Delete(0, 0, 1))
    assert kind_of(history.save(tmp_path / "tokens.json")) == "edits"


@pytest.mark.parametrize("name", ["broken.mp4", "../../x.tokens.json", "a.motion.safetensors"])
@pytest.mark.parametrize(
    "data", [b"", b"short", b"{" + b"a" * 400, b"\x89PNG\r\n\x1a\n" + b"\0" * 99, bytes(range(256))]
)
def test_broken_upload_is_refused_by_its_own_name(session: Session, name: str, data: bytes) -> None:
    refused(session, name, data)


def test_too_large_and_too_long_uploads_are_refused(session: Session) -> None:
    assert "at most 2 MB" in refused(session, "huge.mp4", b"\0" * (2 * 2**20 + 1))
    clip = MotionClip.load(EXAMPLES[0].file)
    long = MotionClip.concatenate([clip, clip])
    path = long.save(session.folder.parent / "long.motion.safetensors")
    assert "takes 10 s" in refused(session, "long.motion.safetensors", path.read_bytes())


def test_motion_and_tokens_of_other_models_are_refused(session: Session) -> None:
    path = synthetic_motion(20, 0).save(session.folder.parent / "other.motion.safetensors")
    assert "encoder-a" in refused(session, "other.motion.safetensors", path.read_bytes())
    tokens = json.loads(EXAMPLES[1].file.read_text())
    tokens["tokenizer_id"] = "somebody-else"
    assert "somebody-else" in refused(session, "other.tokens.json", json.dumps(tokens).encode())


def test_uploaded_motion_is_tokenised_and_not_kept_as_a_file(session: Session) -> None:
    opened = open_upload(session, "my clip.motion.safetensors", EXAMPLES[0].file.read_bytes())
    assert opened.take is not None
    assert (opened.take.key, opened.take.name, opened.take.shared) == ("my-clip", "my clip.motion.safetensors", False)
    assert list(session.folder.iterdir()) == []


def test_uploaded_history_is_read_strictly_and_not_kept_as_a_file(session: Session) -> None:
    history = EditHistory(TokenKind.of(networks.tokenizer()), (open_example(EXAMPLES[1]).tokens,)).do(Delete(0, 0, 1))
    opened = open_upload(session, "a.edits.json", history.to_json().encode())
    assert opened.edits is not None and opened.edits.edits == (Delete(0, 0, 1),)
    take = open_history(session, opened.edits, "a.edits.json", networks.tokenizer())
    assert take.key == "example-feelings-edited", "examples need not be open"
    assert list(session.folder.iterdir()) == []
    session.takes.clear()
    assert "has no 'edits'" in refused(session, "a.edits.json", history.to_json().replace('"edits"', '"edit"').encode())


def test_upload_beyond_the_last_place_leaves_nothing_behind(session: Session) -> None:
    take = open_example(EXAMPLES[1])
    for number in range(MAX_TAKES):
        session.add(replace(take, key=f"take-{number}"))
    assert "close one first" in refused(session, "clip.mp4", EXAMPLES[0].frames.read_bytes())


def test_failure_that_nobody_foresaw_leaves_nothing_behind(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(networks, "pictures", broken)
    with pytest.raises(MemoryError):
        open_upload(session, "me.png", EXAMPLES[0].poster.read_bytes())
    assert list(session.folder.iterdir()) == []


def test_uploaded_portrait_is_kept_and_drawn_with(session: Session, portrait: Path) -> None:
    opened = open_upload(session, "me.txt", portrait.read_bytes())
    assert opened.take is None
    assert opened.portrait is not None
    assert opened.portrait.parent == session.folder
    take = open_example(EXAMPLES[1])
    assert thumbnails.drawn(take, [0, 9], opened.portrait).shape == (2, 256, 256, 3)
    assert session.names == {opened.portrait: "me.txt"}


def test_clip_of_a_dataset_brings_its_labels(tmp_path: Path) -> None:
    motion = replace(MotionClip.load(EXAMPLES[0].file)[:40], source="a.mp4", source_sha256="ab" * 32)
    write_dataset(tmp_path / "set", [MotionRecord("clip a", "anna", "happy", 3, "train", None, motion)])
    take = open_clip(tmp_path / "set", "clip a", shared=True)
    assert (take.key, take.identity, take.emotion, take.intensity) == ("clip:clip a", "anna", "happy", 3)
    assert len(take) == 10
    with pytest.raises(XNeMoError, match="no clip nobody"):
        open_clip(tmp_path / "set", "nobody", shared=True)


def test_error_is_nought_where_tokens_say_all_there_is() -> None:
    tokens = TokenSequence.load(EXAMPLES[1].file)
    take = open_example(EXAMPLES[1])
    exact = replace(take, motion=networks.tokenizer().decode(tokens))
    error = analyse(exact).error
    assert error is not None
    assert error == pytest.approx(0, abs=1e-5)
    assert (analyse(open_example(EXAMPLES[0])).error > 0.05).all()
