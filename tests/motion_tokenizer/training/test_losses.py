"""The reconstruction losses: every dimension has its velocity, and only frames that count do."""

from __future__ import annotations

import pytest
import torch

from motion_tokenizer.features import FEATURES
from motion_tokenizer.training.config import TokenizerLossConfig
from motion_tokenizer.training.losses import reconstruction_losses

WEIGHTS = TokenizerLossConfig(velocity=0.5, acceleration=0.1, boxes=0.25)


def test_terms_are_what_the_text_says() -> None:
    true, ours = torch.zeros(1, 3, FEATURES), torch.zeros(1, 3, FEATURES)
    ours[0, 1, :512] = 0.5  # smooth L1 of 0.5 is 0.125, of 1 it is 0.5
    ours[0, 1, 512:] = 2.0  # of 2 it is 1.5, of 4 it is 3.5
    terms = reconstruction_losses(ours, true, torch.ones(1, 3, dtype=torch.bool), WEIGHTS)
    assert terms["value"].item() == pytest.approx((0.125 + 0.25 * 1.5) / 3)
    assert terms["velocity"].item() == pytest.approx(0.5 * (0.125 + 0.25 * 1.5))
    assert terms["acceleration"].item() == pytest.approx(0.1 * (0.5 + 0.25 * 3.5))


def test_a_weight_of_0_switches_a_term_off() -> None:
    x = torch.randn(2, 8, FEATURES, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(2, 8, dtype=torch.bool)
    assert set(reconstruction_losses(x, x, valid, TokenizerLossConfig(velocity=0, acceleration=0))) == {"value"}


def test_frames_that_do_not_count_change_nothing(generator: torch.Generator) -> None:
    true, ours = torch.randn(2, 2, 8, FEATURES, generator=generator)
    valid = torch.ones(2, 8, dtype=torch.bool)
    valid[1, 5:] = False
    before = reconstruction_losses(ours, true, valid, WEIGHTS)
    ours[1, 5:] += 100
    after = reconstruction_losses(ours, true, valid, WEIGHTS)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("dimension", [0, 300, 511, 512, 514])
def test_every_dimension_has_a_velocity(dimension: int) -> None:
    true, ours = torch.zeros(1, 8, FEATURES), torch.zeros(1, 8, FEATURES)
    ours[0, ::2, dimension] = 1
    terms = reconstruction_losses(ours, true, torch.ones(1, 8, dtype=torch.bool), WEIGHTS)
    assert terms["velocity"] > 0
