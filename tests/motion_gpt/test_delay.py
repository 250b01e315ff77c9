"""The delay pattern moves level k by k rows, and back."""

from __future__ import annotations

import pytest
import torch

from motion_gpt.delay import apply_delay, undo_delay


def test_one_level_is_left_as_it_is() -> None:
    ids = torch.arange(5)[:, None]
    assert torch.equal(apply_delay(ids, fill=-1), ids)


def test_three_levels_are_shifted() -> None:
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert apply_delay(ids, fill=0).tolist() == [[1, 0, 0], [4, 2, 0], [0, 5, 3], [0, 0, 6]]


@pytest.mark.parametrize(("n", "levels"), [(0, 3), (1, 1), (1, 4), (7, 3)])
def test_undone_is_what_was_there(n: int, levels: int) -> None:
    ids = torch.randint(0, 100, (n, levels), generator=torch.Generator().manual_seed(0))
    assert torch.equal(undo_delay(apply_delay(ids, fill=-1)), ids)
