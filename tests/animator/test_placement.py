"""Compiled blocks and offloaded weights give what the plain pipeline gives; there is no GPU in these tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.hooks import CpuOffload
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from animator.builders import animator_config, build_pipeline, load_pipeline
from animator.config import RuntimeConfig
from animator.errors import XNeMoError
from animator.motion_clip import MotionClip
from animator.pipeline import XNeMoPipeline
from animator.placement import compile_blocks, offload_by_group, offload_by_model
from animator.portrait import PortraitPictures
from animator.sampler import load_sampler
from tests.animator.tiny import shake


def fresh() -> XNeMoPipeline:
    pipe = build_pipeline(animator_config("tiny"))
    for net in (pipe.unet, pipe.reference_net):
        shake(net)
    pipe.to(torch.float64).set_progress_bar_config(disable=True)
    return pipe


SAMPLER = replace(load_sampler("fast"), steps=3, window=6, overlap=2, deep_cache_every=2)


def inputs(pipe: XNeMoPipeline) -> tuple[PortraitPictures, MotionClip]:
    drawn = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    latents = torch.randn(10, 512, generator=torch.Generator().manual_seed(5))
    motion = MotionClip(latents, torch.tensor([[0.0, 0.0, 1.0]]).repeat(10, 1), 25.0, pipe.encoder_id)
    return PortraitPictures(drawn[0], drawn[1][:32, :32]), motion


def sample(pipe: XNeMoPipeline) -> Tensor:
    frames = pipe(*inputs(pipe), sampler=SAMPLER, output_type="latent").frames
    assert isinstance(frames, Tensor)
    return frames


@pytest.fixture(scope="module")
def plain() -> Tensor:
    return sample(fresh())


def test_offloaded_layers_compute_the_same(plain: Tensor) -> None:
    """Their hooks run, though on a CPU nothing moves."""
    pipe = offload_by_group(fresh(), torch.device("cpu"))
    assert torch.equal(sample(pipe), plain)


def test_models_come_before_they_compute(plain: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU nothing moves; that each is sent for, and the one before it sent away, can still be seen."""
    pipe = fresh()
    exact = pipe(*inputs(pipe), sampler=SAMPLER).frames
    offload_by_model(pipe, torch.device("cpu"))
    came: list[str] = []
    arrive = CpuOffload.pre_forward

    def noted(hook: CpuOffload, module: nn.Module, *args: object, **kwargs: object) -> object:
        name = type(module).__name__
        if came[-1:] != [name]:
            came.append(name)
        return arrive(hook, module, *args, **kwargs)

    monkeypatch.setattr(CpuOffload, "pre_forward", noted)
    assert torch.equal(sample(pipe), plain)
    assert came == ["MotionEncoder", "AutoencoderKL", "ReferenceNet", "MotionUNet"]
    assert np.array_equal(pipe(*inputs(pipe), sampler=SAMPLER).frames, exact)
    assert "AutoencoderKL" in came[came.index("MotionUNet") :]
    came.clear()
    pipe.preview(*inputs(pipe))
    assert set(came) == {"MotionEncoder", "GanHead"}


@pytest.mark.slow
def test_compiled_blocks_compute_the_same(plain: Tensor) -> None:
    """Traced in whole graphs, without a compiler behind, which not every machine has."""
    torch._dynamo.reset()
    pipe = fresh()
    compile_blocks(pipe, backend="eager", fullgraph=True)
    torch.testing.assert_close(sample(pipe), plain, atol=1e-9, rtol=1e-9)


def test_runtime_keys_are_refused_where_they_make_no_sense(tmp_path: Path) -> None:
    for offload in ("group", "model"):
        with pytest.raises(XNeMoError, match=f"offload={offload}.*device is cpu"):
            load_pipeline(RuntimeConfig(device="cpu", offload=offload))
    bare = XNeMoPipeline(motion_encoder=fresh().motion_encoder)
    with pytest.raises(XNeMoError, match="compile=true: concerns the diffusion renderer"):
        compile_blocks(bare)
    with pytest.raises(XNeMoError, match="offload=group: concerns"):
        offload_by_group(bare, torch.device("cpu"))
    with pytest.raises(XNeMoError, match="no tiny decoder here"):
        load_pipeline(RuntimeConfig(device="cpu", tiny_vae=str(tmp_path)))


def test_a_tiny_decoder_comes_from_its_folder_or_with_the_weights(tmp_path: Path) -> None:
    tiny = AutoencoderTiny(decoder_block_out_channels=(8,) * 3, num_decoder_blocks=(1,) * 3)
    tiny.save_pretrained(tmp_path / "tiny")
    pipe = build_pipeline(animator_config("tiny"))
    pipe.save_pretrained(tmp_path / "weights")
    runtime = RuntimeConfig(device="cpu", weights=str(tmp_path / "weights"), tiny_vae=str(tmp_path / "tiny"))
    loaded = load_pipeline(runtime)
    expected, found = tiny.state_dict(), loaded.tiny_vae.state_dict()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    loaded.save_pretrained(tmp_path / "both")
    assert load_pipeline(RuntimeConfig(device="cpu", weights=str(tmp_path / "both"))).tiny_vae is not None
    (tmp_path / "tiny" / "diffusion_pytorch_model.safetensors").write_bytes(b"<html>")
    with pytest.raises(XNeMoError, match="this tiny decoder cannot be loaded"):
        load_pipeline(runtime)
