"""A way through the codebook begins and ends at its frames' tokens, and each step is the code nearest to the line."""

from __future__ import annotations

import pytest
import torch

from animator.errors import XNeMoError
from animator.keyframes import through
from motion_tokenizer.token_path import code_line, still_token, through_tokens, token_path
from tests.motion_tokenizer import tiny


def test_a_code_line_is_nearest_to_the_straight_line() -> None:
    tokenizer = tiny.tokenizer("tokenizer.levels=2")
    start, end = torch.tensor([3, 40]), torch.tensor([17, 5])
    line = code_line(tokenizer, start, end, 7)
    assert torch.equal(line[0], start) and torch.equal(line[-1], end)
    for level, codebook in enumerate(tokenizer.codebooks):
        middle = (codebook[start[level]] + codebook[end[level]]) / 2
        chosen = (codebook[line[3, level]] - middle).norm()
        assert chosen <= (codebook - middle).norm(dim=1).min() + 1e-5


def test_a_token_path_has_the_length_asked_for_and_moves_from_key_to_key() -> None:
    tokenizer = tiny.tokenizer()
    motion = tiny.motion(100, seed=5)
    start, end = motion[10:11], motion[70:71]
    way = token_path(tokenizer, start, end, 27)
    assert (len(way), way.fps, way.t0) == (27, tokenizer.fps, 0)
    same = token_path(tokenizer, start, start, 27)
    torch.testing.assert_close(same.latents[0], way.latents[0])
    assert not torch.equal(still_token(tokenizer, start), still_token(tokenizer, end))
    # The untrained decoder still moves a little while it is held.
    assert (same.latents[0] - same.latents[-1]).norm() < 0.6 * (way.latents[0] - way.latents[-1]).norm()


def test_what_cannot_be_joined_is_refused() -> None:
    tokenizer, key = tiny.tokenizer(), tiny.motion(4)[:1]
    with pytest.raises(XNeMoError, match="at least 2"):
        token_path(tokenizer, key, key, 1)
    with pytest.raises(XNeMoError, match="made by motion encoder"):
        token_path(tokenizer, key, tiny.motion(4, encoder_id="other")[:1], 9)


@pytest.mark.parametrize("loop", [False, True])
def test_a_way_through_several_keys_is_as_long_as_by_latents(loop: bool) -> None:
    tokenizer, motion = tiny.tokenizer(), tiny.motion(60, seed=3)
    keys = [motion[at : at + 1] for at in (0, 25, 50)]
    way = through_tokens(tokenizer, keys, 0.6, loop=loop)
    assert len(way) == len(through(keys, 0.6, tokenizer.fps, loop=loop))
    with pytest.raises(XNeMoError, match="two key frames"):
        through_tokens(tokenizer, keys[:1], 0.6)
