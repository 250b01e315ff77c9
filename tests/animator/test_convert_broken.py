"""Every way to break a release gives one line that names file and keys, says what to do, and leaves nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from animator.asset_manifest import (
    DENOISING,
    ENCODER,
    IMAGE_VARIATIONS,
    REFERENCE,
    RELEASE_FILES,
    RELEASE_PAGE,
    TEMPORAL,
    VIDEO_DIFFUSION,
)
from animator.convert.release import convert_release
from animator.errors import XNeMoError
from tests.animator.release import (
    States,
    release_config,
    release_states,
    rewrite,
    write_autoencoder,
    write_base_unet,
    write_image_encoder,
    write_release,
)

CONFIG = release_config()
AGAIN = f"; download it again from {RELEASE_PAGE}"


@pytest.fixture(scope="module")
def states() -> States:
    return release_states(CONFIG)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, states: States) -> Path:
    """A release without a fault."""
    return write_release(tmp_path_factory.mktemp("whole") / "released", states)


@pytest.fixture
def source(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to break."""
    monkeypatch.setenv("XNEMO_HOME", str(tmp_path / "home"))
    return shutil.copytree(whole, tmp_path / "released")


@pytest.fixture
def fails(source: Path) -> Callable[..., str]:
    """Convert; returns the error after checking that nothing was left, without the path in front of file names."""

    def run(allow_base: bool = False) -> str:
        before = sorted(source.parent.rglob("*"))
        with pytest.raises(XNeMoError) as caught:
            convert_release(source, source.parent / "new" / "out", CONFIG, allow_base)
        assert sorted(source.parent.rglob("*")) == before
        message = str(caught.value)
        assert "\n" not in message
        return message.replace(f"{source}{os.sep}", "")

    return run


# --- keys ------------------------------------------------------------------------------------------------------------


def test_missing_keys(source: Path, fails: Callable[..., str]) -> None:
    rewrite(source / ENCODER, lambda state: [state.pop(key) for key in ("model.fc.bias", "final_proj.weight")])
    message = fails()
    assert message.startswith(f"{ENCODER}: 2 of the ")
    assert message.endswith(f" keys of the motion encoder missing: model.fc.bias, final_proj.weight{AGAIN}")


def test_missing_keys_of_the_two_denoising_files_together(source: Path, fails: Callable[..., str]) -> None:
    gone = [key for key in torch.load(source / TEMPORAL, weights_only=True) if "proj_in" in key]
    rewrite(source / TEMPORAL, lambda state: [state.pop(key) for key in gone])
    message = fails()
    assert message.startswith(f"{DENOISING} and {TEMPORAL} together: {len(gone)} of the ")
    assert f" missing: {gone[0]}, " in message
    assert message.endswith(AGAIN)
    assert "--allow-base" not in message


def test_missing_spatial_keys_say_that_the_base_unet_has_them(source: Path, fails: Callable[..., str]) -> None:
    rewrite(source / DENOISING, lambda state: state.pop("conv_out.bias"))
    assert fails().endswith("missing: conv_out.bias" + AGAIN + ", or let --allow-base take what the base UNet has")


