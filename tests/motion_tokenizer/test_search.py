"""Closed-loop encoding chooses tokens by what the decoder makes of them."""

from __future__ import annotations

import pytest
import torch

from motion_tokenizer.builders import build_model, tokenizer_config
from motion_tokenizer.models.blocks import StreamState
from motion_tokenizer.models.search import Paths
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


@pytest.mark.parametrize("overrides", [(), ("tokenizer.quantizer.kind=fsq",)])
@torch.no_grad()
def test_few_tries_find_almost_what_trying_all_codes_finds(overrides: tuple[str, ...]) -> None:
    plain, model = models("tokenizer.search_predicted=true", *overrides)
    x = features(4, batch=16)
    codes = torch.arange(model.bottleneck.codes)[:, None, None]
    every = torch.stack([torch.stack([error(model, row[None], code[None]) for code in codes]) for row in x])
    ours = torch.stack([error(model, row[None], token[None]) for row, token in zip(x, model.encode(x), strict=True)])
    nearest = torch.stack([error(model, row[None], token[None]) for row, token in zip(x, plain.encode(x), strict=True)])
    best = every.min(dim=1).values
    assert (ours <= nearest * (1 + 1e-6)).all(), "the nearest code is among those that are tried"
    assert float((ours - best).sum()) < 0.2 * float((nearest - best).sum())


@torch.no_grad()
def test_first_token_is_the_best_of_those_near_to_what_the_encoder_says() -> None:
    _, model = models()
    x = features(4, 1)
    tried = model.bottleneck.candidates(model.encode_continuous(x), 8)[0, 0]
    errors = torch.stack([error(model, x, token[None, None]) for token in tried])
    assert torch.equal(model.encode(x)[0, 0], tried[errors.argmin()])


@torch.no_grad()
def test_candidates_are_the_nearest_by_the_metric() -> None:
    model, _ = models()
    vectors = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    root = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(1))
    away = model.bottleneck.codebooks[0] - vectors[:, None]
    distances = (away @ root).square().sum(dim=-1)
    found = model.bottleneck.candidates(vectors, 5, root @ root.mT)[..., 0]
    torch.testing.assert_close(distances.gather(1, found), distances.sort(dim=1).values[:, :5], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("overrides", QUANTIZERS)
@torch.no_grad()
def test_nearest_candidate_is_the_token_without_a_search(overrides: tuple[str, ...]) -> None:
    plain, _ = models(*overrides)
    vectors = plain.encode_continuous(features())
    assert torch.equal(plain.bottleneck.candidates(vectors, 3)[..., 0, :], plain.bottleneck.encode(vectors))


SEVERAL = ("tokenizer.search_paths=4", "tokenizer.search_delay=2")


@pytest.mark.parametrize("predicted", [False, True])
@pytest.mark.parametrize("overrides", [(), SEVERAL, (*SEVERAL, "tokenizer.levels=2")])
@torch.no_grad()
def test_searching_in_pieces_equals_searching_the_whole(overrides: tuple[str, ...], predicted: bool) -> None:
    _, model = models(*overrides, f"tokenizer.search_predicted={str(predicted).lower()}")
    x = features()
    state, paths = StreamState(), Paths()
    pieces = [model.encode_next(part, state, paths) for part in x.split([4, 16, 8, 20], dim=1)]
    assert paths.best is not None
    assert torch.equal(torch.cat([*pieces, paths.best], dim=1), model.encode(x))
    assert paths.best.shape[1] == model.config.search_delay


@torch.no_grad()
def test_clips_are_searched_as_if_each_were_alone() -> None:
    _, model = models(*SEVERAL, "tokenizer.search_predicted=true")
    x = features(batch=3)
    assert torch.equal(model.encode(x), torch.cat([model.encode(row) for row in x.split(1)]))


@torch.no_grad()
def test_as_many_paths_as_there_are_find_the_best_tokens_of_all() -> None:
    words = ("tokenizer.search=16", "tokenizer.codes=16", "tokenizer.search_paths=16", "tokenizer.search_delay=2")
    model = build_model(tokenizer_config("tiny", *words))
    x = features(8, batch=1)
    every = [torch.tensor([[[first], [second]]]) for first in range(16) for second in range(16)]
    best = every[int(torch.stack([error(model, x, tokens) for tokens in every]).argmin())]
    assert torch.equal(model.encode(x), best)


@torch.no_grad()
def test_a_token_hangs_on_as_many_tokens_after_it_as_the_delay_says() -> None:
    _, model = models(*SEVERAL)
    x = features(48, batch=8)
    other = x.clone()
    other[:, 24:] = features(48, batch=8).flip(0)[:, 24:] + 3
    same = (model.encode(x) == model.encode(other)).all(dim=-1)
    assert same[:, :4].all(), "tokens 0 to 3 are decided before frame 24"
    assert not same[:, 6:].all()


def test_search_and_looking_ahead_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="causal"):
        MotionVQVAE(width=8, codes=16, causal=False, search=2)


@pytest.mark.parametrize("settings", [{"search_paths": 2}, {"search_delay": 1}])
def test_paths_and_delay_go_together(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="paths"):
        MotionVQVAE(width=8, codes=16, search=4, **settings)
