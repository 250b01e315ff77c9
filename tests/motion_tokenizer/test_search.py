"""Closed-loop encoding chooses tokens by what the decoder makes of them."""

from __future__ import annotations

import pytest
import torch

from motion_tokenizer.builders import build_model, tokenizer_config
from motion_tokenizer.models.blocks import StreamState
from motion_tokenizer.models.vqvae import MotionVQVAE

QUANTIZERS = [(), ("tokenizer.levels=2",), ("tokenizer.quantizer.kind=fsq",), ("tokenizer.quantizer.kind=cosine",)]


def features(frames: int = 48, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(batch, frames, 515, generator=generator).cumsum(dim=1)


def models(*overrides: str) -> tuple[MotionVQVAE, MotionVQVAE]:
    """The same networks without and with a search."""
    plain = build_model(tokenizer_config("tiny", "tokenizer.search=1", *overrides))
    searching = build_model(tokenizer_config("tiny", "tokenizer.search=8", *overrides))
    searching.load_state_dict(plain.state_dict())
    return plain, searching


def error(model: MotionVQVAE, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    weights = torch.cat([torch.full((512,), 1 / 512), torch.full((3,), 0.25 / 3)])
    return ((model.normalise(model.decode(tokens)) - model.normalise(x)).square() * weights).sum()


@pytest.mark.parametrize("overrides", QUANTIZERS)
@torch.no_grad()
def test_searched_tokens_give_frames_nearer_to_the_true_ones(overrides: tuple[str, ...]) -> None:
    plain, searching = models(*overrides)
    # Of one token each: what networks that are not trained remember of earlier tokens is as good as noise.
    x = features(4, batch=32)
    assert error(searching, x, searching.encode(x)) < error(plain, x, plain.encode(x))


@torch.no_grad()
def test_first_token_is_the_best_of_the_candidates() -> None:
    _, model = models()
    x = features(4, 1)
    tried = model.bottleneck.candidates(model.encode_continuous(x), 8)[0, 0]
    errors = torch.stack([error(model, x, token[None, None]) for token in tried])
    assert torch.equal(model.encode(x)[0, 0], tried[errors.argmin()])


@pytest.mark.parametrize("overrides", QUANTIZERS)
@torch.no_grad()
def test_nearest_candidate_is_the_token_without_a_search(overrides: tuple[str, ...]) -> None:
    plain, _ = models(*overrides)
    vectors = plain.encode_continuous(features())
    assert torch.equal(plain.bottleneck.candidates(vectors, 3)[..., 0, :], plain.bottleneck.encode(vectors))


@torch.no_grad()
def test_searching_in_pieces_equals_searching_the_whole() -> None:
    _, model = models()
    x = features()
    state, heard = StreamState(), StreamState()
    pieces = [model.encode(part, state, heard) for part in x.split([4, 16, 8, 20], dim=1)]
    assert torch.equal(torch.cat(pieces, dim=1), model.encode(x))


def test_search_and_looking_ahead_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="causal"):
        MotionVQVAE(width=8, codes=16, causal=False, search=2)
