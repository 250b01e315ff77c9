"""A tiny tokenizer with a tiny generator that speaks its tokens."""

from __future__ import annotations

from functools import lru_cache

import torch

from motion_gpt.builders import build_gpt
from motion_gpt.config import gpt_config
from motion_gpt.models.motion_gpt import MotionGpt
from motion_tokenizer.features import FEATURES
from motion_tokenizer.tokenizer import MotionTokenizer
from tests.motion_tokenizer import tiny


@lru_cache
def speakers(*overrides: str) -> tuple[MotionTokenizer, MotionGpt]:
    """The two, untrained, with predictions that differ clearly; `overrides` are the tokenizer's."""
    tokenizer = tiny.tokenizer(*overrides)
    return tokenizer, speaker_of(tokenizer)


def speaker_of(tokenizer: MotionTokenizer) -> MotionGpt:
    """A generator for a tokenizer."""
    model = build_gpt(gpt_config("tiny"), tokenizer.codes, tokenizer.levels, tokenizer.id)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    model.detail.fit(*([0.1 * torch.randn(200, FEATURES, generator=generator)] for _ in range(2)))
    return model
