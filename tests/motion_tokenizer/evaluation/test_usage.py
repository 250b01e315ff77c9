"""How full a codebook is, on token streams whose answers are known."""

from __future__ import annotations

import pytest
import torch

from motion_tokenizer.evaluation.usage import expected_used, perplexity, usage_report


def test_even_use_is_full_use() -> None:
    report = usage_report([torch.arange(64).repeat(100)], 64)
    assert report["used"] == 64 and report["used_share"] == 1
    assert report["perplexity"] == pytest.approx(64) and report["perplexity_over_codes"] == pytest.approx(1)
    assert report["gini"] == pytest.approx(0, abs=1e-9)
    assert report["top_10_mass"] == pytest.approx(10 / 64)
    assert report["unigram_entropy"] == pytest.approx(6)
    assert report["bigram_entropy"] == pytest.approx(0, abs=1e-3)  # each code says which one follows
    assert report["self_transition_rate"] == 0


def test_one_code_is_no_use() -> None:
    report = usage_report([torch.zeros(500, dtype=torch.int64)], 64)
    assert report["used"] == 1 and report["perplexity"] == 1 and report["top_10_mass"] == 1
    assert report["gini"] == pytest.approx(63 / 64)
    assert report["self_transition_rate"] == 1 and report["bigram_entropy"] == 0


def test_few_tokens_are_told_beside_what_uniform_use_would_give() -> None:
    report = usage_report([torch.arange(1000)], 4096)
    assert report["used_share"] is None, "1000 tokens cannot fill 4096 codes"
    assert report["used_if_uniform"] == pytest.approx(887.4, abs=0.5)
    assert report["used_over_uniform"] == pytest.approx(1000 / 887.4, abs=1e-3)


def test_the_expectation_is_what_draws_give(generator: torch.Generator) -> None:
    draws = [len(torch.randint(256, (300,), generator=generator).unique()) for _ in range(200)]
    assert expected_used(256, 300) == pytest.approx(sum(draws) / 200, rel=0.01)
    uniform = [usage_report([torch.randint(256, (300,), generator=generator)], 256) for _ in range(50)]
    mean = sum(report["perplexity"] for report in uniform) / len(uniform)
    assert mean == pytest.approx(uniform[0]["perplexity_if_uniform"], rel=0.02)


def test_clips_do_not_run_into_each_other() -> None:
    report = usage_report([torch.tensor([1, 2]), torch.tensor([2, 1])], 4)
    assert report["self_transition_rate"] == 0


def test_perplexity_is_that_of_the_shares() -> None:
    assert perplexity(torch.tensor([[0, 0], [1, 2]]), 8) == pytest.approx(2**1.5)
