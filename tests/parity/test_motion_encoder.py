"""The motion encoder reproduces the official encoder's outputs from weights under the official keys."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from animator.models.motion_encoder import MotionEncoder, grid_sinusoid
from animator.release_keys import motion_encoder_prefixes, rename


def relative_l2(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return ((actual - expected).norm() / expected.norm()).item()


@pytest.fixture(scope="module")
def golden(parity_folder):
    return load_file(parity_folder / "a_motion_encoder.safetensors")


@pytest.fixture(scope="module")
def encoder(parity_weights, released_keys) -> MotionEncoder:
    shapes = released_keys["motion_encoder"]
    ours = rename(shapes, motion_encoder_prefixes())
    state = {}
    for key, shape in shapes.items():
        value = parity_weights.make_weight("motion_encoder", key, shape)
        if key.endswith("num_batches_tracked"):
            value = torch.zeros((), dtype=torch.long)
        if value is not parity_weights.KEEP:
            state[ours[key]] = value
    fresh = MotionEncoder()
    assert set(state) == set(fresh.state_dict()), "the released keys and the model's keys must match one to one"
    fresh.load_state_dict(state)
    return fresh.eval()


def test_tokens_and_latents_equal_the_official_encoder(encoder, golden, parity_weights):
    images = parity_weights.make_input("motion_images", (2, 3, 224, 224), "signed")
    triplets = torch.tensor([[0.0, 0.0, 1.0], [0.1, -0.2, 1.1]])
    with torch.no_grad():
        latents = encoder.encode(images)
        tokens = encoder.fuse(latents, triplets)
    assert relative_l2(latents, golden["out.face_latent"]) < 1e-5
    assert relative_l2(tokens, golden["out.tokens"]) < 1e-5


def test_position_tables_equal_the_official_ones(encoder, golden):
    assert torch.allclose(encoder.token_position, golden["out.pe"].reshape(32, 16), atol=1e-6)
    assert encoder.attention1.position.shape == (784, 1024)
    assert torch.equal(encoder.attention1.position, grid_sinusoid(28, 1024))
