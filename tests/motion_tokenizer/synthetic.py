"""Made-up motion that a small tokenizer can learn: smooth factors, a mean that differs from person to person."""

from __future__ import annotations

import math

import torch

from animator.motion_clip import LATENT_DIM, MotionClip

FACTORS = 4
ENCODER = "encoder-a"


def synthetic_motion(frames: int, seed: int, encoder_id: str = ENCODER, fps: float = 25.0) -> MotionClip:
    """A clip whose latents lie in a space of 4 dimensions, the same for all seeds."""
    one_map = torch.randn(FACTORS, LATENT_DIM, generator=torch.Generator().manual_seed(12345))
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(frames)[:, None] / fps
    rate, phase, mean = (torch.rand(FACTORS, generator=generator) for _ in range(3))
    factors = torch.sin(2 * math.pi * ((0.3 + rate) * time + phase)) + 0.5 * mean
    boxes = torch.cat([0.1 * factors[:, :2], (0.1 * factors[:, 2:3]).exp()], dim=1)
    return MotionClip(factors @ one_map, boxes, fps, encoder_id, f"clip_{seed}.mp4", "ab" * 32)
