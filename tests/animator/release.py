"""The release as users have it, at a size that tests write in a moment: the same names and layout, random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKLTemporalDecoder
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from animator.asset_manifest import DENOISING, ENCODER, IMAGE_VARIATIONS, REFERENCE, TEMPORAL, VIDEO_DIFFUSION
from animator.builders import animator_config
from animator.convert.expected import (
    Expected,
    build_skeletons,
    expected_denoiser,
    expected_motion_encoder,
    expected_reference_net,
)
from animator.model_config import AnimatorConfig

SETTINGS = ("animator=tiny", "animator.image_encoder=true")
States = dict[str, dict[str, Tensor]]


def release_config() -> AnimatorConfig:
    """The architecture of the tiny release."""
    return animator_config("tiny", *SETTINGS[1:])


def release_states(config: AnimatorConfig, dtype: torch.dtype = torch.float16) -> States:
    """File name -> the state dict that belongs into it."""
    nets = build_skeletons(config)
    denoiser = drawn(expected_denoiser(nets.unet), dtype, 3)
    return {
        ENCODER: drawn(expected_motion_encoder(nets.motion_encoder), dtype, 1),
        REFERENCE: drawn(expected_reference_net(nets.reference_net), dtype, 2),
        DENOISING: {key: value for key, value in denoiser.items() if ".temporal_modules." not in key},
        TEMPORAL: {key: value for key, value in denoiser.items() if ".temporal_modules." in key},
    }


def drawn(expected: Expected, dtype: torch.dtype, seed: int) -> dict[str, Tensor]:
    """Random values for every entry, position tables and counters as they have to be."""
    generator = torch.Generator().manual_seed(seed)

    def value(key: str, shape: tuple[int, ...]) -> Tensor:
        if key in expected.tables:
            return expected.tables[key].to(dtype)
        if key.endswith("num_batches_tracked"):
            return torch.tensor(7)
        values = 0.1 * torch.randn(shape, generator=generator)
        return (values.abs() + 1 if key.endswith("running_var") else values).to(dtype)

    return {key: value(key, shape) for key, shape in expected.shapes.items()}


def write_release(folder: Path, states: States) -> Path:
    """Write the four files and the parts of the two base models that are needed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, state in states.items():
        torch.save(state, folder / name)
    write_autoencoder(folder / VIDEO_DIFFUSION / "vae")
    write_image_encoder(folder / IMAGE_VARIATIONS / "image_encoder")
    return folder


def write_autoencoder(folder: Path) -> AutoencoderKLTemporalDecoder:
    """A small Stable Video Diffusion autoencoder, with safetensors."""
    torch.manual_seed(4)
    net = AutoencoderKLTemporalDecoder(
        down_block_types=["DownEncoderBlock2D"] * 3,
        block_out_channels=(32, 32, 32),
        layers_per_block=1,
        sample_size=64,
    )
    net.save_pretrained(folder)
    return net


def write_image_encoder(folder: Path, width: int = 8) -> CLIPVisionModelWithProjection:
    """A small vision tower of CLIP, as an old pickle with the buffer that new versions no longer have."""
    torch.manual_seed(5)
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=224,
        patch_size=56,
        projection_dim=width,
        hidden_act="quick_gelu",
    )
    net = CLIPVisionModelWithProjection(config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    ids = {"vision_model.embeddings.position_ids": torch.arange(17)[None]}
    torch.save(net.state_dict() | ids, folder / "pytorch_model.bin")
    return net


def write_base_unet(folder: Path, config: AnimatorConfig) -> dict[str, Tensor]:
    """The UNet of Stable Diffusion that fits, with its configuration."""
    expected = expected_denoiser(build_skeletons(config).unet)
    spatial = expected.only(lambda key: ".motion_modules." not in key and ".temporal_modules." not in key)
    state = drawn(spatial, torch.float32, 6)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "diffusion_pytorch_model.safetensors")
    shared = ("block_out_channels", "layers_per_block", "norm_num_groups", "cross_attention_dim", "attention_head_dim")
    settings = {name: getattr(config.reference_net, name) for name in shared}
    (folder / "config.json").write_text(json.dumps(settings | {"_class_name": "UNet2DConditionModel"}))
    return state


def rewrite(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the state dict in a file."""
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
