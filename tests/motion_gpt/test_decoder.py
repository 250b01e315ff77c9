"""Row by row the decoder computes what transformers computes at once, with the same bits in any batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motion_gpt.builders import build_gpt
from motion_gpt.config import GptConfig
from motion_gpt.decoder import Decoder
from motion_gpt.models.motion_gpt import MotionGpt
from motion_gpt.vocabulary import Condition
from tests.motion_gpt.tiny import CODES, sequence, tiny_gpt, tokens


def row_by_row(decoder: Decoder, ids: Tensor, given: int, group: int = 1) -> Tensor:
    """Logits after each row of ids (rows, n, levels), the first `given` in one pass: (rows, n, levels, codes)."""
    cache = decoder.cache(len(ids) // group, group, ids.shape[1])
    hidden = decoder.prefill(ids[:, :given], cache)
    logits = [torch.stack([decoder.logits(row) for row in hidden])]
    logits += [decoder.step(ids[:, at], cache)[:, None] for at in range(given, ids.shape[1])]
    return torch.cat(logits, dim=1)


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("group", [1, 2, 5])
def test_the_step_agrees_with_transformers(levels: int, group: int) -> None:
    model = tiny_gpt(levels)
    conditions = [Condition("happy", 3), Condition(), Condition("sad", 1), Condition("fear"), Condition("angry", 2)]
    ids = torch.cat(
        [
            sequence(model, condition, model.vocabulary.to_ids(tokens(20, levels, seed)))
            for seed, condition in enumerate(conditions[:group])
        ]
    )
    with torch.no_grad():
        expected = model(ids)[..., :CODES]
    assert (row_by_row(Decoder(model), ids, 8, group) - expected).abs().max() < 1e-4


def wide_gpt(width: int = 768) -> MotionGpt:
    """One block as wide as the paper's: products in which the number of rows does decide on the rounding."""
    config = GptConfig(layers=1, width=width, heads=12, context=16, dropout=0.0)
    return build_gpt(config, 512)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("group", [1, 2])
def test_an_item_has_the_same_bits_in_any_batch(dtype: torch.dtype, group: int) -> None:
    decoder = Decoder(wide_gpt(), dtype)
    items = 9
    ids = torch.randint(0, 512, (items * group, 8, 1), generator=torch.Generator().manual_seed(0))
    together = row_by_row(decoder, ids, 3, group)
    for count in (1, 2, 4, 5):
        assert torch.equal(row_by_row(decoder, ids[: count * group], 3, group), together[: count * group])
    assert torch.equal(row_by_row(decoder, ids[-group:], 3, group), together[-group:])


def test_a_pair_agrees_with_transformers_at_the_papers_width() -> None:
    model = wide_gpt()
    ids = torch.randint(0, 512, (2, 6, 1), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(ids)[..., :512]
    assert (row_by_row(Decoder(model), ids, 1, group=2) - expected).abs().max() < 1e-4


def test_bfloat16_is_near() -> None:
    model = tiny_gpt()
    ids = sequence(model, Condition(), model.vocabulary.to_ids(tokens(20)))
    exact, rounded = (row_by_row(Decoder(model, dtype), ids, 8) for dtype in (torch.float32, torch.bfloat16))
    assert (rounded - exact).norm() / exact.norm() < 0.02


def test_float32_decodes_from_the_models_own_weights() -> None:
    model = tiny_gpt()
    block = Decoder(model).network.blocks[0]
    assert block.widen.weight.data_ptr() == model.transformer.h[0].mlp.c_fc.weight.data_ptr()


@pytest.mark.slow
def test_the_compiled_step_agrees() -> None:
    model = tiny_gpt(1, 0, "gpt.layers=1")
    ids = sequence(model, Condition("happy", 3), model.vocabulary.to_ids(tokens(20)))
    plain, compiled = (row_by_row(Decoder(model, compiled=flag), ids, 8) for flag in (False, True))
    assert (compiled - plain).abs().max() < 1e-4
