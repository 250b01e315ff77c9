"""Outpainting: a driving clip goes on by itself (X-NeMo, appendix D and figure 12)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from animator.conditions import IN_PLACE
from animator.errors import XNeMoError
from animator.motion_clip import LATENT_DIM, MotionClip
from motion_gpt.continuation import (
    Continuation,
    Passage,
    as_motion,
    begin_continuation,
    check_pair,
    nothing,
    read_prefix,
    smooth_starts,
    stream_tokens,
    tokens_needed,
)
from motion_gpt.decoder import Decoder
from motion_gpt.models.motion_gpt import MotionGpt
from motion_gpt.rollout import Item
from motion_gpt.sampling import as_decoder, generate_items
from motion_gpt.seam import SeamSettings
from motion_gpt.settings import Sampling
from motion_gpt.vocabulary import Condition
from motion_tokenizer.tokenizer import MotionTokenizer

NULL = Condition()
"""No wish: what a continuation expresses unless an emotion is asked for."""

_SEAM = SeamSettings()


def continue_motion(
    generator: MotionGpt | Decoder,
    tokenizer: MotionTokenizer,
    driving: MotionClip,
    frames: int,
    settings: Sampling,
    condition: Condition = NULL,
    candidates: int = 1,
    seam: SeamSettings = _SEAM,
    progress: Callable[[int], object] | None = None,
) -> list[MotionClip]:
    """Continue a driving clip, in one or several ways.

    Args:
        generator: the network; a `Decoder` of it saves making one for each call.
        tokenizer: the one that the generator was trained with.
        driving: the clip to continue, at least a token long, of any frame rate (see `motion_gpt.rates`).
        frames: frames to add, at the driving's rate, at least 1.
        settings: how tokens are drawn.
        condition: what the continuation shall express.
        candidates: different continuations; number 0 is what one alone would be.
        seam: how the continuation is joined to the driving.
        progress: called after each step with the number of tokens that were made in it.
    Returns:
        For each candidate the driving clip, unchanged to the last bit, with its continuation, at the driving's rate.
        `t0` is the first new frame (or the driving's own, if that was made up from there on), `seed` is the settings'.
    Raises:
        XNeMoError: weights that do not belong together, a clip shorter than a token, settings out of range, or no
            frames or candidates.
    """
    if frames < 1:
        raise XNeMoError(f"{frames} frames asked for: must be at least 1")
    if candidates < 1:
        raise XNeMoError(f"candidates={candidates}: must be at least 1")
    decoder = as_decoder(generator)
    check_pair(decoder, tokenizer)
    prefix = read_prefix(tokenizer, driving)
    items = [Item(prefix.tokens, condition, settings.seed, candidate) for candidate in range(candidates)]
    items = smooth_starts(decoder, tokenizer, prefix, items, settings, seam)
    length = tokens_needed(tokenizer, frames, driving.fps)
    clips = []
    for item, tokens in zip(items, generate_items(decoder, items, length, settings, progress), strict=True):
        continuation = begin_continuation(decoder, tokenizer, prefix, item, settings, seam, driving.fps)
        features = continuation.push(tokens)[:frames]
        clips.append(join(driving, as_motion(features, replace(driving, seed=settings.seed))))
    return clips


def stream_motion(
    generator: MotionGpt | Decoder,
    tokenizer: MotionTokenizer,
    driving: MotionClip | None,
    frames: int | None,
    settings: Sampling,
    passages: Sequence[Passage] = ((NULL, None),),
    candidate: int = 0,
    seam: SeamSettings = _SEAM,
) -> Iterator[MotionClip]:
    """Make a continuation piece by piece, in memory that does not grow; or a clip from nothing.

    What comes is what `continue_motion` adds to the driving, for the same arguments.

    Args:
        generator, tokenizer, settings, seam: as in `continue_motion`.
        driving: the clip to continue; None to start from nothing, with the head at (0, 0, 1), at the tokenizer's rate.
        frames: frames to make; None for as many as somebody asks for.
        passages: what is expressed one after the other. Where they end before `frames` frames are made, so does the
            clip.
        candidate: which of the clips with this seed.
    Yields:
        Clips of a few frames each, in order.
    Raises:
        XNeMoError: as in `continue_motion`, before the first piece.
    """
    if frames is not None and frames < 1:
        raise XNeMoError(f"{frames} frames asked for: must be at least 1")
    decoder = as_decoder(generator)
    check_pair(decoder, tokenizer)
    prefix = nothing(tokenizer) if driving is None else read_prefix(tokenizer, driving)
    if driving is None:
        like = MotionClip(torch.zeros(1, LATENT_DIM), torch.tensor([IN_PLACE]), tokenizer.fps, tokenizer.encoder_id)
    else:
        like = driving
    item = Item(prefix.tokens, passages[0][0], settings.seed, candidate)
    (item,) = smooth_starts(decoder, tokenizer, prefix, [item], settings, seam)
    continuation = begin_continuation(decoder, tokenizer, prefix, item, settings, seam, like.fps)
    tokens = stream_tokens(decoder, prefix.tokens, passages, settings, item.seed, candidate)
    return _pieces(tokens, continuation, replace(like, seed=settings.seed), frames)


def join(driving: MotionClip, continuation: MotionClip) -> MotionClip:
    """A driving clip and what continues it as one clip, with `t0` at the first frame that was made up."""
    return replace(
        driving,
        latents=torch.cat([driving.latents, continuation.latents]),
        boxes=torch.cat([driving.boxes, continuation.boxes]),
        t0=len(driving) if driving.t0 is None else driving.t0,
        seed=continuation.seed,
    )


def _pieces(
    tokens: Iterator[Tensor], continuation: Continuation, like: MotionClip, frames: int | None
) -> Iterator[MotionClip]:
    made = 0
    for token in tokens:
        features = continuation.push(token)
        if frames is not None:
            features = features[: frames - made]
        made += len(features)
        if len(features):
            yield as_motion(features, like)
        if made == frames:
            return