def test_the_base_unet_does_not_stand_in_for_motion_attention(
    source: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    write_base_unet(source / IMAGE_VARIATIONS / "unet", CONFIG)
    gone = "mid_block.motion_modules.0.temporal_transformer.proj_in.bias"
    rewrite(source / DENOISING, lambda state: state.pop(gone))
    assert f"missing: {gone}{AGAIN}" in fails(allow_base=True)


def test_unexpected_keys(source: Path, fails: Callable[..., str]) -> None:
    extra = {f"head.{number}": torch.zeros(1) for number in range(5)}
    rewrite(source / REFERENCE, lambda state: state.update(extra))
    assert fails() == (
        f"{REFERENCE}: keys that do not belong to the reference UNet (5): head.0, head.1, head.2 and 2 more{AGAIN}"
    )


def test_another_file_under_the_name(source: Path, fails: Callable[..., str]) -> None:
    shutil.copy(source / ENCODER, source / REFERENCE)
    message = fails()
    assert message.startswith(f"{REFERENCE}: only 0 of its ")
    assert "keys belong to the reference UNet" in message
    assert message.endswith("is it another file under this name?")


def test_wrong_shape(source: Path, fails: Callable[..., str]) -> None:
    rewrite(source / DENOISING, lambda state: state.update({"conv_in.bias": torch.zeros(17)}))
    assert fails() == (
        f"{DENOISING}: another shape than animator= says (1): conv_in.bias (17,) instead of (16,){AGAIN}"
    )


def test_wrong_number_format(source: Path, fails: Callable[..., str]) -> None:
    def change(state: dict[str, torch.Tensor]) -> None:
        state["conv_in.bias"] = state["conv_in.bias"].int()
        state["conv_in.weight"] = state["conv_in.weight"].double()

    rewrite(source / REFERENCE, change)
    assert "another number format than 16 or 32 bit floating point (2): " in fails()
    assert "conv_in.weight float64, conv_in.bias int32" in fails()


def test_a_counter_that_is_no_whole_number(source: Path, fails: Callable[..., str]) -> None:
    key = "model.bn1.num_batches_tracked"
    rewrite(source / ENCODER, lambda state: state.update({key: torch.tensor(1.0)}))
    assert f"{key} float32" in fails()


def test_a_position_table_with_other_values(source: Path, fails: Callable[..., str]) -> None:
    rewrite(source / ENCODER, lambda state: state.update({"pe": state["pe"] + 0.1}))
    assert fails() == f"{ENCODER}: position tables with other values than the network's (1): pe{AGAIN}"


def test_a_position_table_that_is_not_a_number(source: Path, fails: Callable[..., str]) -> None:
    rewrite(source / ENCODER, lambda state: state.update({"pe": state["pe"] * float("nan")}))
    assert "position tables with other values" in fails()


def test_module_prefix(source: Path, fails: Callable[..., str]) -> None:
    state = torch.load(source / REFERENCE, weights_only=True)
    other = {"module_of_another.scale": torch.zeros(1)}
    torch.save(other | {f"module.{key}": value for key, value in state.items()}, source / REFERENCE)
    message = fails()
    assert message.startswith(f"{REFERENCE}: keys begin with 'module.' ({len(state):,}: module.conv_in.weight, ")
    assert message.endswith("{key.removeprefix('module.'): value for key, value in state.items()}")


def test_a_state_dict_inside_another_dict(source: Path, fails: Callable[..., str]) -> None:
    state = torch.load(source / REFERENCE, weights_only=True)
    torch.save({"state_dict": state, "step": 100}, source / REFERENCE)
    assert fails().startswith(f"{REFERENCE}: holds state_dict, step beside or around its tensors; save the state dict")


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RELEASE_FILES)
def test_missing_file(source: Path, fails: Callable[..., str], name: str) -> None:
    (source / name).unlink()
    assert fails() == f"{name}: not found{AGAIN}"


@pytest.mark.parametrize("share", [0.5, 0.999])
def test_truncated_file(source: Path, fails: Callable[..., str], share: float) -> None:
    data = (source / TEMPORAL).read_bytes()
    (source / TEMPORAL).write_bytes(data[: int(share * len(data))])
    message = fails()
    assert message.startswith(f"{TEMPORAL}: cut short or damaged at {int(share * len(data)):,} bytes (")
    assert message.endswith(AGAIN)


