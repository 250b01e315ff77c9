"""Reference net and motion UNet at full size against golden outputs of the official modules, float32.

One net is in memory at a time (3.4, then 6.7 GB); weights are generated under the released keys, so that the key maps
are tested along with the arithmetic.
"""

from __future__ import annotations

import gc
from pathlib import Path
from types import ModuleType

import pytest
import torch
from accelerate import init_empty_weights
from safetensors.torch import load_file
from torch import Tensor

from animator.models.attention import ReferenceFeatures
from animator.models.motion_unet import MotionUNet
from animator.models.reference_net import ReferenceNet
from animator.release_keys import denoising_key, released_denoising_keys

TOLERANCE = 1e-4
pytestmark = pytest.mark.slow

Keys = dict[str, dict[str, list[int]]]


def relative_error(ours: Tensor, golden: Tensor) -> float:
    return float((ours - golden).norm() / golden.norm())


def generated(weights: ModuleType, module: str, shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Weights under the released keys; the position tables are left to the module."""
    drawn = {key: weights.make_weight(module, key, shape) for key, shape in shapes.items()}
    return {key: value for key, value in drawn.items() if value is not weights.KEEP}


@pytest.fixture(scope="module")
def golden(parity_folder: Path) -> dict[str, Tensor]:
    return load_file(parity_folder / "b_unets.safetensors")


@pytest.fixture(scope="module")
def inputs(parity_weights: ModuleType) -> dict[str, Tensor]:
    shapes = {
        "ref_latents": (1, 4, 16, 24),
        "ref_latents32": (1, 4, 32, 32),
        "image_embed": (1, 1, 768),
        "motion_tokens": (1, 4, 32, 16),
        "neg_motion_tokens": (1, 32, 16),
        "noisy_latents": (1, 4, 4, 16, 24),
        "noisy_latents32": (1, 4, 1, 32, 32),
    }
    return {name: parity_weights.make_input(name, shape) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def features(
    inputs: dict[str, Tensor], parity_weights: ModuleType, released_keys: Keys
) -> dict[str, ReferenceFeatures]:
    """Features of the portrait with [zero, real] image token at 16 x 24, and with the real one at 32 x 32."""
    with init_empty_weights():
        net = ReferenceNet(cross_attention_dim=768, attention_head_dim=8)
    net.load_state_dict(generated(parity_weights, "reference_unet", released_keys["reference_unet"]), assign=True)
    embed = inputs["image_embed"]
    with torch.no_grad():
        both = net.eval()(inputs["ref_latents"].expand(2, -1, -1, -1), torch.cat([torch.zeros_like(embed), embed]))
        large = net(inputs["ref_latents32"], embed)
    return {"both": both, "large": large}


@pytest.fixture(scope="module")
def outputs(
    features: dict[str, ReferenceFeatures],
    inputs: dict[str, Tensor],
    parity_weights: ModuleType,
    released_keys: Keys,
) -> dict[str, Tensor]:
    gc.collect()  # the reference net's weights, before the larger net's are made
    with init_empty_weights():
        net = MotionUNet()
    drawn = generated(parity_weights, "denoising_unet", released_keys["denoising_unet"])
    missing, unexpected = net.load_state_dict(
        {denoising_key(key): value for key, value in drawn.items()}, strict=False, assign=True
    )
    assert not unexpected
    assert all(key.endswith("pos_embed.pe") for key in missing)
    del drawn

    both = features["both"]
    real = ReferenceFeatures({name: x[1:] for name, x in both.layers.items()}, both.latents[1:])
    embed, noisy, motion = inputs["image_embed"], inputs["noisy_latents"], inputs["motion_tokens"]
    guided_embeds = torch.cat([torch.zeros_like(embed), embed])
    negative = inputs["neg_motion_tokens"][:, None]
    guided_motion = torch.cat([negative.expand_as(motion), motion])
    net.eval()
    with torch.no_grad():
        rounded = net.project_reference(real.rounded(torch.float16))
        four = net(noisy.expand(2, -1, -1, -1, -1), 601, guided_embeds, guided_motion, rounded, unconditional=1)
        exact = net(noisy, 601, embed, motion, net.project_reference(real))
        one = net(noisy[:, :, :1], 601, embed, motion[:, :1], rounded)
        large = net.project_reference(features["large"].rounded(torch.float16))
        latents = inputs["noisy_latents32"].expand(2, -1, -1, -1, -1)
        first = torch.cat([negative, motion[:, :1]])
        square = net(latents, 1, guided_embeds, first, large, unconditional=1)
    return {
        "clip4.cfg.uncond": four[:1],
        "clip4.cfg.cond": four[1:],
        "clip4.cfg.fp32bank.cond": exact,
        "frame1.nocfg": one,
        "frame1_32.cfg.uncond": square[:1],
        "frame1_32.cfg.cond": square[1:],
    }


def test_reference_features_match_the_official_bank(
    features: dict[str, ReferenceFeatures], golden: dict[str, Tensor], parity_weights: ModuleType
) -> None:
    layers = features["both"].layers
    expected = {key.removeprefix("ref.bank."): value for key, value in golden.items() if key.startswith("ref.bank.")}
    assert set(layers) == set(expected)
    errors = {name: relative_error(parity_weights.subsample(layers[name], 2048), expected[name]) for name in layers}
    print("reference features, largest relative L2:", max(errors.values()))
    assert max(errors.values()) < TOLERANCE


def test_denoiser_matches_the_official_outputs(outputs: dict[str, Tensor], golden: dict[str, Tensor]) -> None:
    errors = {name: relative_error(value.reshape(golden[name].shape), golden[name]) for name, value in outputs.items()}
    print("denoiser, relative L2:", errors)
    assert max(errors.values()) < TOLERANCE


def test_every_released_key_has_one_place_and_comes_back(released_keys: Keys) -> None:
    with init_empty_weights():
        denoiser, reference = MotionUNet(), ReferenceNet(cross_attention_dim=768, attention_head_dim=8)
    ours = {key: list(value.shape) for key, value in denoiser.state_dict().items()}
    released = released_keys["denoising_unet"]
    assert len(released) == 1820
    assert {denoising_key(key): shape for key, shape in released.items()} == ours
    assert sorted(key for name in ours for key in released_denoising_keys(name)) == sorted(released)
    assert len(released_keys["reference_unet"]) == 682
    assert {key: list(value.shape) for key, value in reference.state_dict().items()} == released_keys["reference_unet"]
