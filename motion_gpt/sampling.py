"""Making motion tokens: continue a clip, several at once or one token at a time, fill a gap, and score what is there.

All of it runs on our own decoding loop (`motion_gpt.rollout`). Lengths are fixed: a clip has as many tokens as were
asked for, and no mark can be drawn in their place. The same seed gives the same tokens, whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from animator.errors import XNeMoError
from motion_gpt.decoder import Decoder
from motion_gpt.models.motion_gpt import MotionGpt
from motion_gpt.rollout import Item, Rollout
from motion_gpt.scoring import score
from motion_gpt.settings import Sampling
from motion_gpt.vocabulary import Condition

ITEMS_TOGETHER = 8
"""Clips that are made at once; more only cost more memory."""


def generate(
    model: MotionGpt | Decoder,
    prefix: Tensor,
    condition: Condition,
    length: int,
    settings: Sampling,
    candidates: int = 1,
    progress: Callable[[int], object] | None = None,
) -> Tensor:
    """Continue a clip.

    Args:
        model: the generator; a `Decoder` of it saves making one for each call.
        prefix: tokens to continue, (n, levels); n may be 0, or more than the network sees.
        condition: what the continuation shall express.
        length: tokens to make, at least 1.
        settings: how they are drawn. Candidate 0 is what one candidate alone would be.
        candidates: different continuations.
        progress: called after each step with the number of tokens that were made in it.
    Returns:
        The new tokens, (candidates, length, levels) int64.
    Raises:
        XNeMoError: tokens, a condition, a length or settings that are not allowed.
    """
    if candidates < 1:
        raise XNeMoError(f"candidates={candidates}: must be at least 1")
    items = [Item(prefix, condition, settings.seed, candidate) for candidate in range(candidates)]
    return torch.stack(generate_items(model, items, length, settings, progress))


def generate_items(
    model: MotionGpt | Decoder,
    items: Sequence[Item],
    length: int,
    settings: Sampling,
    progress: Callable[[int], object] | None = None,
) -> list[Tensor]:
    """Continue many clips; those with prefixes of the same length are made together.

    Args:
        model: the generator, see `generate`.
        items: the clips, each with a seed of its own.
        length: tokens to make for each, at least 1.
        settings: how they are drawn; its seed is not used.
        progress: see `generate`.
    Returns:
        The new tokens of each item, (length, levels) int64.
    Raises:
        XNeMoError: as in `generate`.
    """
    if length < 1:
        raise XNeMoError(f"{length} tokens asked for: must be at least 1")
    decoder = as_decoder(model)
    made: dict[int, Tensor] = {}
    for numbers in _batches(items):
        rollout = Rollout(decoder, [items[number] for number in numbers], settings, length)
        steps = []
        for _ in range(length):
            steps.append(rollout.step())
            if progress is not None:
                progress(len(numbers))
        made |= zip(numbers, torch.stack(steps, dim=1), strict=True)
    return [made[number] for number in range(len(items))]


def stream(
    model: MotionGpt | Decoder, prefix: Tensor, condition: Condition, settings: Sampling, length: int | None = None
) -> Iterator[Tensor]:
    """Continue a clip, a token at a time, in memory that does not grow.

    The first tokens are those of `generate` with the same arguments.

    Args:
        model: the generator, see `generate`.
        prefix: tokens to continue, (n, levels).
        condition: what the continuation shall express.
        settings: how it is drawn.
        length: tokens to make; None to go on for as long as somebody asks.
    Yields:
        A token, (levels,) int64.
    Raises:
        XNeMoError: as in `generate`, before the first token.
    """
    if length is not None and length < 1:
        raise XNeMoError(f"{length} tokens asked for: must be at least 1")
    rollout = Rollout(as_decoder(model), [Item(prefix, condition, settings.seed)], settings, length)
    return _steps(rollout, length)


def _steps(rollout: Rollout, length: int | None) -> Iterator[Tensor]:
    made = 0
    while length is None or made < length:
        yield rollout.step()[0]
        made += 1


@dataclass(frozen=True)
class Infill:
    """Ways to fill a gap, the most fitting first.

    Attributes:
        tokens: (candidates, length, levels) int64.
        right_nats: how unlikely the part after the gap is behind each of them, in nats per token, (candidates,).
    """

    tokens: Tensor
    right_nats: Tensor


def infill(
    model: MotionGpt | Decoder,
    left: Tensor,
    right: Tensor,
    condition: Condition,
    length: int,
    settings: Sampling,
    candidates: int = 8,
    horizon: int = 16,
) -> Infill:
    """Fill the gap between two given parts.

    GPT-2 sees only what came before. So candidates are drawn as continuations of the left part, and ranked by
    log p(right | left, candidate): the one behind which the right part is most likely comes first. That is importance
    resampling of p(middle | left, right) with p(middle | left) as the proposal; more candidates come closer to it.

    Args:
        model: the generator, see `generate`.
        left: tokens before the gap, (n, levels), n from 0 on.
        right: tokens after it, (m, levels), at least one.
        condition: what the gap shall express.
        length: tokens in the gap, at least 1.
        settings: how candidates are drawn; ranking uses the network's own probabilities under the condition.
        candidates: how many.
        horizon: tokens of the right part that count; what is further away says little about the gap.
    Raises:
        XNeMoError: as in `generate`, or the right part is empty.
    """
    if len(right) == 0:
        raise XNeMoError("infill: nothing is given after the gap; to continue a clip, generate is enough")
    decoder = as_decoder(model)
    middles = generate(decoder, left, condition, length, settings, candidates)
    after = right[:horizon].to(middles)
    start = len(left) + length
    scores = [
        score(decoder, torch.cat([left.to(middles), middle, after]), condition, settings, start=start)
        for middle in middles
    ]
    nats = torch.stack([scored.nats.sum(dim=1).mean() for scored in scores])
    # Stable: of equals, the lower seed's number wins everywhere.
    order = torch.argsort(nats, stable=True)
    return Infill(middles[order], nats[order])


def as_decoder(model: MotionGpt | Decoder) -> Decoder:
    """The model itself if it is a decoder, else one of it."""
    return model if isinstance(model, Decoder) else Decoder(model)


def _batches(items: Sequence[Item]) -> Iterator[list[int]]:
    """Numbers of items that can be made together."""

    def branches(number: int) -> tuple[int, bool, bool, float]:
        condition = items[number].condition
        return len(items[number].prefix), condition == Condition(), condition.blend is None, condition.blend_share

    for _, alike in groupby(sorted(range(len(items)), key=branches), key=branches):
        numbers = list(alike)
        for first in range(0, len(numbers), ITEMS_TOGETHER):
            yield numbers[first : first + ITEMS_TOGETHER]
