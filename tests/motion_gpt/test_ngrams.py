"""Models that count, on tokens whose entropy is known."""

from __future__ import annotations

import math

import pytest
import torch

from motion_gpt.ngrams import Bigram, CopyLast, TokenModel, Unigram, fit_token_models

CODES = 16


def people(count: int) -> list[str]:
    return [f"person {number}" for number in range(count)]


def uniform_clips(count: int, length: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(CODES, (length, 1), generator=generator) for _ in range(count)]


def ring_clips(count: int, length: int, seed: int, repeat: float = 0.0) -> list[torch.Tensor]:
    """Each code is followed by the next one, or by itself."""
    generator = torch.Generator().manual_seed(seed)
    clips = []
    for _ in range(count):
        steps = (torch.rand(length, generator=generator) >= repeat).long()
        clips.append(((torch.randint(CODES, (), generator=generator) + steps.cumsum(0)) % CODES)[:, None])
    return clips


def test_nothing_beats_the_entropy_of_independent_tokens() -> None:
    models = fit_token_models(uniform_clips(40, 100, 0), people(40), CODES)
    held_out = uniform_clips(40, 100, 1)
    for model in models.values():
        assert model.bits(held_out) == pytest.approx(math.log2(CODES), abs=0.1)


def test_the_bigram_finds_what_follows_what() -> None:
    models = fit_token_models(ring_clips(20, 50, 0), people(20), CODES)
    held_out = ring_clips(10, 50, 1)
    assert models["bigram"].bits(held_out) < 0.5 < models["unigram"].bits(held_out)


def test_copy_last_finds_how_often_a_code_stays() -> None:
    models = fit_token_models(ring_clips(20, 200, 0, repeat=0.7), people(20), CODES)
    assert models["copy_last"].strength == pytest.approx(0.7)
    held_out = ring_clips(10, 200, 1, repeat=0.7)
    assert models["copy_last"].bits(held_out) < models["unigram"].bits(held_out) - 1


def test_smoothing_is_chosen_across_people() -> None:
    # Everybody has a ring of his own: what follows what in one says nothing about another.
    generator = torch.Generator().manual_seed(0)
    clips = []
    for _ in range(10):
        order = torch.randperm(CODES, generator=generator)
        clips.append(order[torch.arange(200) % CODES][:, None])
    models = fit_token_models(clips, people(10), CODES)
    assert models["bigram"].strength >= 30


@pytest.mark.parametrize("name", ["unigram", "bigram", "copy_last"])
def test_next_probabilities_are_those_of_pairs_and_sum_to_one(name: str) -> None:
    model = fit_token_models(ring_clips(5, 40, 0, repeat=0.3), people(5), CODES)[name]
    from motion_gpt.ngrams import Pairs

    counts = model.counts[0]
    for before in range(3):
        row = model.next_probabilities(counts, before)
        assert float(row.sum()) == pytest.approx(1)
        pairs = Pairs(torch.full((CODES,), before), torch.arange(CODES))
        assert torch.allclose(row, model.pair_probabilities(counts, pairs))


def test_samples_follow_the_model_and_its_seed() -> None:
    model: TokenModel = fit_token_models(ring_clips(20, 50, 0), people(20), CODES)["bigram"]
    prefix = torch.tensor([[3]])
    tokens = model.sample(prefix, 30, torch.Generator().manual_seed(0))
    assert tokens.shape == (30, 1)
    assert torch.equal(tokens, model.sample(prefix, 30, torch.Generator().manual_seed(0)))
    follows = torch.cat([prefix, tokens])[:, 0]
    assert float(((follows[1:] - follows[:-1]) % CODES == 1).float().mean()) > 0.8


def test_levels_are_counted_apart() -> None:
    clips = [torch.cat([a, b], dim=1) for a, b in zip(ring_clips(20, 50, 0), uniform_clips(20, 50, 1), strict=True)]
    models = fit_token_models(clips, people(20), CODES)
    one = fit_token_models([clip[:, :1] for clip in clips], people(20), CODES)["bigram"]
    assert models["unigram"].sample(clips[0], 5, torch.Generator().manual_seed(0)).shape == (5, 2)
    assert models["bigram"].bits(clips) > one.bits([clip[:, :1] for clip in clips])
    assert {type(model) for model in models.values()} == {Unigram, Bigram, CopyLast}
