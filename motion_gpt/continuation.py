"""A clip that goes on: what is known when its driving ends, and new tokens turned into frames that fit behind it.

The driving's end is on the grid of tokens, and up to three frames at its start are no part of them. Prefix and new
tokens go through one causal pass of the tokenizer's decoder, so that new frames are decoded in the light of the old;
`motion_gpt.seam` carries what the decoder missed of the last driving frame into them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from animator.errors import XNeMoError
from animator.motion_clip import MotionClip
from motion_gpt.decoder import Decoder
from motion_gpt.models.detail import DetailStream
from motion_gpt.rates import RateChange, frames_needed, rate_ratio, resample_from_end
from motion_gpt.rollout import Item, Rollout
from motion_gpt.sampling import generate_items
from motion_gpt.seam import REACH, Onset, Seam, SeamSettings, real_limit, seam_roughness
from motion_gpt.settings import Sampling, item_generator
from motion_gpt.vocabulary import Condition
from motion_tokenizer.features import FEATURES, from_features, to_features
from motion_tokenizer.streaming import TokenizerStream
from motion_tokenizer.tokenizer import MotionTokenizer

DETAIL = 1
"""The purpose, for `item_generator`, of the random numbers that make fine motion."""

RECENT = 250
"""Frames of the driving that are remembered, 10 s: they tell how rough real motion is, and what tokens leave out."""

Passage = tuple[Condition, int | None]
"""What a part of the continuation expresses, and its length in tokens; None for no end."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """A clip at the moment from which it is continued.

    Attributes:
        tokens: its tokens, (n, levels); n is 0 where nothing is given.
        driving: features of its last frames at the tokenizer's rate, (m, 515), at most `RECENT` of them.
        decoded: what the decoder makes of them, (n, 515), with up to three frames less at the start.
        stream: a decoder that has heard the tokens. It stays as it is: continuations fork it.
    """

    tokens: Tensor
    driving: Tensor
    decoded: Tensor
    stream: TokenizerStream


def nothing(tokenizer: MotionTokenizer) -> Prefix:
    """The prefix of a clip that is made from nothing."""
    empty = torch.zeros(0, FEATURES)
    return Prefix(torch.zeros(0, tokenizer.levels, dtype=torch.int64), empty, empty, tokenizer.stream())


def read_prefix(tokenizer: MotionTokenizer, driving: MotionClip) -> Prefix:
    """Tokenise a driving clip for its continuation.

    Raises:
        XNeMoError: a clip shorter than a token, of another encoder, or a tokenizer that looks ahead.
    """
    motion = resample_from_end(driving, tokenizer.fps)
    stride = tokenizer.frames_per_token
    beyond = len(motion) % stride if len(motion) >= stride else 0
    sequence = tokenizer.encode(motion[beyond:])
    stream = tokenizer.stream()
    latents, boxes = stream.push_tokens(sequence.tokens)
    return Prefix(
        tokens=sequence.tokens,
        driving=to_features(motion.latents[-RECENT:], motion.boxes[-RECENT:]),
        decoded=to_features(latents[-RECENT:], boxes[-RECENT:]),
        stream=stream,
    )


def check_pair(decoder: Decoder, tokenizer: MotionTokenizer) -> None:
    """Refuse a generator and a tokenizer that were not trained together.

    Raises:
        XNeMoError: the generator speaks the tokens of another tokenizer (the message names both).
    """
    ours, theirs = tokenizer.id, decoder.tokenizer_id
    if ours != theirs:
        raise XNeMoError(
            f"the generator speaks the tokens of tokenizer {theirs or '(none)'}, but the tokenizer in use is {ours}; "
            "name the two that belong together with gpt_weights=FOLDER and tokenizer_weights=FOLDER"
        )


class Continuation:
    """One continuation: tokens in, frames out, in pieces of any length.

    Args:
        tokenizer: whose tokens come.
        prefix: what it continues.
        seam: how it is joined to that.
        fps: frames a second that are wanted; None: the tokenizer's. Without a prefix there is no other.
        detail: draws what tokens leave out; None for nothing.
    """

    def __init__(
        self,
        tokenizer: MotionTokenizer,
        prefix: Prefix,
        seam: SeamSettings,
        fps: float | None = None,
        detail: DetailStream | None = None,
    ) -> None:
        self._stream = prefix.stream.fork()
        self._detail = detail
        self._join: Seam | Onset
        self._rate: RateChange | None = None
        if len(prefix.tokens):
            # What the detail goes on from needs no fade.
            decoded = prefix.decoded[-2:] if detail is None else prefix.decoded[-2:] + detail.before
            self._join = Seam(prefix.driving[-2:], decoded, seam)
            self._rate = RateChange(prefix.driving[-1], tokenizer.fps, fps or tokenizer.fps)
        elif fps is not None and rate_ratio(fps, tokenizer.fps) != 1:
            raise ValueError(f"a clip made from nothing has {tokenizer.fps:g} frames a second, not {fps:g}")
        else:
            self._join = Onset()

    def push(self, tokens: Tensor) -> Tensor:
        """Take the next tokens, (m, levels), and give back the frames that are known now, (n, 515)."""
        latents, boxes = self._stream.push_tokens(tokens)
        frames = to_features(latents, boxes)
        if self._detail is not None:
            frames = self._detail.add(frames)
        frames = self._join(frames)
        return frames if self._rate is None else self._rate(frames)


def begin_continuation(
    decoder: Decoder,
    tokenizer: MotionTokenizer,
    prefix: Prefix,
    item: Item,
    settings: Sampling,
    seam: SeamSettings,
    fps: float | None = None,
) -> Continuation:
    """A continuation with the fine motion that the item's seed draws; arguments as in `Continuation`."""
    detail = None
    if settings.detail and settings.temperature and decoder.detail.components:
        random = item_generator(item.seed, item.candidate, DETAIL)
        driving = prefix.driving[-len(prefix.decoded) :] if len(prefix.tokens) else None
        decoded = prefix.decoded if len(prefix.tokens) else None
        detail = decoder.detail.stream(driving, decoded, random, settings.detail)
    return Continuation(tokenizer, prefix, seam, fps, detail)


