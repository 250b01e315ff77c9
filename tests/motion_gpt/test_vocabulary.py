"""Every id has one meaning, and what has none is refused in one line."""

from __future__ import annotations

import pytest
import torch

from animator.errors import XNeMoError
from motion_gpt.vocabulary import EMOTIONS, INTENSITIES, Condition, Vocabulary


@pytest.mark.parametrize(("codes", "levels"), [(4096, 1), (64, 3)])
def test_every_id_has_one_meaning(codes: int, levels: int) -> None:
    words = Vocabulary(codes, levels)
    marks = [words.eos, words.bos, words.pad, words.null_emotion, words.null_intensity]
    conditions = [words.emotion(name) for name in EMOTIONS] + [words.intensity(level) for level in INTENSITIES]
    assert sorted([*range(codes * levels), *marks, *conditions]) == list(range(codes * levels + 16))
    assert words.size % 64 == 0
    assert 0 <= words.size - (codes * levels + 16) < 64


def test_the_papers_vocabulary_has_4160_rows_and_not_50257() -> None:
    assert Vocabulary().size == 4160


def test_the_eight_emotions_of_mead_are_there() -> None:
    assert EMOTIONS == ("angry", "contempt", "disgusted", "fear", "happy", "neutral", "sad", "surprised")
    assert len({Vocabulary().emotion(name) for name in EMOTIONS}) == 8


def test_tokens_become_ids_and_tokens_again() -> None:
    words = Vocabulary(64, 3)
    tokens = torch.tensor([[0, 1, 2], [63, 63, 63]])
    ids = words.to_ids(tokens)
    assert ids.tolist() == [[0, 65, 130], [63, 127, 191]]
    assert torch.equal(words.to_tokens(ids), tokens)


def test_a_condition_is_bos_emotion_intensity() -> None:
    words = Vocabulary()
    assert words.condition("happy", 3).tolist() == [words.bos, words.emotion("happy"), words.intensity(3)]
    assert words.condition().tolist() == [words.bos, words.null_emotion, words.null_intensity]
    assert words.condition("neutral", 1)[1] == words.emotion("neutral")


@pytest.mark.parametrize(
    ("emotion", "intensity", "message"),
    [
        ("joy", 1, "emotion=joy: unknown; the emotions are angry, contempt, disgusted, fear, happy, neutral, sad, sur"),
        ("happy", 4, "intensity=4: must be 1, 2 or 3"),
        ("happy", 0, "intensity=0"),
        ("neutral", 3, "intensity=3: neutral has intensity 1 only"),
    ],
)
def test_a_condition_that_is_not_there_is_refused(emotion: str, intensity: int, message: str) -> None:
    with pytest.raises(XNeMoError, match=message):
        Vocabulary().condition(emotion, intensity)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.tensor([[64]]), "hold 64, but this generator knows 0 to 63; use the tokenizer"),
        (torch.tensor([[-1]]), "hold -1"),
        (torch.zeros(4, 2, dtype=torch.long), r"shape \(4, 2\), must be \(n, 1\)"),
        (torch.zeros(4, dtype=torch.long), r"shape \(4,\)"),
    ],
)
def test_tokens_of_another_vocabulary_are_refused(tokens: torch.Tensor, message: str) -> None:
    with pytest.raises(XNeMoError, match=message):
        Vocabulary(64).to_ids(tokens)


def test_a_blend_shares_its_weight() -> None:
    words = Vocabulary()
    (first, a), (second, b) = Condition("happy", 3, "sad", 0.3).branches(words)
    assert (a, b) == (0.7, 0.3)
    assert first.tolist() == words.condition("happy", 3).tolist()
    assert second.tolist() == words.condition("sad", 3).tolist()
    neutral = Condition("happy", 3, "neutral", 0.5).branches(words)[1][0]
    assert neutral.tolist() == words.condition("neutral", 1).tolist()


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (Condition("happy", 1, "sad", 1.5), "blend share 1.5: must be from 0 to 1"),
        (Condition(blend="sad", blend_share=0.5), "no first emotion"),
        (Condition("happy", 1, "joy", 0.5), "emotion=joy"),
    ],
)
def test_a_blend_that_cannot_be_is_refused(condition: Condition, message: str) -> None:
    with pytest.raises(XNeMoError, match=message):
        condition.branches(Vocabulary())
