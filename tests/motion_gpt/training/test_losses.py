"""The loss, by hand, and the embedding that it starts from."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from motion_gpt.builders import build_gpt
from motion_gpt.config import gpt_config
from motion_gpt.training.batches import IGNORED
from motion_gpt.training.config import SmoothingConfig
from motion_gpt.training.embedding import start_from_codebooks
from motion_gpt.training.losses import Neighbours, token_losses

LINE = torch.tensor([0.0, 1.0, 3.0, 7.0])[None, :, None]  # four codes on a line


def test_near_codes_weigh_by_their_squared_distance() -> None:
    near = Neighbours.of(LINE, 2)
    assert near.codes[0].tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    scale = (1 + 1 + 4 + 16) / 4
    expected = torch.tensor([-1.0 / scale, -9.0 / scale]).softmax(dim=0)
    assert torch.allclose(near.weights[0, 0], expected)


def test_duplicates_of_a_code_are_near_and_do_not_break_the_scale() -> None:
    near = Neighbours.of(torch.tensor([0.0, 0.0, 2.0])[None, :, None], 2)
    assert near.codes[0, 0].tolist() == [1, 2]
    assert torch.isfinite(near.weights).all()


def test_without_smoothing_the_loss_is_cross_entropy() -> None:
    logits = torch.randn(2, 5, 1, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 3, 4, 1, IGNORED], [2, IGNORED, 1, 1, 4]])[..., None]
    terms = token_losses(logits, targets, Neighbours.of(LINE, 2), SmoothingConfig(uniform=0, near=0))
    expected = F.cross_entropy(logits.flatten(0, 2), targets.flatten(), ignore_index=IGNORED)
    assert float(sum(terms.values())) == pytest.approx(float(expected), abs=1e-6)


def test_smoothed_loss_is_the_cross_entropy_with_the_spread_target() -> None:
    logits = torch.randn(1, 1, 1, 5, generator=torch.Generator().manual_seed(1))
    near = Neighbours.of(LINE, 2)
    terms = token_losses(logits, torch.tensor([[[2]]]), near, SmoothingConfig(uniform=0.1, near=0.3, neighbours=2))
    target = torch.full((5,), 0.1 / 5)
    target[2] += 0.6
    target[near.codes[0, 2]] += 0.3 * near.weights[0, 2]
    expected = -(target * logits.flatten().log_softmax(dim=0)).sum()
    assert float(sum(terms.values())) == pytest.approx(float(expected), abs=1e-6)


def test_fewer_neighbours_than_there_are_share_the_same_mass() -> None:
    logits = torch.zeros(1, 1, 1, 5)
    settings = SmoothingConfig(uniform=0, near=0.3, neighbours=1)
    terms = token_losses(logits, torch.tensor([[[2]]]), Neighbours.of(LINE, 3), settings)
    assert float(terms["near"]) == pytest.approx(0.3 * float(torch.tensor(5.0).log()), abs=1e-6)


def test_near_codes_start_with_near_embeddings_of_gpt2s_size() -> None:
    model = build_gpt(gpt_config("tiny"), codes=64)
    before = model.transformer.wte.weight[64:].clone()
    codebook = torch.randn(1, 64, 8, generator=torch.Generator().manual_seed(2))
    start_from_codebooks(model, codebook, seed=0)
    rows = model.transformer.wte.weight[:64].detach()
    assert float(rows.std()) == pytest.approx(0.02, rel=0.01)
    assert torch.equal(model.transformer.wte.weight[64:], before)
    ours, theirs = torch.pdist(rows), torch.pdist(codebook[0])
    assert float(torch.corrcoef(torch.stack([ours, theirs]))[0, 1]) > 0.8
