"""Stable Diffusion folders and AnimateDiff checkpoints become what training starts from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from animator.builders import build_animator
from animator.convert.base import convert_base
from animator.convert.expected import build_skeletons, expected_denoiser
from animator.errors import XNeMoError
from animator.model_config import AnimatorConfig
from animator.models.motion_unet import MotionUNet
from animator.models.reference_net import ReferenceNet
from animator.training.weights import load_networks
from tests.animator.release import drawn, release_config, write_base_unet

CONFIG = release_config()
TEMPORAL = ".temporal_modules."


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A Stable Diffusion folder of the tiny architecture."""
    write_base_unet(tmp_path / "sd" / "unet", CONFIG)
    AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3,
        block_out_channels=(8, 8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=64,
        mid_block_add_attention=False,
    ).save_pretrained(tmp_path / "sd" / "vae")
    return tmp_path / "sd"


def animatediff_state(config: AnimatorConfig = CONFIG) -> dict[str, Tensor]:
    """An AnimateDiff checkpoint under its own keys."""
    released = expected_denoiser(build_skeletons(config).unet).only(lambda key: TEMPORAL in key)
    return {
        key.replace(TEMPORAL, ".motion_modules."): value for key, value in drawn(released, torch.float16, 8).items()
    }


def our_temporal(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under our keys."""
    ours = expected_denoiser(build_skeletons(CONFIG).unet).ours
    return {ours[key.replace(".motion_modules.", TEMPORAL)]: value for key, value in state.items()}


def test_the_base_unet_becomes_reference_net_and_spatial_layers(source: Path, tmp_path: Path) -> None:
    done = convert_base(source, tmp_path / "out", CONFIG)
    base = load_file(source / "unet" / "diffusion_pytorch_model.safetensors")
    unet = MotionUNet.from_pretrained(tmp_path / "out" / "unet").state_dict()
    reference = ReferenceNet.from_pretrained(tmp_path / "out" / "reference_net").state_dict()
    assert all(torch.equal(unet[key], value) for key, value in base.items())
    assert set(base) - set(reference) == {
        f"conv_{part}.{kind}" for part in ("norm_out", "out") for kind in ("weight", "bias")
    }
    assert all(torch.equal(base[key], value) for key, value in reference.items())
    assert (done.networks, done.temporal, done.temporal_autoencoder) == (["reference_net", "unet", "vae"], 0, False)


def test_the_fresh_denoiser_is_the_base_unet_frame_by_frame(source: Path, tmp_path: Path) -> None:
    convert_base(source, tmp_path / "out", CONFIG)
    ours = MotionUNet.from_pretrained(tmp_path / "out" / "unet").eval()
    settings = CONFIG.reference_net
    theirs = UNet2DConditionModel(
        sample_size=16,
        down_block_types=settings.down_block_types,
        up_block_types=settings.up_block_types,
        block_out_channels=settings.block_out_channels,
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=8,
        attention_head_dim=2,
    ).eval()
    theirs.load_state_dict(load_file(source / "unet" / "diffusion_pytorch_model.safetensors"))
    generator = torch.Generator().manual_seed(0)
    latents, token = torch.randn(1, 4, 3, 16, 16, generator=generator), torch.randn(1, 1, 8, generator=generator)
    with torch.no_grad():
        drawn = ours(latents, 10, token, torch.randn(1, 3, 32, 16, generator=generator))
        frames = theirs(latents[0].transpose(0, 1), 10, token.expand(3, -1, -1)).sample
    torch.testing.assert_close(drawn[0].transpose(0, 1), frames, atol=1e-5, rtol=1e-4)


def test_training_loads_the_folder(source: Path, tmp_path: Path) -> None:
    convert_base(source, tmp_path / "out", CONFIG)
    models = build_animator(CONFIG)
    assert load_networks(models, tmp_path / "out") == {"reference_net", "unet", "vae"}
    base = load_file(source / "unet" / "diffusion_pytorch_model.safetensors")
    assert torch.equal(models.unet.state_dict()["conv_in.weight"], base["conv_in.weight"])


def test_the_seed_decides_what_is_fresh(source: Path, tmp_path: Path) -> None:
    key = "mid_block.motion_modules.0.motion_attention.proj_in.weight"
    drawn = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        convert_base(source, tmp_path / name, CONFIG, seed=seed)
        drawn.append(MotionUNet.from_pretrained(tmp_path / name / "unet").state_dict()[key])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("wrapping", ["plain", "module", "state_dict", "diffusers"])
def test_animatediff_gives_the_temporal_modules(source: Path, tmp_path: Path, wrapping: str) -> None:
    state = animatediff_state()
    expected = our_temporal(state)
    file = tmp_path / "mm.ckpt"
    if wrapping == "plain":
        torch.save(state, file)
    elif wrapping == "module":
        torch.save({f"module.{key}": value for key, value in state.items()}, file)
    elif wrapping == "state_dict":
        torch.save({"state_dict": state, "global_step": 7}, file)
    else:
        file = tmp_path / "diffusion_pytorch_model.safetensors"
        save_file(expected, file)
    done = convert_base(source, tmp_path / "out", CONFIG, motion_module=file)
    assert done.temporal == done.slots > 3
    unet = MotionUNet.from_pretrained(tmp_path / "out" / "unet").state_dict()
    for key, value in expected.items():
        if not key.endswith("pos_embed.pe"):
            assert torch.equal(unet[key], value.float()), key


def test_animatediff_without_middle_and_with_shorter_tables(source: Path, tmp_path: Path) -> None:
    state = {key: value for key, value in animatediff_state().items() if not key.startswith("mid_block.")}
    state |= {key: value[:, :24] for key, value in state.items() if key.endswith("pos_encoder.pe")}
    torch.save(state, tmp_path / "mm.ckpt")
    done = convert_base(source, tmp_path / "out", CONFIG, motion_module=tmp_path / "mm.ckpt")
    assert done.temporal == done.slots - 1
    unet = MotionUNet.from_pretrained(tmp_path / "out" / "unet").state_dict()
    assert not unet["mid_block.motion_modules.0.proj_out.weight"].any()
    assert unet["down_blocks.0.motion_modules.0.transformer_blocks.0.pos_embed.pe"].shape[1] == 32


def test_animatediff_with_a_module_that_is_not_whole(source: Path, tmp_path: Path) -> None:
    state = animatediff_state()
    gone = next(key for key in state if key.endswith("ff_norm.bias"))
    del state[gone]
    torch.save(state, tmp_path / "mm.ckpt")
    with pytest.raises(XNeMoError, match=r"mm.ckpt: 1 of the .* keys of its temporal modules missing: .*norm3.bias"):
        convert_base(source, tmp_path / "out", CONFIG, motion_module=tmp_path / "mm.ckpt")
    assert not (tmp_path / "out").exists()


def test_animatediff_with_learned_tables(source: Path, tmp_path: Path) -> None:
    state = {key: value + 0.1 if key.endswith(".pe") else value for key, value in animatediff_state().items()}
    torch.save(state, tmp_path / "mm.ckpt")
    with pytest.raises(XNeMoError, match=r"mm.ckpt: other position tables than AnimateDiff's"):
        convert_base(source, tmp_path / "out", CONFIG, motion_module=tmp_path / "mm.ckpt")


def test_something_that_is_no_motion_module(source: Path, tmp_path: Path) -> None:
    file = source / "unet" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(XNeMoError, match="only 0 of its .* keys belong to the temporal modules"):
        convert_base(source, tmp_path / "out", CONFIG, motion_module=file)


def test_autoencoders_of_old_diffusers_load(source: Path, tmp_path: Path) -> None:
    """As Stable Diffusion 1.5 was first published: a pickle, attention layers under their old names."""
    net = AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"],
        up_block_types=["UpDecoderBlock2D"],
        block_out_channels=(8,),
        norm_num_groups=4,
    )
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def old_name(key: str) -> str:
        for new, name in old.items():
            if ".attentions." in key:
                key = key.replace(f".{new}.", f".{name}.")
        return key

    state = {old_name(key): value for key, value in net.state_dict().items()}
    assert any(".query." in key for key in state)
    net.save_config(tmp_path / "vae")
    torch.save(state, tmp_path / "vae" / "diffusion_pytorch_model.bin")
    convert_base(source, tmp_path / "out", CONFIG, vae=tmp_path / "vae")
    loaded = AutoencoderKL.from_pretrained(tmp_path / "out" / "vae").state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in net.state_dict().items())


def test_a_base_without_autoencoder(source: Path, tmp_path: Path) -> None:
    shutil.rmtree(source / "vae")
    done = convert_base(source, tmp_path / "out", CONFIG)
    assert done.networks == ["reference_net", "unet"]
    assert done.temporal_autoencoder is None


def test_a_folder_without_a_unet(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(XNeMoError, match=r"unet: no weights here .*; name a diffusers folder of Stable Diffusion 1.x"):
        convert_base(tmp_path / "empty", tmp_path / "out", CONFIG)
    with pytest.raises(XNeMoError, match=r"nowhere: no such folder"):
        convert_base(tmp_path / "nowhere", tmp_path / "out", CONFIG)


def test_a_base_unet_that_is_not_whole(source: Path, tmp_path: Path) -> None:
    file = source / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    del state["conv_out.weight"]
    save_file(state, file)
    with pytest.raises(XNeMoError, match=r"missing: conv_out.weight; fetch it again"):
        convert_base(source, tmp_path / "out", CONFIG)
