"""The encoder's id follows every change of the weights, and is not computed again where there was none."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from animator.builders import animator_config, build_animator
from animator.models.identity import encoder_id
from animator.models.motion_encoder import MotionEncoder
from tests.animator.tiny import shake


def fresh(seed: int = 0) -> MotionEncoder:
    return build_animator(animator_config("tiny"), seed).motion_encoder


@pytest.fixture
def encoder() -> MotionEncoder:
    return fresh()


def test_it_is_computed_once_for_the_same_weights(encoder: MotionEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[bytes] = []
    sha256 = hashlib.sha256

    def counting(data: bytes = b"") -> object:
        begun.append(data)
        return sha256(data)

    monkeypatch.setattr(hashlib, "sha256", counting)
    first = encoder_id(encoder)
    with torch.no_grad():
        encoder.encode(torch.zeros(1, 3, 32, 32))
    assert encoder_id(encoder) == first and len(begun) == 1
    assert encoder_id(copy.deepcopy(encoder)) == first and len(begun) == 2


def test_a_model_made_in_inference_mode_has_the_same_id() -> None:
    expected = encoder_id(fresh())
    with torch.inference_mode():
        made = fresh()
    assert [encoder_id(made), encoder_id(made)] == [expected, expected]


def in_place(encoder: MotionEncoder) -> None:
    """One value of one weight, as an optimiser would change it."""
    with torch.no_grad():
        next(encoder.parameters()).view(-1)[3] += 0.5


def through_data(encoder: MotionEncoder) -> None:
    """As averages of weights are often written, which the tensors' counters do not see."""
    for parameter in encoder.parameters():
        parameter.data.mul_(1.5)


def loaded(encoder: MotionEncoder) -> None:
    encoder.load_state_dict(fresh(1).state_dict())


def replaced(encoder: MotionEncoder) -> None:
    for parameter, other in zip(encoder.parameters(), fresh(1).parameters(), strict=True):
        parameter.data = other.data


def normalised(encoder: MotionEncoder) -> None:
    """Only the running statistics move."""
    with torch.no_grad():
        encoder.train().encode(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))


def configured(encoder: MotionEncoder) -> None:
    encoder.register_to_config(box_dim=9)


@pytest.mark.parametrize("change", [in_place, through_data, loaded, replaced, normalised, configured])
def test_any_change_shows_at_the_next_call(encoder: MotionEncoder, change: Callable[[MotionEncoder], None]) -> None:
    before = encoder_id(encoder)
    change(encoder)
    after = encoder_id(encoder)
    assert after != before
    # What a model that was never asked before says.
    assert encoder_id(copy.deepcopy(encoder)) == after


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_number_format_changes_no_id_of_saved_weights(
    encoder: MotionEncoder, dtype: torch.dtype, tmp_path: Path
) -> None:
    shake(encoder)
    expected = encoder_id(encoder)
    assert encoder_id(copy.deepcopy(encoder).half()) != expected  # or the rest shows nothing
    encoder.save_pretrained(tmp_path / "first")
    loaded = MotionEncoder.from_pretrained(tmp_path / "first", dtype=dtype)
    assert loaded.dtype == dtype
    assert encoder_id(loaded) == expected
    loaded.save_pretrained(tmp_path / "second")
    assert encoder_id(MotionEncoder.from_pretrained(tmp_path / "second", dtype=torch.float32)) == expected
    with torch.no_grad():
        next(loaded.parameters()).view(-1)[3] += 0.5
    assert encoder_id(loaded) != expected


def test_weights_that_come_back_to_their_old_place_are_seen() -> None:
    """Half precision and back: the new memory may lie where the old lay, and no counter has moved."""
    encoder = fresh()
    shake(encoder)
    for _ in range(3):
        encoder_id(encoder)
        encoder.half().float()
        assert encoder_id(encoder) == encoder_id(copy.deepcopy(encoder))
