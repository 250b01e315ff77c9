"""Recall: codes near those of the given part become more probable, and nothing else changes."""

from __future__ import annotations

import pytest
import torch

from motion_gpt.decoder import Decoder
from motion_gpt.filters import mix_in
from motion_gpt.models.motion_gpt import MotionGpt
from motion_gpt.models.recall import Recall, trust
from motion_gpt.rollout import Item, Rollout
from motion_gpt.sampling import generate, generate_items, stream
from motion_gpt.settings import Sampling
from motion_gpt.vocabulary import Condition
from tests.motion_gpt.tiny import CODES, tiny_gpt, tokens

HAPPY = Condition("happy", 2)


def line(levels: int = 1) -> torch.Tensor:
    """Codebooks whose codes stand in a row, 5 apart."""
    return torch.stack([torch.arange(CODES), torch.zeros(CODES)], dim=1).mul(5.0).expand(levels, -1, -1)


def remembering(levels: int = 1) -> MotionGpt:
    """A tiny generator that is told that its codes stand in a row."""
    model = tiny_gpt(levels)
    model.recall = Recall(levels, CODES, 2)
    model.recall.fit(line(levels))
    return model


def test_what_is_near_is_a_gaussian_about_each_token() -> None:
    recall = Recall(2, CODES, 2)
    recall.fit(line(2))
    near = recall.near(torch.tensor([[10, 40], [10, 50]]))
    torch.testing.assert_close(near.sum(dim=1), torch.ones(2))
    # By hand: distances are whole numbers in units of that to the next code, and the width is 2/3 of it.
    weights = torch.exp(-0.5 * (torch.arange(-10, CODES - 10) * 1.5).square())
    torch.testing.assert_close(near[0], weights / weights.sum())
    assert near[1, 40] == pytest.approx(float(near[1, 50])) and near[1, 40] == pytest.approx(float(near[0, 10]) / 2)


def test_a_share_goes_over() -> None:
    logits = torch.tensor([[[0.0, 0.0]], [[0.0, 0.0]]])
    others = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    mixed = mix_in(logits, others, torch.tensor([0.5, 0.0])).exp()
    torch.testing.assert_close(mixed[:, 0], torch.tensor([[0.75, 0.25], [0.5, 0.5]]))


def test_what_was_given_comes_again_as_often_as_was_asked_for() -> None:
    decoder, given = Decoder(remembering()), torch.full((12, 1), 7)
    plain = generate(decoder, given, Condition(), 400, Sampling(recall=0.0))
    recalled = generate(decoder, given, Condition(), 400, Sampling(recall=0.8))
    share = float((recalled - 7).abs().le(2).float().mean()) - float((plain - 7).abs().le(2).float().mean())
    assert share == pytest.approx(0.8 * trust(12), abs=0.12)


@pytest.mark.parametrize("levels", [1, 2])
def test_a_clip_is_the_same_alone_in_a_batch_and_streamed(levels: int) -> None:
    decoder, settings = Decoder(remembering(levels)), Sampling(recall=0.6)
    items = [Item(tokens(9, levels, seed), Condition(), seed) for seed in range(3)]
    together = generate_items(decoder, items, 20, settings)
    for item, made in zip(items, together, strict=True):
        assert torch.equal(generate_items(decoder, [item], 20, settings)[0], made)
    flow = stream(decoder, items[0].prefix, Condition(), Sampling(recall=0.6, seed=0), 20)
    assert torch.equal(torch.stack(list(flow)), together[0])


@pytest.mark.parametrize(
    ("condition", "given", "settings"),
    [
        (HAPPY, 8, Sampling(recall=0.9)),  # the given part may express something else
        (Condition(), 0, Sampling(recall=0.9)),
        (Condition(), 8, Sampling(recall=0.9, temperature=0)),
        (Condition(), 8, Sampling(recall=0.0)),
    ],
)
def test_where_nothing_is_recalled(condition: Condition, given: int, settings: Sampling) -> None:
    decoder, forgetful = Decoder(remembering()), Decoder(tiny_gpt())
    assert Rollout(decoder, [Item(tokens(given), condition, 0)], settings, 4).recalled is None
    made, other = (generate(d, tokens(given), condition, 10, settings) for d in (decoder, forgetful))
    assert torch.equal(made, other)
