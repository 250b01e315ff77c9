"""Drawing some tokens of a clip anew, the others held: what could stand in one place, and ways to fill several gaps.

GPT-2 sees only what came before. What stands behind a gap counts through its likelihood: of several draws the one
behind which the held tokens are likeliest is best (`motion_gpt.sampling.infill`), and a code's probability in one place
is p(code | before) p(behind | before, code), normalised.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from animator.errors import XNeMoError
from motion_gpt.continuation import derived_seed
from motion_gpt.decoder import Decoder
from motion_gpt.models.motion_gpt import MotionGpt
from motion_gpt.sampling import as_decoder, generate, infill
from motion_gpt.scoring import score
from motion_gpt.settings import Sampling
from motion_gpt.vocabulary import Condition

HORIZON = 16
"""Tokens behind a gap that count; what is further away says little about it."""


@dataclass(frozen=True)
class Alternative:
    """A code that could stand in a place.

    Attributes:
        code: the code.
        before: its probability behind the tokens before it, among all codes.
        both: its probability in the light of the tokens behind it as well, among the alternatives.
    """

    code: int
    before: float
    both: float


@dataclass(frozen=True, eq=False)
class Resampled:
    """A clip with its free tokens drawn anew.

    Attributes:
        tokens: the whole clip, (n, levels).
        probability: how the draws compare, by the likelihood of what is held behind the first gap; they sum up to at
            most 1 over all draws of it. None where nothing is held behind it.
        nats: mean negative log-likelihood of the new tokens.
    """

    tokens: Tensor
    probability: float | None
    nats: float


def alternatives(
    model: MotionGpt | Decoder, tokens: Tensor, place: int, condition: Condition, top: int = 8, level: int = 0
) -> list[Alternative]:
    """What could stand in a place of a clip, most probable first.

    Args:
        model: the generator; a `Decoder` of it saves making one for each call.
        tokens: the clip, (n, levels).
        place: which of its tokens.
        condition: what the clip is taken to express.
        top: how many codes are compared: those that are most probable behind what came before, and the one that is
            there now.
        level: of residual tokens the level; the others stay.
    Raises:
        XNeMoError: no such place or level, or tokens or a condition that the vocabulary refuses.
    """
    if not (0 <= place < len(tokens) and 0 <= level < tokens.shape[1] and top >= 1):
        raise XNeMoError(f"token {place}, level {level}: not in a clip of {tuple(tokens.shape)}")
    decoder = as_decoder(model)
    here = score(decoder, tokens[: place + 1], condition, start=place, top=min(top, decoder.vocabulary.codes))
    chances = dict(zip(here.best[0, level].tolist(), here.probabilities[0, level].tolist(), strict=True))
    chances.setdefault(int(tokens[place, level]), float(torch.exp(-here.nats[0, level])))
    before = torch.tensor(list(chances.values()))
    behind = torch.zeros(len(chances))
    after = tokens[place + 1 : place + 1 + HORIZON]
    if len(after):
        for number, code in enumerate(chances):
            clip = torch.cat([tokens[: place + 1], after]).clone()
            clip[place, level] = code
            behind[number] = -score(decoder, clip, condition, start=place + 1).nats.sum()
    both = torch.softmax(before.clamp(min=1e-30).log() + behind, dim=0)
    found = [Alternative(code, float(p), float(q)) for code, p, q in zip(chances, before, both, strict=True)]
    return sorted(found, key=lambda each: -each.both)


def resample(
    model: MotionGpt | Decoder,
    tokens: Tensor,
    held: Tensor,
    condition: Condition,
    settings: Sampling,
    candidates: int = 4,
    draws: int = 12,
) -> list[Resampled]:
    """Draw the free tokens of a clip anew, in several ways, the most fitting first.

    Gaps are filled from left to right. For the first one `draws` continuations are drawn and the best `candidates` of
    them kept; each goes on by itself, with the best of as many draws in every further gap.

    Args:
        model: the generator; a `Decoder` of it saves making one for each call.
        tokens: the clip, (n, levels).
        held: which of its tokens stay, (n,) bool.
        condition: what the new tokens shall express.
        settings: how they are drawn.
        candidates: how many results; the first is what it would be alone.
        draws: for each gap, at least as many as candidates.
    Raises:
        XNeMoError: no token is free, or tokens, numbers, a condition or settings that are not allowed.
    """
    if bool(held.all()):
        raise XNeMoError("every token is locked; unlock some to draw them anew")
    if not 1 <= candidates <= draws:
        raise XNeMoError(
            f"candidates={candidates}, draws={draws}: must be at least 1, and no more candidates than draws"
        )
    decoder = as_decoder(model)
    gaps = gaps_of(held)
    first, ways = _fill(decoder, tokens, gaps, 0, condition, settings, draws)
    results = []
    for number in range(candidates):
        clip = first[number]
        for gap in range(1, len(gaps)):
            own = replace(settings, seed=derived_seed(derived_seed(settings.seed, gap), number))
            clip = _fill(decoder, clip, gaps, gap, condition, own, draws)[0][0]
        nats = score(decoder, clip, condition, settings).nats[~held].mean()
        results.append(Resampled(clip, None if ways is None else float(ways[number]), float(nats)))
    return results


def gaps_of(held: Tensor) -> list[tuple[int, int]]:
    """Ranges [start, stop) of tokens that are free, (n,) bool to pairs."""
    gaps, place = [], 0
    for stays, run in groupby(held.tolist()):
        length = len(list(run))
        if not stays:
            gaps.append((place, place + length))
        place += length
    return gaps


def _fill(
    decoder: Decoder,
    tokens: Tensor,
    gaps: list[tuple[int, int]],
    number: int,
    condition: Condition,
    settings: Sampling,
    draws: int,
) -> tuple[list[Tensor], Tensor | None]:
    """The clip with one gap filled in `draws` ways, best first, and how these compare."""
    start, stop = gaps[number]
    # Free tokens further on will be drawn anew themselves, and say nothing.
    until = gaps[number + 1][0] if number + 1 < len(gaps) else len(tokens)
    left, right = tokens[:start], tokens[stop:until]
    if len(right) == 0:
        middles = generate(decoder, left, condition, stop - start, settings, draws)
        ways = None
    else:
        filled = infill(decoder, left, right, condition, stop - start, settings, draws, HORIZON)
        middles = filled.tokens
        ways = torch.softmax(-filled.right_nats * min(HORIZON, len(right)), dim=0)
    return [torch.cat([left, middle, tokens[stop:]]) for middle in middles], ways
