"""The encoder with its attention in half precision: close to the exact one, and the same encoder by its id."""

from __future__ import annotations

import copy
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import Tensor

from animator.assets import asset_path
from animator.builders import animator_config, load_motion_encoder
from animator.conditions import encode_faces
from animator.config import RuntimeConfig
from animator.extraction.reading import ReadSettings, open_clip
from animator.face import FaceDetector
from animator.models.identity import encoder_id
from animator.models.motion_encoder import FramewiseAttention, MotionEncoder, PatchSelfAttention

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def lite() -> MotionEncoder:
    return load_motion_encoder(RuntimeConfig(device="cpu", dtype="float32"))


@pytest.fixture(scope="module")
def crops(lite: MotionEncoder) -> np.ndarray:
    """Face crops of a real clip, (16, 80, 80, 3)."""
    settings = ReadSettings("largest", 0.5, 12, "tracked", "auto", lite.config.image_size, audio=False)
    with FaceDetector() as detector, open_clip(asset_path("single-face-video"), settings, detector) as (_, batches):
        return next(batches)


@torch.no_grad()
def relative_error(other: MotionEncoder, exact: MotionEncoder, crops: np.ndarray) -> float:
    expected = encode_faces(exact, crops, CPU)
    return float((encode_faces(other, crops, CPU).float() - expected).norm() / expected.norm())


def test_latents_of_a_real_clip_are_within_a_hundredth(lite: MotionEncoder, crops: np.ndarray) -> None:
    half = load_motion_encoder(RuntimeConfig(device="cpu", dtype="bfloat16"))
    error = relative_error(half, lite, crops)
    assert 0 < error < 1e-3
    assert error < 0.5 * relative_error(copy.deepcopy(lite).bfloat16(), lite, crops)
    assert encoder_id(half) == encoder_id(lite)


def test_random_weights_too(crops: np.ndarray) -> None:
    config = animator_config("lite").motion_encoder
    with torch.random.fork_rng():
        torch.manual_seed(0)
        exact = MotionEncoder(**asdict(config)).eval()
    assert 0 < relative_error(copy.deepcopy(exact).halve_attention(torch.bfloat16), exact, crops) < 1e-2


def test_framewise_attention_is_attention(lite: MotionEncoder) -> None:
    attention = next(layer for layer in lite.modules() if isinstance(layer, PatchSelfAttention)).attention
    tokens: Tensor = torch.randn(3, 100, 128, generator=torch.Generator().manual_seed(0))
    other = copy.deepcopy(attention)
    other.set_processor(FramewiseAttention())
    with torch.no_grad():
        assert torch.allclose(other(tokens), attention(tokens), atol=1e-5)
