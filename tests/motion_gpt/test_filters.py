"""Every filter on distributions that are worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from animator.errors import XNeMoError
from motion_gpt.filters import choose, keep_min_p, keep_top_k, keep_top_p, narrow, penalise_repetition
from motion_gpt.rollout import mix_branches
from motion_gpt.settings import Sampling, item_generator

PROBABILITIES = [0.1, 0.4, 0.2, 0.05, 0.25]
PLAIN = {"top_k": None, "top_p": 1.0}


def logits(probabilities: list[float] = PROBABILITIES) -> Tensor:
    """(1, 1, codes); a constant is added, which must not matter."""
    return torch.tensor(probabilities).log()[None, None] + 1.5


def kept(filtered: Tensor) -> list[int]:
    return torch.isfinite(filtered[0, 0]).nonzero()[:, 0].tolist()


@pytest.mark.parametrize(("k", "expected"), [(1, [1]), (3, [1, 2, 4]), (5, [0, 1, 2, 3, 4]), (9, [0, 1, 2, 3, 4])])
def test_top_k_keeps_the_k_best(k: int, expected: list[int]) -> None:
    assert kept(keep_top_k(logits(), k)) == expected


def test_top_k_keeps_equals() -> None:
    assert kept(keep_top_k(logits([0.25, 0.25, 0.25, 0.25]), 2)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("p", "expected"), [(0.0, [1]), (0.39, [1]), (0.5, [1, 4]), (0.7, [1, 2, 4]), (0.9, [0, 1, 2, 4])]
)
def test_top_p_keeps_the_fewest_that_reach_p(p: float, expected: list[int]) -> None:
    assert kept(keep_top_p(logits(), p)) == expected


def test_top_p_after_top_k_counts_what_top_k_left() -> None:
    # 0.4 of the 0.65 that two codes have is more than 0.6 of them.
    assert kept(narrow(logits(), Sampling(top_k=2, top_p=0.6))) == [1]
    assert kept(narrow(logits(), Sampling(top_k=2, top_p=0.65))) == [1, 4]


@pytest.mark.parametrize(("share", "expected"), [(1.0, [1]), (0.6, [1, 4]), (0.3, [1, 2, 4]), (0.1, [0, 1, 2, 3, 4])])
def test_min_p_is_measured_by_the_best(share: float, expected: list[int]) -> None:
    assert kept(keep_min_p(logits(), share)) == expected


def test_temperature_comes_before_the_filters() -> None:
    # At 0.5 the probabilities are squared: 0.16 of 0.275 is more than a half, so that one code is enough.
    assert kept(narrow(logits(), Sampling(temperature=0.5, top_k=None, top_p=0.55))) == [1]
    assert kept(narrow(logits(), Sampling(temperature=1.0, top_k=None, top_p=0.55))) == [1, 4]


def test_a_repeated_code_loses_its_share() -> None:
    recent = torch.tensor([[[1], [1], [-5], [7]]])  # code 1 twice; the others are no codes
    probabilities = penalise_repetition(logits(), recent, 4.0).softmax(dim=-1)[0, 0]
    expected = torch.tensor([0.1, 0.1, 0.2, 0.05, 0.25]) / 0.7
    torch.testing.assert_close(probabilities, expected)


def test_repetition_is_counted_level_by_level() -> None:
    both = logits().repeat(1, 2, 1)
    changed = penalise_repetition(both, torch.tensor([[[0, 2]]]), 2.0) != both
    assert changed.nonzero().tolist() == [[0, 0, 0], [0, 1, 2]]


def test_guidance_is_linear_in_log_probabilities() -> None:
    condition, null = torch.tensor([0.5, 0.3, 0.2]).log(), torch.tensor([0.2, 0.3, 0.5]).log()
    pair = torch.stack([condition + 3, null - 7])[None, :, None]
    guided = mix_branches(pair, [2.0, -1.0])[0, 0].softmax(dim=-1)
    expected = torch.tensor([0.25 / 0.2, 0.09 / 0.3, 0.04 / 0.5])
    torch.testing.assert_close(guided, expected / expected.sum())


def test_temperature_0_is_greedy_and_draws_nothing() -> None:
    generator = item_generator(0)
    before = generator.get_state()
    assert choose(logits(), Sampling(temperature=0), [generator]).tolist() == [[1]]
    assert torch.equal(generator.get_state(), before)


def test_draws_follow_the_distribution() -> None:
    generator, count = item_generator(3), 4000
    drawn = [int(choose(logits(), Sampling(**PLAIN), [generator])) for _ in range(count)]
    shares = torch.bincount(torch.tensor(drawn), minlength=5) / count
    # Three standard deviations of a share of a half are 0.024.
    torch.testing.assert_close(shares, torch.tensor(PROBABILITIES), atol=0.024, rtol=0)


def test_what_is_filtered_out_is_never_drawn() -> None:
    generator = item_generator(1)
    settings = Sampling(temperature=3.0, top_k=2, top_p=1.0)
    assert {int(choose(logits(), settings, [generator])) for _ in range(300)} == {1, 4}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Sampling(temperature=-0.1), "temperature=-0.1: must be at least 0"),
        (Sampling(temperature=float("nan")), "temperature=nan: must be a finite number"),
        (Sampling(top_k=0), "top_k=0: must be at least 1"),
        (Sampling(top_p=1.2), "top_p=1.2: must be at most 1"),
        (Sampling(min_p=-1), "min_p=-1"),
        (Sampling(seed=-1), "seed=-1"),
        (Sampling(guidance_scale=-2), "guidance_scale=-2"),
        (Sampling(repetition_penalty=0), "repetition_penalty=0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: Sampling, message: str) -> None:
    with pytest.raises(XNeMoError, match=message):
        settings.check()
