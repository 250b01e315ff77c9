"""The quantisers: one interface, all state in the state dict, and none of the known traps."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from motion_tokenizer.config import QuantizerConfig
from motion_tokenizer.quantizers import MovingMeans, Quantizer, build_quantizer, usage

SMALL = QuantizerConfig(fsq_levels=[2] * 8)
WITH_TOKENS = [("ema", 1), ("ema", 3), ("rotation", 1), ("rotation", 2), ("simvq", 1), ("fsq", 1), ("cosine", 1)]
ALL = [*WITH_TOKENS, ("none", 1)]


def vectors(batch: int, steps: int, seed: int = 0) -> Tensor:
    return torch.randn(batch, steps, 8, generator=torch.Generator().manual_seed(seed))


def built(kind: str, levels: int = 1, **settings: float) -> Quantizer:
    torch.manual_seed(0)  # SimVQ's fixed codes
    made = build_quantizer(replace(SMALL, kind=kind, **settings), 8, 256, levels)
    made.initialise(vectors(20, 100, seed=9).flatten(0, 1), torch.Generator().manual_seed(1))
    return made


@pytest.mark.parametrize(("kind", "levels"), WITH_TOKENS)
def test_tokens_say_everything_that_the_decoder_reads(kind: str, levels: int) -> None:
    quantizer = built(kind, levels).eval()
    data = vectors(3, 20)
    result = quantizer(data)
    assert result.tokens.shape == (3, 20, levels) and result.tokens.dtype == torch.int64
    assert int(result.tokens.min()) >= 0 and int(result.tokens.max()) < 256
    assert torch.equal(quantizer.encode(data), result.tokens)
    torch.testing.assert_close(quantizer.decode(result.tokens), result.vectors)
    assert quantizer.codebooks.shape == (levels, 256, 8)
    assert 1 < result.metrics["perplexity"] <= result.metrics["used_codes"] <= 60


@pytest.mark.parametrize(("kind", "levels"), ALL)
def test_gradients_reach_the_encoder(kind: str, levels: int) -> None:
    data = vectors(3, 20).requires_grad_()
    result = built(kind, levels).train()(data)
    (result.vectors * vectors(3, 20, seed=5)).sum().backward()
    assert data.grad is not None
    assert (data.grad.abs().sum(dim=-1) > 0).all()


@pytest.mark.parametrize("kind", ["ema", "rotation", "cosine"])
def test_indices_equal_the_librarys(kind: str) -> None:
    quantizer = built(kind).eval()
    assert isinstance(quantizer, MovingMeans)
    data = vectors(4, 50)
    quantized, tokens, _ = quantizer.layers[0](data)
    assert torch.equal(quantizer.encode(data)[..., 0], tokens)
    torch.testing.assert_close(quantizer(data).vectors, quantized)


@pytest.mark.parametrize(("kind", "levels"), ALL)
def test_training_goes_on_exactly_from_the_state_dict(kind: str, levels: int) -> None:
    # Codes die after a few steps, so that the random draws take part.
    first = built(kind, levels, decay=0.5).train()
    for seed in range(6):
        first(vectors(2, 30, seed))
    resumed = build_quantizer(replace(SMALL, kind=kind, decay=0.5), 8, 256, levels).train()
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    resets = 0.0
    for seed in range(6, 12):
        torch.manual_seed(seed)
        ours = first(vectors(2, 30, seed))
        theirs = resumed(vectors(2, 30, seed))
        assert torch.equal(ours.vectors, theirs.vectors) and torch.equal(ours.tokens, theirs.tokens)
        assert torch.equal(ours.loss, theirs.loss) and ours.metrics == theirs.metrics
        resets += float(ours.metrics.get("resets", 0.0))
    for name, value in first.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert (resets > 0) == (kind in ("ema", "rotation", "cosine"))


def test_draws_leave_the_global_random_state_alone() -> None:
    quantizer = built("ema", decay=0.5).train()
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    resets = sum(float(quantizer(vectors(2, 30, seed)).metrics["resets"]) for seed in range(8))
    assert resets > 0
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("tokens_per_step", [64, 512])
def test_codes_in_even_use_are_never_replaced_whatever_the_batch(tokens_per_step: int) -> None:
    corners, generator = 10 * vectors(1, 256, seed=3)[0], torch.Generator().manual_seed(0)
    quantizer = built("ema", decay=0.97).train()
    quantizer.initialise(corners, generator)
    # 76 steps without a hit would be the end of a code; at 64 tokens a step it has one in four.
    for _ in range(150):
        drawn = corners[torch.randint(256, (tokens_per_step,), generator=generator)]
        assert quantizer(drawn[None]).metrics["resets"] == 0


def test_a_dead_code_is_replaced_for_good() -> None:
    corners, generator = 10 * vectors(1, 256, seed=3)[0], torch.Generator().manual_seed(0)
    quantizer = built("ema", decay=0.5).train()
    quantizer.initialise(corners, generator)
    resets = []
    for _ in range(6):
        drawn = corners[torch.randint(8, (256,), generator=generator)]
        resets.append(int(quantizer(drawn[None]).metrics["resets"]))
    # Halved four times a count is below a tenth; replaced codes are not replaced again at once.
    assert resets == [0, 0, 0, 248, 0, 0]
    distance = torch.cdist(quantizer.codebooks[0], corners[:8]).amin(dim=1)
    assert float(distance.max()) < 0.1, "and the running means do not undo it"


def test_replacements_are_drawn_from_all_over_the_batch() -> None:
    quantizer = built("ema", decay=0.5, reset_threshold=1.0).train()
    batch = 50 + torch.arange(512.0)[None, :, None].expand(1, 512, 8)
    resets = int(quantizer(batch).metrics["resets"])
    replaced = quantizer.codebooks[0][:, 0]
    drawn = replaced[replaced >= 50] - 50
    assert 100 < resets <= 256
    assert drawn.median() > 100, "not the first rows"


def test_kmeans_weighs_as_much_as_one_step() -> None:
    quantizer = built("ema").train()
    assert isinstance(quantizer, MovingMeans)
    quantizer(vectors(2, 50))
    assert float(quantizer.layers[0]._codebook.cluster_size.sum()) == pytest.approx(100, rel=1e-3)


def test_evaluation_changes_nothing() -> None:
    quantizer = built("ema").eval()
    before = copy.deepcopy(quantizer.state_dict())
    quantizer(vectors(2, 50))
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())


def test_each_residual_level_brings_the_result_closer() -> None:
    data = vectors(4, 200)
    errors = [float((built("ema", levels).eval()(data).vectors - data).square().mean()) for levels in (1, 2, 3)]
    assert errors[1] < 0.8 * errors[0] and errors[2] < 0.8 * errors[1]


def test_fsq_reaches_every_code_of_the_papers_size() -> None:
    quantizer = build_quantizer(QuantizerConfig(kind="fsq"), 8, 4096, 1).eval()
    every = torch.arange(4096)[:, None]
    codes = quantizer.decode(every)
    assert len(codes.unique(dim=0)) == 4096
    # Codes at the edge of [-1, 1] are what large inputs are rounded to.
    assert torch.equal(quantizer.encode(torch.atanh(codes.clamp(-0.999, 0.999))), every)
    spread = quantizer(3 * vectors(10, 1000))
    assert spread.metrics["used_codes"] > 2000


def test_cosine_codes_are_on_the_unit_sphere() -> None:
    quantizer = built("cosine").train()
    for seed in range(3):
        quantizer(vectors(2, 50, seed))
    torch.testing.assert_close(quantizer.codebooks.norm(dim=-1), torch.ones(1, 256), atol=1e-5, rtol=0)
    data = vectors(2, 20)
    assert torch.equal(quantizer.encode(data), quantizer.encode(5 * data))


def test_without_a_quantiser_vectors_pass() -> None:
    quantizer = built("none")
    data = vectors(2, 10)
    for mode in (True, False):
        result = quantizer.train(mode)(data)
        assert torch.equal(result.vectors, data) and result.tokens.shape == (2, 10, 0)
        assert result.loss == 0 and result.metrics == {}


def test_usage_counts_codes_and_their_perplexity() -> None:
    even = usage(torch.arange(8).repeat(3)[:, None], 16)
    assert (float(even["used_codes"]), float(even["perplexity"])) == pytest.approx((8, 8))
    one = usage(torch.zeros(2, 5, 1, dtype=torch.int64), 16)
    assert (float(one["used_codes"]), float(one["perplexity"])) == pytest.approx((1, 1))


@pytest.mark.parametrize(
    ("kind", "codes", "levels", "says"),
    [
        ("fsq", 4096, 1, r"fsq_levels \[2, 2, 2, 2, 2, 2, 2, 2\] make 256 codes of length 8, but codes is 4096"),
        ("fsq", 256, 2, "quantizer kind fsq has one level"),
        ("cosine", 256, 2, "quantizer kind cosine has one level"),
        ("nearest", 256, 1, "no quantizer kind 'nearest'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(kind: str, codes: int, levels: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build_quantizer(replace(SMALL, kind=kind), 8, codes, levels)


def test_a_pool_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="k-means of 256 codes needs at least as many vectors, got 255"):
        built("ema").initialise(vectors(1, 255)[0], torch.Generator())
