"""X-Portrait's released file becomes a folder: by names and shapes at full width, by values at a small one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_controlnet_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from torch import Tensor
from transformers import CLIPTextModel

from animator.builders import animator_config
from animator.convert import expected_xportrait as layout
from animator.convert.expected import Expected
from animator.convert.xportrait import convert_xportrait
from animator.errors import XNeMoError
from animator.pipeline import XNeMoPipeline
from tests.animator.release import drawn, rewrite

CONFIG = animator_config("xportrait-tiny")
State = dict[str, Tensor]


def parts(size: str) -> tuple[layout.Skeletons, dict[str, Expected]]:
    config = animator_config(size)
    nets = layout.build_skeletons(config)
    return nets, {
        "unet": layout.expected_denoiser(nets, config),
        "reference_net": layout.expected_reference_net(nets, config),
        "control": layout.expected_control(nets, config),
        "vae": layout.expected_autoencoder(nets),
        "text": layout.expected_text_encoder(nets),
        "unused": layout.expected_unused(nets, config),
    }


@pytest.fixture(scope="module")
def state() -> State:
    """A small file's entries, as the release has them."""
    return {key: value for part in parts("xportrait-tiny")[1].values() for key, value in drawn_part(part).items()}


def drawn_part(expected: Expected) -> State:
    return drawn(expected, torch.float32, len(expected.shapes))


@pytest.fixture
def source(state: State, tmp_path: Path) -> Path:
    torch.save({"state_dict": dict(state), "global_step": 415001}, tmp_path / "model_state.th")
    return tmp_path / "model_state.th"


def on_meta(expected: Expected) -> State:
    return {key: torch.empty(shape, device="meta") for key, shape in expected.shapes.items()}


def test_names_and_shapes_at_full_width_are_those_that_diffusers_reads() -> None:
    nets, found = parts("xportrait")
    counts = {name: len(expected.shapes) for name, expected in found.items()}
    # Stable Diffusion 1.x has 686 entries in its UNet, 4 of them behind the last block; a temporal module has 28.
    assert counts["unet"] == 686 + 20 * 28 and counts["reference_net"] == 682 and counts["control"] == 2 * 340
    assert counts["vae"] == 248 and counts["text"] == 196
    shapes = {key: shape for expected in found.values() for key, shape in expected.shapes.items()}
    assert shapes["model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"] == (640, 768)
    temporal = "model.diffusion_model.output_blocks_motion_module.11.0.temporal_transformer.transformer_blocks.0"
    assert shapes[f"{temporal}.attention_blocks.1.pos_encoder.pe"] == (1, 24, 320)
    assert shapes["local_pose_control_model.input_hint_block.14.weight"] == (320, 256, 3, 3)
    assert shapes["first_stage_model.decoder.up.3.upsample.conv.weight"] == (512, 512, 3, 3)

    # Each entry is put where diffusers' own converters put it.
    spatial = {key: value for key, value in on_meta(found["unet"]).items() if "_motion_module." not in key}
    unet = convert_ldm_unet_checkpoint(spatial, dict(nets.reference_net.config))
    assert len(unet) == 686
    assert all(unet[found["unet"].ours[key]] is value for key, value in spatial.items())
    for prefix, name in ((layout.FACE, "face."), (layout.LOCAL, "local.")):
        entries = {key: value for key, value in on_meta(found["control"]).items() if key.startswith(prefix)}
        renamed = {key.replace(prefix, "control_model.", 1): value for key, value in entries.items()}
        net = convert_controlnet_checkpoint(renamed, dict(nets.control.face.config))
        assert all(net[found["control"].ours[key].removeprefix(name)] is value for key, value in entries.items())
    entries = on_meta(found["vae"])
    vae = convert_ldm_vae_checkpoint(entries, dict(nets.vae.config))
    for key, value in entries.items():
        ours = vae[found["vae"].ours[key]]
        assert ours is value or (".attn_1." in key and ours.numel() == value.numel())


