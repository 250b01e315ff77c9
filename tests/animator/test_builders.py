"""A size is a configuration: the settings name what the networks take, and the same seed builds the same animator."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

import animator
from animator import model_config
from animator.builders import (
    animator_config,
    assemble_pipeline,
    build_animator,
    find_weights,
    resolve_device,
    resolve_dtype,
)
from animator.config_loader import describe, group_options
from animator.errors import XNeMoError
from animator.models.discriminator import Discriminator
from animator.models.gan_head import GanHead
from animator.models.motion_encoder import MotionEncoder
from animator.models.motion_unet import MotionUNet

MIRRORS = [
    (model_config.MotionEncoderConfig, MotionEncoder),
    (model_config.MotionUNetConfig, MotionUNet),
    (model_config.GanHeadConfig, GanHead),
    (model_config.DiscriminatorConfig, Discriminator),
]


@pytest.mark.parametrize(("settings", "network"), MIRRORS)
def test_settings_and_constructor_agree_on_names_and_defaults(settings: type, network: type) -> None:
    parameters = dict(list(inspect.signature(network.__init__).parameters.items())[1:])
    fields = dataclasses.asdict(settings())
    assert fields.keys() == parameters.keys()
    for name, parameter in parameters.items():
        default = parameter.default
        assert fields[name] == (list(default) if isinstance(default, tuple) else default), name


def test_reference_net_settings_are_keys_of_the_image_unet() -> None:
    accepted = set(inspect.signature(UNet2DConditionModel.__init__).parameters)
    assert {field.name for field in dataclasses.fields(model_config.ReferenceNetConfig)} <= accepted


def test_every_architecture_key_is_documented() -> None:
    for info in describe("architecture"):
        assert len(info.help) > 4, info.name


def test_each_control_has_its_three_sizes() -> None:
    assert group_options("animator") == ["lite", "tiny", "xnemo", "xportrait", "xportrait-lite", "xportrait-tiny"]


@pytest.mark.parametrize("size", ["xnemo", "lite", "tiny", "xportrait", "xportrait-lite"])
def test_the_parts_of_a_size_fit_together(size: str) -> None:
    config = animator_config(size)
    encoder, unet, reference, vae = config.motion_encoder, config.unet, config.reference_net, config.vae
    assert encoder.latent_dim == encoder.motion_tokens * unet.motion_token_dim == config.gan_head.motion_dim
    assert vae.latent_channels == unet.in_channels == unet.out_channels == reference.in_channels
    assert config.image_size == unet.sample_size * vae.downsampling
    assert unet.block_out_channels == reference.block_out_channels
    assert unet.cross_attention_dim == reference.cross_attention_dim
    assert config.discriminator.image_size == config.gan_head.generator_base * 2 ** (
        len(config.gan_head.generator_channels) - 1
    )


def test_the_papers_size_has_the_released_number_of_parameters() -> None:
    with torch.device("meta"):
        models = build_animator(animator_config("xnemo"))

    def count(module: torch.nn.Module | None) -> int:
        assert module is not None
        return sum(parameter.numel() for parameter in module.parameters())

    assert count(models.motion_encoder) == 61_665_393
    assert count(models.reference_net) == 859_508_800
    assert count(models.unet) == 1_684_818_244
    assert count(models.vae) == 97_742_847


def test_the_same_seed_builds_the_same_animator_and_leaves_the_global_state_alone() -> None:
    config = animator_config("tiny")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = build_animator(config, 1), build_animator(config, 1), build_animator(config, 2)
    assert torch.equal(torch.rand(3), expected)
    weights = [dict(part.unet.named_parameters())["conv_in.weight"] for part in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_weights_recommend_only_a_renderer_that_they_hold() -> None:
    config = animator_config("tiny")
    models = build_animator(config)
    assert assemble_pipeline(models, config).config.default_renderer == "diffusion"
    bare = assemble_pipeline(dataclasses.replace(models, vae=None), config)
    assert bare.config.default_renderer == "gan"


def test_auto_runs_in_float32_on_a_cpu() -> None:
    assert resolve_dtype("auto", torch.device("cpu")) == torch.float32
    assert resolve_dtype("auto", torch.device("cuda")) == torch.bfloat16
    assert resolve_device("cpu").type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device that the test asks for in vain")
def test_a_missing_device_is_named() -> None:
    with pytest.raises(XNeMoError, match="device=cuda"):
        resolve_device("cuda")


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match="no weights here"):
        find_weights(str(tmp_path))


def test_the_animator_imports_none_of_the_other_packages() -> None:
    others = {"motion_tokenizer", "motion_gpt", "apps"}
    for path in Path(animator.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            assert not others & {name.split(".")[0] for name in names}, f"{path}: line {node.lineno}"