def tokens_needed(tokenizer: MotionTokenizer, frames: int, fps: float) -> int:
    """How many new tokens make `frames` frames at `fps`."""
    return math.ceil(frames_needed(frames, fps, tokenizer.fps) / tokenizer.frames_per_token)


def derived_seed(seed: int, number: int) -> int:
    """A seed for the `number`-th time that a clip of this seed begins to draw; number 0 is the seed itself."""
    if number == 0:
        return seed
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0]) >> 1


def smooth_starts(
    decoder: Decoder,
    tokenizer: MotionTokenizer,
    prefix: Prefix,
    items: Sequence[Item],
    settings: Sampling,
    seam: SeamSettings,
) -> list[Item]:
    """Give each item a seed with which its seam is no rougher than the driving, or the smoothest of those tried.

    The first token alone decides, by rejection: what is drawn is the generator's distribution without the rough part.
    """
    limit = real_limit(prefix.driving, seam.percentile)
    if limit is None or seam.attempts == 1 or settings.temperature == 0:
        return list(items)
    length = math.ceil((REACH + 1) / tokenizer.frames_per_token)
    chosen = list(items)
    least = [math.inf] * len(items)
    waiting = list(range(len(items)))
    for attempt in range(seam.attempts):
        tried = [replace(items[number], seed=derived_seed(items[number].seed, attempt)) for number in waiting]
        beginnings = generate_items(decoder, tried, length, settings)
        for number, item, tokens in zip(waiting, tried, beginnings, strict=True):
            frames = begin_continuation(decoder, tokenizer, prefix, item, settings, seam).push(tokens)
            rough = float(seam_roughness(torch.cat([prefix.driving, frames]), len(prefix.driving)))
            if rough < least[number]:
                least[number], chosen[number] = rough, item
        waiting = [number for number in waiting if least[number] > limit]
        if not waiting:
            break
    return chosen


def stream_tokens(
    decoder: Decoder, prefix: Tensor, passages: Sequence[Passage], settings: Sampling, item_seed: int, candidate: int
) -> Iterator[Tensor]:
    """Make the tokens of one clip, passage by passage; memory grows by the tokens of finished passages alone.

    Args:
        decoder: the network.
        prefix: tokens before it, (n, levels).
        passages: at least one; only the last may have no end.
        settings: how tokens are drawn.
        item_seed: seed of the first passage; later ones have seeds derived from it.
        candidate: which of the clips with this seed.
    Yields:
        Tokens, (1, levels).
    """
    before = prefix
    for number, (condition, length) in enumerate(passages):
        item = Item(before, condition, derived_seed(item_seed, number), candidate)
        rollout = Rollout(decoder, [item], settings, length)
        last = number + 1 == len(passages)
        made: list[Tensor] = []
        count = 0
        while length is None or count < length:
            token = rollout.step()
            count += 1
            if not last:
                made.append(token)
            yield token
        before = torch.cat([before, *made])


def as_motion(features: Tensor, like: MotionClip) -> MotionClip:
    """New frames, (n, 515), as a clip with the fields of another; all of its frames are made up."""
    latents, boxes = from_features(features)
    return replace(like, latents=latents.clone(), boxes=boxes, t0=0)