def test_every_value_arrives(source: Path, state: State, tmp_path: Path) -> None:
    done = convert_xportrait(source, tmp_path / "out", CONFIG)
    assert sum(done.keys.values()) == len(state)
    pipeline = XNeMoPipeline.from_pretrained(tmp_path / "out")
    nets, found = parts("xportrait-tiny")
    for name in ("unet", "reference_net", "control", "vae"):
        held = getattr(pipeline, name).state_dict()
        assert held.keys() - set(found[name].ours.values()) <= {"empty_prompt"}
        for key, ours in found[name].ours.items():
            assert torch.equal(held[ours].flatten(), state[key].flatten()), key
    encoder = CLIPTextModel(layout.text_config(8)).eval()
    encoder.load_state_dict({ours: state[key] for key, ours in found["text"].ours.items()}, strict=False)
    with torch.no_grad():
        prompt = encoder(input_ids=torch.tensor([[49406] + [49407] * 76])).last_hidden_state
    torch.testing.assert_close(pipeline.control.empty_prompt, prompt)
    assert (tmp_path / "out" / "manifest.json").is_file()
    assert pipeline.scheduler.config.beta_end == nets.scheduler.config.beta_end == 0.012


def test_what_x_portrait_did_not_train_may_come_from_elsewhere(source: Path, tmp_path: Path) -> None:
    nets, found = parts("xportrait-tiny")
    whole = convert_xportrait(source, tmp_path / "whole", CONFIG).folder
    text = layout.expected_text_encoder(nets, "text_model.")
    (tmp_path / "text").mkdir()
    stored = torch.load(source, weights_only=True)["state_dict"]
    named = {f"text_model.{key.removeprefix(layout.TEXT)}": stored[key] for key in found["text"].shapes}
    assert named.keys() == text.shapes.keys()
    torch.save(named, tmp_path / "text" / "pytorch_model.bin")

    def without(prefix: str) -> Callable[[dict[str, Any]], None]:
        return lambda file: [file["state_dict"].pop(key) for key in list(file["state_dict"]) if key.startswith(prefix)]

    rewrite(source, without(layout.TEXT))
    with pytest.raises(XNeMoError, match="holds no text encoder.*text_encoder=FOLDER"):
        convert_xportrait(source, tmp_path / "out", CONFIG)
    rewrite(source, without(layout.AUTOENCODER))
    with pytest.raises(XNeMoError, match="holds no autoencoder.*vae=FOLDER"):
        convert_xportrait(source, tmp_path / "out", CONFIG, text_encoder=tmp_path / "text")
    done = convert_xportrait(source, tmp_path / "out", CONFIG, vae=whole / "vae", text_encoder=tmp_path / "text")
    ours, theirs = (XNeMoPipeline.from_pretrained(folder) for folder in (done.folder, whole))
    for name in ("control", "vae"):
        pairs = zip(getattr(ours, name).state_dict().values(), getattr(theirs, name).state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda state: state.pop("pose_control_model.zero_convs.1.0.bias"),
            "1 of the .* keys of the ControlNets missing",
        ),
        (lambda state: state.update({"model_ema.decay": torch.ones(1)}), r"keys that do not belong .*model_ema\.decay"),
        (lambda state: state.update({"betas": 2 * state["betas"]}), "tables with other values.*betas"),
        (
            lambda state: state.update({"model.diffusion_model.out.2.bias": torch.ones(5)}),
            r"another shape.*out\.2\.bias \(5,\) instead of \(4,\)",
        ),
    ],
)
def test_another_file_is_refused_in_one_line(
    change: Callable[[State], object], says: str, source: Path, tmp_path: Path
) -> None:
    rewrite(source, lambda file: change(file["state_dict"]))
    with pytest.raises(XNeMoError, match=says):
        convert_xportrait(source, tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()
