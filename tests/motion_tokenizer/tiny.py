"""A tiny motion tokenizer with a codebook that is used, and smooth random motion for it."""

from __future__ import annotations

import copy
import math
from functools import lru_cache

import torch
from torch import Tensor

from animator.motion_clip import MotionClip
from motion_tokenizer.builders import build_model, tokenizer_config
from motion_tokenizer.features import to_features
from motion_tokenizer.models.vqvae import MotionVQVAE
from motion_tokenizer.tokenizer import MotionTokenizer

ENCODER = "0123456789abcdef"


def motion(frames: int, seed: int = 0, encoder_id: str = ENCODER, fps: float = 25.0) -> MotionClip:
    """Motion of a few random factors that change smoothly."""
    generator = torch.Generator().manual_seed(seed)
    rates = 0.3 + 6 * torch.rand(12, generator=generator)
    phases = 2 * math.pi * torch.rand(12, generator=generator)
    factors = torch.sin(torch.arange(frames)[:, None] / fps * rates + phases)
    # The same for all seeds: what varies is the motion, not the encoder.
    mixing = torch.randn(12, 512, generator=torch.Generator().manual_seed(1000))
    boxes = torch.stack([factors[:, 0] / 5, factors[:, 1] / 9, (factors[:, 2] / 4).exp()], dim=1)
    return MotionClip(factors @ mixing, boxes, fps, encoder_id)


def features(clips: int, frames: int, seed: int = 0) -> Tensor:
    """Features of several clips, (clips, frames, 515)."""
    drawn = [motion(frames, seed + number) for number in range(clips)]
    return torch.stack([to_features(clip.latents, clip.boxes) for clip in drawn])


def model(*overrides: str, seed: int = 0) -> MotionVQVAE:
    """A tiny model with the statistics of `features` and, where codes are learned, a codebook from k-means."""
    return copy.deepcopy(_model(overrides, seed))


@lru_cache
def _model(overrides: tuple[str, ...], seed: int) -> MotionVQVAE:
    made = build_model(tokenizer_config("tiny", *overrides), seed)
    data = features(40, 128, seed=100)
    made.set_statistics(data.mean(dim=(0, 1)), data.std(dim=(0, 1)))
    with torch.no_grad():
        pool = made.encode_continuous(data).flatten(0, 1)
    made.bottleneck.initialise(pool, torch.Generator().manual_seed(seed))
    return made


def tokenizer(*overrides: str, seed: int = 0, encoder_id: str = ENCODER) -> MotionTokenizer:
    """A tiny tokenizer of untrained networks for `motion`."""
    return MotionTokenizer(model(*overrides, seed=seed), encoder_id)
