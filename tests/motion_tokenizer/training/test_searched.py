"""Tokens that are searched for once and gone through several times."""

from __future__ import annotations

import torch

from animator.training.state import AveragedWeights
from motion_tokenizer.builders import build_model, tokenizer_config
from motion_tokenizer.models.vqvae import MotionVQVAE
from motion_tokenizer.training.searched import SearchedTokens
from motion_tokenizer.training.windows import WindowBatch


def windows(number: int) -> WindowBatch:
    """The windows of a step."""
    features = torch.randn(2, 16, 515, generator=torch.Generator().manual_seed(number))
    return WindowBatch(features, features, torch.ones(2, 16, dtype=torch.bool))


def learn(model: MotionVQVAE) -> None:
    """Something that changes what the decoder makes of a token."""
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))


def test_windows_come_back_within_a_round_and_no_later() -> None:
    model = build_model(tokenizer_config("tiny", "tokenizer.search=4"))
    tokens = SearchedTokens(model, AveragedWeights(model, 0.9), first=10, windows=2, passes=3)
    assert [tokens.windows_of(step) for step in range(8, 24)] == [8, 9, *[10, 11] * 3, *[12, 13] * 3, 14, 15]


def test_a_round_has_the_tokens_of_its_first_weights_also_after_a_stop() -> None:
    model = build_model(tokenizer_config("tiny", "tokenizer.search=4"))
    searcher = AveragedWeights(model, 0.9)
    tokens = SearchedTokens(model, searcher, first=0, windows=2, passes=2)
    first = model.bottleneck.decode(model.encode(windows(0).features))
    assert torch.equal(tokens.vectors(0, windows(0)), first)
    learn(model)
    learnt = {name: value.clone() for name, value in model.state_dict().items()}
    second = tokens.vectors(1, windows(1))
    assert not torch.equal(second, model.bottleneck.decode(model.encode(windows(1).features))), "too alike to tell"
    assert torch.equal(tokens.vectors(2, windows(0)), first)
    # What is kept of a run is the weights of the searcher.
    resumed = SearchedTokens(model, searcher, first=0, windows=2, passes=2)
    assert torch.equal(resumed.vectors(3, windows(1)), second)
    assert all(torch.equal(value, learnt[name]) for name, value in model.state_dict().items())
    # The next round is searched by the weights of its own first step.
    third = model.bottleneck.decode(model.encode(windows(2).features))
    assert torch.equal(resumed.vectors(4, windows(2)), third)
