"""Tokens that are held stay, free ones are drawn from the generator's own distribution, and the best comes first."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from animator.errors import XNeMoError
from motion_gpt.decoder import Decoder
from motion_gpt.resampling import HORIZON, alternatives, gaps_of, resample
from motion_gpt.scoring import score
from motion_gpt.settings import Sampling
from motion_gpt.vocabulary import Condition
from tests.motion_gpt.tiny import CODES, tiny_gpt, tokens

HAPPY = Condition("happy", 3)


def holding(count: int, *free: int) -> Tensor:
    held = torch.ones(count, dtype=torch.bool)
    held[list(free)] = False
    return held


def test_held_tokens_stay_and_candidates_differ() -> None:
    decoder = Decoder(tiny_gpt())
    clip, held = tokens(12), holding(12, 0, 4, 5, 11)
    results = resample(decoder, clip, held, HAPPY, Sampling(seed=3), candidates=3, draws=5)
    assert len(results) == 3
    for result in results:
        assert torch.equal(result.tokens[held], clip[held]) and result.tokens.shape == clip.shape
    assert len({tuple(result.tokens[:, 0].tolist()) for result in results}) == 3
    again = resample(decoder, clip, held, HAPPY, Sampling(seed=3), candidates=1, draws=5)
    assert torch.equal(again[0].tokens, results[0].tokens)
    other = resample(decoder, clip, held, HAPPY, Sampling(seed=4), candidates=1, draws=5)
    assert not torch.equal(other[0].tokens, again[0].tokens)


def test_candidates_are_ordered_by_what_is_held_behind_them() -> None:
    decoder = Decoder(tiny_gpt())
    clip, held = tokens(9), holding(9, 3)
    results = resample(decoder, clip, held, HAPPY, Sampling(seed=0), candidates=6, draws=6)
    behind = torch.stack([-score(decoder, each.tokens, HAPPY, start=4).nats.sum() for each in results])
    ways = torch.tensor([each.probability for each in results])
    torch.testing.assert_close(ways, torch.softmax(behind, dim=0))
    assert (behind.diff() <= 0).all()
    tail = resample(decoder, clip, holding(9, 8), HAPPY, Sampling(), candidates=2, draws=2)
    assert tail[0].probability is None


def test_alternatives_follow_bayes_rule() -> None:
    decoder = Decoder(tiny_gpt())
    clip, place = tokens(8, seed=2), 5
    found = alternatives(decoder, clip, place, HAPPY, top=CODES)
    joint = {}
    for code in range(CODES):
        changed = clip.clone()
        changed[place] = code
        joint[code] = -score(decoder, changed, HAPPY, start=place).nats.sum()
    wanted = torch.softmax(torch.stack(list(joint.values())), dim=0)
    assert [each.code for each in found] == wanted.argsort(descending=True).tolist()
    got = torch.tensor([next(each.both for each in found if each.code == code) for code in range(CODES)])
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-3)
    assert sum(each.before for each in found) == pytest.approx(1, abs=1e-4)
    few = alternatives(decoder, clip, place, HAPPY, top=1)
    assert int(clip[place, 0]) in {each.code for each in few}, "the one that is there can be compared"


def test_levels_are_one_at_a_time() -> None:
    model = tiny_gpt(levels=2)
    clip = tokens(6, levels=2)
    for level, place in product(range(2), (0, 5)):
        assert int(clip[place, level]) in {each.code for each in alternatives(model, clip, place, HAPPY, 3, level)}
    result = resample(model, clip, holding(6, 2, 3), Condition(), Sampling(), candidates=1, draws=2)
    assert torch.equal(result[0].tokens[4:], clip[4:])


def test_what_cannot_be_is_refused() -> None:
    decoder, clip = Decoder(tiny_gpt()), tokens(4)
    assert gaps_of(holding(4, 0, 1, 3)) == [(0, 2), (3, 4)] and HORIZON > 1
    with pytest.raises(XNeMoError, match="every token is locked"):
        resample(decoder, clip, holding(4), HAPPY, Sampling())
    with pytest.raises(XNeMoError, match="no more candidates than draws"):
        resample(decoder, clip, holding(4, 1), HAPPY, Sampling(), candidates=3, draws=2)
    with pytest.raises(XNeMoError, match="token 4"):
        alternatives(decoder, clip, 4, HAPPY)
