"""Fit the fine motion that tokens leave out, from the clips that the generator is trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from motion_gpt.models.detail import MotionDetail
from motion_gpt.training.clips import LabelledClips, tokens_of
from motion_tokenizer.features import to_features
from motion_tokenizer.tokenizer import MotionTokenizer


def fit_detail(detail: MotionDetail, clips: LabelledClips, tokenizer: MotionTokenizer) -> None:
    """Fit a network's fine motion, in place. Mirrored copies are passed over: they tell nothing new.

    Nothing is fitted to a tokenizer that looks ahead, which cannot continue a clip.
    """
    if detail.components and tokenizer.model.config.causal:
        own = [clip for clip, copy in zip(clips.clips.clips(), clips.clips.mirrored, strict=True) if not copy]
        stride = tokenizer.frames_per_token
        whole = [clip[len(clip) % stride :] for clip in own]
        decoded = _decoded(whole, tokenizer)
        detail.fit([clip - made for clip, made in zip(whole, decoded, strict=True)], decoded)


@torch.no_grad()
def _decoded(clips: list[Tensor], tokenizer: MotionTokenizer) -> list[Tensor]:
    """What the tokens of clips decode to; features (T, 515) each, T a multiple of a token's frames."""
    return [to_features(*tokenizer.stream().push_tokens(tokens)) for tokens in tokens_of(clips, tokenizer)]
