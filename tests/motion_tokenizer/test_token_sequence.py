"""Token files: whole or not at all, read back as written, and refused in one line when they are not right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from animator.errors import XNeMoError
from motion_tokenizer.token_sequence import TokenSequence


def sequence(**changes: Any) -> TokenSequence:
    values: dict[str, Any] = {
        "tokens": torch.tensor([[7], [0], [4095]]),
        "frames": 11,
        "fps": 25.0,
        "tokenizer_id": "aaaa",
        "encoder_id": "bbbb",
    }
    return TokenSequence(**values | changes)


def test_a_file_gives_back_every_field(tmp_path: Path) -> None:
    full = sequence(source="clip.mp4", source_sha256="c" * 64, crop=(-3, 4, 50, 60), t0=8, seed=2**40)
    for written in (sequence(), full, sequence(tokens=torch.tensor([[1, 2], [3, 4]]), frames=5)):
        read = TokenSequence.load(written.save(tmp_path / "x.tokens.json"), "aaaa")
        assert torch.equal(read.tokens, written.tokens) and read.tokens.dtype == torch.int64
        names = ("frames", "fps", "tokenizer_id", "encoder_id", "source", "source_sha256", "crop", "t0", "seed")
        for name in names:
            assert getattr(read, name) == getattr(written, name), name


def test_the_file_is_plain_json_with_a_list_of_numbers(tmp_path: Path) -> None:
    content = json.loads(sequence().save(tmp_path / "x.tokens.json").read_text())
    assert content["tokens"] == [7, 0, 4095]
    assert (content["frames"], content["fps"], content["tokenizer_id"]) == (11, 25.0, "aaaa")
    levels = sequence(tokens=torch.tensor([[1, 2], [3, 4]]), frames=5)
    assert json.loads(levels.save(tmp_path / "y.tokens.json").read_text())["tokens"] == [[1, 2], [3, 4]]


def test_length() -> None:
    assert len(sequence()) == 3
    assert sequence().seconds == pytest.approx(11 / 25)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tokens": torch.tensor([1, 2])}, "tokens must be"),
        ({"tokens": torch.zeros(0, 1, dtype=torch.int64)}, "at least one"),
        ({"tokens": torch.zeros(3, 0, dtype=torch.int64)}, "at least one"),
        ({"tokens": torch.tensor([[1.0]])}, "int64"),
        ({"tokens": torch.tensor([[-1]])}, "0 or above"),
        ({"frames": 2}, "cannot hold 2 frames"),
        ({"fps": float("nan")}, "fps"),
        ({"tokenizer_id": ""}, "empty"),
        ({"crop": (0, 0, 0, 5)}, "crop"),
        ({"t0": 11}, "t0"),
    ],
)
def test_values_that_cannot_be_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        sequence(**changes)


def changed(**changes: Any) -> Callable[[str], str]:
    return lambda text: json.dumps(json.loads(text) | changes)


def without(name: str) -> Callable[[str], str]:
    return lambda text: json.dumps({key: value for key, value in json.loads(text).items() if key != name})


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[: len(text) // 2], "not a token file"),
        (lambda text: "", "not a token file"),
        (lambda text: "[1, 2, 3]", "JSON without a token schema"),
        (lambda text: "[" * 100_000, "not a token file"),
        (changed(schema=2), "newer than 1"),
        (changed(schema="1"), "JSON without a token schema"),
        (without("tokens"), "it has no 'tokens'"),
        (without("tokenizer_id"), "it has no 'tokenizer_id'"),
        (changed(tokens=[]), "list of numbers"),
        (changed(tokens="7"), "list of numbers"),
        (changed(tokens=[1, None]), "whole numbers, not None"),
        (changed(tokens=[1, 2.5]), "whole numbers, not 2.5"),
        (changed(tokens=[True]), "whole numbers, not True"),
        (changed(tokens=[1, -2, 3]), "0 or above, not -2"),
        (changed(tokens=[[1, 2], [3]]), "same number of levels"),
        (changed(tokens=[2**70]), "damaged token file"),
        (changed(fps=float("nan")), "fps must be above 0"),
        (changed(fps="fast"), "damaged token file"),
        (changed(fps=None), "damaged token file"),
        (changed(frames=1), "cannot hold 1 frames"),
        (changed(frames=11.0), "frames must be whole numbers"),
        (changed(crop=[1, 2]), "crop must be"),
        (changed(crop=[1, 2, 3, "4"]), "crop must be"),
        (changed(encoder_id=5), "encoder_id must be a text"),
        (changed(t0=99), "t0 must be"),
    ],
)
def test_damaged_files_are_refused_in_one_line(damage: Callable[[str], str], says: str, tmp_path: Path) -> None:
    path = sequence().save(tmp_path / "x.tokens.json")
    path.write_text(damage(path.read_text()))
    with pytest.raises(XNeMoError, match=says) as caught:
        TokenSequence.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_other_files_and_other_tokenizers_are_refused(tmp_path: Path) -> None:
    path = sequence().save(tmp_path / "x.tokens.json")
    with pytest.raises(XNeMoError, match="made by tokenizer aaaa, but the one in use is cccc"):
        TokenSequence.load(path, "cccc")
    with pytest.raises(XNeMoError, match="no such token file"):
        TokenSequence.load(tmp_path / "y.tokens.json")
    (tmp_path / "z.tokens.json").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(XNeMoError, match="not a token file"):
        TokenSequence.load(tmp_path / "z.tokens.json")
    with pytest.raises(XNeMoError, match="cannot be written"):
        sequence().save(path / "below.tokens.json")
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "z.tokens.json"]
