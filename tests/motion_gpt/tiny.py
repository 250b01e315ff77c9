"""A generator that tests build in a moment, with weights that make every part matter."""

from __future__ import annotations

import torch
from torch import Tensor

from motion_gpt.builders import build_gpt
from motion_gpt.config import gpt_config
from motion_gpt.models.motion_gpt import MotionGpt
from motion_gpt.vocabulary import Condition

CODES = 64


def tiny_gpt(levels: int = 1, seed: int = 0, *overrides: str) -> MotionGpt:
    """`gpt=tiny` on 64 codes; its random weights are large enough for predictions to differ clearly."""
    model = build_gpt(gpt_config("tiny", *overrides), CODES, levels, tokenizer_id="tokenizer-a", seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def tokens(n: int, levels: int = 1, seed: int = 0) -> Tensor:
    """Some tokens, (n, levels)."""
    return torch.randint(0, CODES, (n, levels), generator=torch.Generator().manual_seed(seed))


def sequence(model: MotionGpt, condition: Condition, rows: Tensor) -> Tensor:
    """Ids as `MotionGpt.forward` takes them, (1, 3 + n, levels): the condition, then rows (n, levels) of ids."""
    ids = model.vocabulary.condition(condition.emotion, condition.intensity)
    return torch.cat([ids[:, None].expand(-1, rows.shape[1]), rows])[None]