def test_truncated_file_of_torch_before_its_archives(source: Path, fails: Callable[..., str], states: States) -> None:
    torch.save(states[REFERENCE], source / REFERENCE, _use_new_zipfile_serialization=False)
    data = (source / REFERENCE).read_bytes()
    (source / REFERENCE).write_bytes(data[: len(data) // 2])
    assert fails().startswith(f"{REFERENCE}: cut short or damaged")


@pytest.mark.parametrize("page", ["<!DOCTYPE html><html><title>Google Drive - Virus scan warning", "\n <HTML>"])
def test_html_page_in_place_of_a_file(source: Path, fails: Callable[..., str], page: str) -> None:
    (source / DENOISING).write_text(page)
    assert fails() == (
        f"{DENOISING}: is an HTML page and no weights; a page of the site was saved in place of the file{AGAIN}"
    )


def test_git_lfs_pointer(source: Path, fails: Callable[..., str]) -> None:
    weights = source / VIDEO_DIFFUSION / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:5d92\nsize 391017740\n")
    assert "is a Git LFS pointer and no weights; the repository was cloned without git-lfs" in fails()


def test_empty_file(source: Path, fails: Callable[..., str]) -> None:
    (source / DENOISING).write_bytes(b"")
    assert fails() == f"{DENOISING}: is empty{AGAIN}"


def test_some_other_file(source: Path, fails: Callable[..., str]) -> None:
    (source / DENOISING).write_bytes(bytes(range(256)) * 40)
    assert fails().startswith(f"{DENOISING}: cut short or damaged at 10,240 bytes (")


class _Runs:
    """Creates a file when it is unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_pickle_with_code_is_refused_and_the_code_does_not_run(
    source: Path, fails: Callable[..., str], states: States
) -> None:
    ran = source.parent / "ran"
    torch.save(states[DENOISING] | {"conv_in.bias": _Runs(ran)}, source / DENOISING)
    message = fails()
    assert message.startswith(f"{DENOISING}: holds more than tensors (posix.system); opening such a file can run code")
    assert not ran.exists()


def test_a_whole_pickled_module_is_refused(source: Path, fails: Callable[..., str]) -> None:
    torch.save(nn.Linear(2, 2), source / DENOISING)
    assert "holds more than tensors (torch.nn.modules.linear.Linear)" in fails()


def test_a_list_of_tensors(source: Path, fails: Callable[..., str]) -> None:
    torch.save([torch.zeros(2)], source / DENOISING)
    assert fails() == f"{DENOISING}: holds a list and no tensors under names; save a plain state dict"


def test_no_such_folder(source: Path, fails: Callable[..., str]) -> None:
    shutil.rmtree(source)
    assert fails().endswith(f"released: no such folder; name the one that holds {', '.join(RELEASE_FILES)}")


# --- base models -----------------------------------------------------------------------------------------------------


def test_missing_folder_of_the_image_encoder(source: Path, fails: Callable[..., str]) -> None:
    shutil.rmtree(source / IMAGE_VARIATIONS)
    message = fails()
    assert message.startswith(f"{IMAGE_VARIATIONS}/image_encoder: not found, and not in ")
    assert "`xnemo fetch image-variations` brings it" in message
    assert "https://huggingface.co/lambdalabs/sd-image-variations-diffusers" in message


def test_missing_folder_of_the_autoencoder(source: Path, fails: Callable[..., str]) -> None:
    shutil.rmtree(source / VIDEO_DIFFUSION)
    message = fails()
    assert message.startswith(f"{VIDEO_DIFFUSION}/vae: not found")
    assert "`xnemo fetch svd-vae` brings it" in message


def test_missing_weights_in_a_folder(source: Path, fails: Callable[..., str]) -> None:
    (source / VIDEO_DIFFUSION / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert fails().startswith(
        f"{VIDEO_DIFFUSION}/vae: no weights here (looked for diffusion_pytorch_model.safetensors, "
    )


def test_missing_configuration(source: Path, fails: Callable[..., str]) -> None:
    (source / VIDEO_DIFFUSION / "vae" / "config.json").unlink()
    assert fails().startswith(f"{VIDEO_DIFFUSION}/vae/config.json: not found; delete it and run `xnemo fetch svd-vae`")


def test_damaged_configuration(source: Path, fails: Callable[..., str]) -> None:
    (source / VIDEO_DIFFUSION / "vae" / "config.json").write_text("{")
    assert f"{VIDEO_DIFFUSION}/vae/config.json: cannot be read as JSON" in fails()


def test_configuration_of_something_else(source: Path, fails: Callable[..., str]) -> None:
    (source / VIDEO_DIFFUSION / "vae" / "config.json").write_text(json.dumps({"_class_name": "VQModel"}))
    assert "_class_name is VQModel, not one of AutoencoderKL, AutoencoderKLTemporalDecoder" in fails()


def test_truncated_safetensors(source: Path, fails: Callable[..., str]) -> None:
    weights = source / VIDEO_DIFFUSION / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    message = fails()
    assert f"{weights.name}: cut short or damaged" in message
    assert message.endswith("; delete it and run `xnemo fetch svd-vae`")


@pytest.mark.parametrize("name", ["../stolen.safetensors", "/etc/passwd", "..", "sub/part.safetensors", "..\\part"])
def test_a_list_of_parts_that_leads_elsewhere(source: Path, fails: Callable[..., str], name: str) -> None:
    weights = source / VIDEO_DIFFUSION / "vae" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    index = weights.with_name(f"{weights.name}.index.json")
    index.write_text(json.dumps({"weight_map": {"decoder.conv_in.bias": name}}))
    assert f"{index.name}: names {name}, which are no files of its folder; download it again" in fails()


def test_autoencoder_without_some_of_its_keys(source: Path, fails: Callable[..., str]) -> None:
    folder = source / VIDEO_DIFFUSION / "vae"
    state = write_autoencoder(folder).state_dict()
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    del state["decoder.conv_in.bias"]
    torch.save(state, folder / "diffusion_pytorch_model.bin")
    assert "keys of the autoencoder missing: decoder.conv_in.bias; " in fails()


def test_image_encoder_of_another_width(source: Path, fails: Callable[..., str]) -> None:
    write_image_encoder(source / IMAGE_VARIATIONS / "image_encoder", width=12)
    assert "its image token has 12 numbers, and this architecture takes 8; choose another animator=" in fails()


def test_base_unet_of_another_architecture(source: Path, fails: Callable[..., str]) -> None:
    write_base_unet(source / IMAGE_VARIATIONS / "unet", CONFIG)
    settings = source / IMAGE_VARIATIONS / "unet" / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"attention_head_dim": 5}))
    assert "attention_head_dim is 5, and this architecture has 2; choose another animator=" in fails()


def test_base_unet_in_the_folder_of_downloads_of_another_architecture(
    source: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    folder = tmp_path / "home" / "xnemo-release" / IMAGE_VARIATIONS / "unet"
    write_base_unet(folder, CONFIG)
    (folder / "config.json").write_text('{"norm_num_groups": 4}')
    rewrite(source / DENOISING, lambda state: state.pop("conv_out.bias"))
    assert "norm_num_groups is 4, and this architecture has 8" in fails(allow_base=True)


def test_allow_base_without_a_base_unet(source: Path, fails: Callable[..., str]) -> None:
    rewrite(source / DENOISING, lambda state: state.pop("conv_out.bias"))
    message = fails(allow_base=True)
    assert message.startswith(f"{IMAGE_VARIATIONS}/unet: not found")
    assert "`xnemo fetch image-variations-unet` brings it" in message
