"""From settings to a generator."""

from __future__ import annotations

from dataclasses import asdict

import torch

from motion_gpt.config import GptConfig
from motion_gpt.models.motion_gpt import MotionGpt


def build_gpt(
    config: GptConfig, codes: int, levels: int = 1, tokenizer_id: str = "", seed: int = 0, code_dim: int = 0
) -> MotionGpt:
    """Build a generator with fresh weights, in evaluation mode, float32, on the CPU.

    Args:
        config: its size.
        codes: entries of the tokenizer's codebook.
        levels: codes of one motion token.
        tokenizer_id: of the tokenizer whose tokens it will speak.
        seed: of the random weights; the global random state is left as it was.
        code_dim: of the tokenizer's codes; 0 for a generator that is not told where they lie.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MotionGpt(codes=codes, levels=levels, tokenizer_id=tokenizer_id, code_dim=code_dim, **asdict(config))
        return model.eval()
