"""Single codes: what each looks like on a neutral portrait, and where the open takes use it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from apps.viewer import networks
from apps.viewer.code_statistics import CodeStatistics, count_codes
from apps.viewer.takes import Take

if TYPE_CHECKING:
    from animator.motion_clip import MotionClip
    from motion_tokenizer.tokenizer import MotionTokenizer

HELD = 4  # tokens for which a code is held before it is looked at: the decoder looks back
SIDE = 112  # pixels of a picture in the gallery

Picture = NDArray[np.uint8]


def held_code(code: int, tokenizer: MotionTokenizer) -> MotionClip:
    """The motion of a code that is held for a while, by itself; its last frame is what the code says.

    With residual levels the further ones are those that stand at 0.
    """
    import torch

    from motion_tokenizer.token_sequence import TokenSequence

    tokens = torch.zeros(HELD, tokenizer.levels, dtype=torch.int64)
    tokens[:, 0] = code
    frames = HELD * tokenizer.frames_per_token
    return tokenizer.decode(TokenSequence(tokens, frames, tokenizer.fps, tokenizer.id, tokenizer.encoder_id))


@st.cache_resource(show_spinner=False, max_entries=600)
def picture_of(code: int, portrait: Path) -> Picture:
    """What a code looks like on a portrait, (side, side, 3); the head stays where it is in the portrait."""
    import torch

    from animator.conditions import IN_PLACE

    motion = held_code(code, networks.tokenizer())
    drawn = networks.preview(portrait).draw(motion.latents[-1:], torch.tensor([IN_PLACE]))[0]
    return np.asarray(Image.fromarray(drawn).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def statistics_of(takes: Iterable[Take], codes: int) -> CodeStatistics:
    """How the open takes use the codebook."""
    return count_codes(((take.tokens.tokens[:, 0].numpy(), take.emotion) for take in takes), codes)


@dataclass(frozen=True)
class Place:
    """Where a code stands: key of the take, and number of the token."""

    take: str
    token: int


def places_of(code: int, takes: Iterable[Take]) -> list[Place]:
    """Everywhere that the open takes use a code."""
    return [
        Place(take.key, int(token))
        for take in takes
        for token in np.flatnonzero(take.tokens.tokens[:, 0].numpy() == code)
    ]


ORDERS = ("most used", "by emotion", "like the chosen one", "rarest")


def gallery_codes(
    order: str, statistics: CodeStatistics, count: int, near: list[int], emotion: str | None = None
) -> list[int]:
    """Which codes the gallery shows.

    Args:
        order: one of `ORDERS`.
        statistics: of the set.
        count: at most so many.
        near: the codes nearest to the chosen one, itself first.
        emotion: for "by emotion": the codes that stand out in it most.
    Raises:
        ValueError: another order.
    """
    if order == "most used":
        return statistics.most_used(count)
    if order == "like the chosen one":
        return near[:count]
    if order == "rarest":
        used = statistics.most_used(len(statistics.usage))
        return used[::-1][:count]
    if order == "by emotion":
        return typical_codes(statistics, emotion, count)
    raise ValueError(f"no such order: {order}")


def typical_codes(statistics: CodeStatistics, emotion: str | None, count: int) -> list[int]:
    """The codes that stand out in an emotion most, by the log-odds of occurring in it and not elsewhere.

    A prior of one occurrence in a thousand, shared out as the whole set is, keeps rare codes from standing out by
    chance.
    """
    if emotion not in statistics.emotions:
        return []
    inside = statistics.by_emotion[:, statistics.emotions.index(emotion)].astype(np.float64)
    outside = statistics.by_emotion[:, :-1].sum(axis=1) - inside
    prior = (statistics.usage + 0.01) / (statistics.usage.sum() + 0.01 * len(statistics.usage)) * 50
    odds = np.log((inside + prior) / (inside.sum() + 50)) - np.log((outside + prior) / (outside.sum() + 50))
    order = np.argsort(-np.where(inside > 0, odds, -np.inf), kind="stable")[:count]
    return [int(code) for code in order if inside[code] > 0]
