"""From one frame to another through the codebook: a straight line between two codes, at each step the nearest one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from animator.errors import XNeMoError
from animator.keyframes import EASINGS
from animator.motion_clip import MotionClip
from motion_tokenizer.lookup import nearest_codes
from motion_tokenizer.token_sequence import TokenSequence
from motion_tokenizer.tokenizer import MotionTokenizer

SETTLE = 8
"""Steps that a frame is held for until its token no longer depends on what came before, to the eye."""


def still_token(tokenizer: MotionTokenizer, key: MotionClip) -> Tensor:
    """The token that a held frame settles at.

    Args:
        tokenizer: whose token.
        key: a clip; its first frame counts.
    Returns:
        (levels,) int64.
    Raises:
        XNeMoError: latents of another encoder.
    """
    held = SETTLE * tokenizer.frames_per_token
    motion = replace(
        key,
        latents=key.latents[:1].repeat(held, 1),
        boxes=key.boxes[:1].repeat(held, 1),
        fps=tokenizer.fps,
        t0=None,
    )
    return tokenizer.encode(motion).tokens[-1]


def code_line(tokenizer: MotionTokenizer, start: Tensor, end: Tensor, steps: int) -> Tensor:
    """Tokens along the straight line between two tokens' codes, both included.

    Args:
        tokenizer: whose codebook.
        start, end: (levels,) int64.
        steps: at least 2.
    Returns:
        (steps, levels) int64; at each level the code nearest to the line.
    """
    if steps < 2:
        raise ValueError(f"a way has at least its two ends, not {steps} steps")
    weight = torch.linspace(0, 1, steps)[:, None]
    levels = []
    for level, codebook in enumerate(tokenizer.codebooks):
        line = torch.lerp(codebook[start[level]][None], codebook[end[level]][None], weight)
        codes = nearest_codes(line, codebook)
        codes[0], codes[-1] = start[level], end[level]  # a codebook may hold the same code twice
        levels.append(codes)
    return torch.stack(levels, dim=1)


def token_path(
    tokenizer: MotionTokenizer,
    start: MotionClip,
    end: MotionClip,
    frames: int,
    easing: Callable[[Tensor], Tensor] | None = None,
) -> MotionClip:
    """A transition between two frames that says nothing but tokens.

    The decoder hears `start` held for a while first, so that the way begins where that frame is; this is left out.

    Args:
        tokenizer: the one whose tokens are used.
        start, end: the frames, clips of which the first frame counts.
        frames: length of the result, at least 2.
        easing: as of `MotionClip.interpolate`; None is constant speed.
    Returns:
        A clip of `frames` frames at the tokenizer's rate; all are made up, so `t0` is 0.
    Raises:
        XNeMoError: frames of different encoders, or of another one than the tokenizer's.
    """
    if frames < 2:
        raise XNeMoError(f"a way of {frames} frames is none; it has at least 2")
    stride = tokenizer.frames_per_token
    steps = max(2, -(-frames // stride))
    first, last = still_token(tokenizer, start), still_token(tokenizer, end)
    line = code_line(tokenizer, first, last, steps)
    tokens = torch.cat([first.expand(SETTLE, -1), line])
    decoded = tokenizer.decode(
        TokenSequence(tokens, len(tokens) * stride, tokenizer.fps, tokenizer.id, tokenizer.encoder_id)
    )[SETTLE * stride :]
    # Both ends of the clip are ends of the way, however the tokens divide it.
    share = torch.linspace(0, 1, frames)
    chosen = ((share if easing is None else easing(share)) * (len(decoded) - 1)).round().long()
    source = " to ".join(name for name in (start.source, end.source) if name)
    return replace(decoded, latents=decoded.latents[chosen], boxes=decoded.boxes[chosen], source=source, t0=0)


def through_tokens(
    tokenizer: MotionTokenizer, keys: Sequence[MotionClip], seconds: float, easing: str = "smooth", loop: bool = False
) -> MotionClip:
    """A clip that passes from key to key by `token_path`, as long as `animator.keyframes.through` makes it.

    Args:
        tokenizer: the one whose tokens are used; the clip has its rate.
        keys: clips of one frame, at least two.
        seconds: from each key to the next, above 0.
        easing: name in `EASINGS`.
        loop: add a transition from the last key to the first; its end, which is the beginning, is left out.
    Raises:
        XNeMoError: fewer than two keys, or keys of other encoders.
    """
    if len(keys) < 2:
        raise XNeMoError("a transition needs two key frames")
    if seconds <= 0:
        raise ValueError(f"seconds must be above 0, not {seconds}")
    steps = max(1, round(seconds * tokenizer.fps))
    pieces = []
    for start, end in pairwise([*keys, keys[0]] if loop else keys):
        pieces.append(token_path(tokenizer, start, end, steps + 1, EASINGS[easing])[:-1])
        final = end
    if not loop:
        pieces.append(token_path(tokenizer, final, final, 2)[-1:])
    joined = MotionClip.concatenate(pieces, rebase=False)
    return replace(joined, source=" to ".join(dict.fromkeys(key.source for key in keys if key.source)))
