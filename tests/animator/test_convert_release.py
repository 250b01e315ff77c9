"""The released files become a folder that animates, and come back from it bit for bit."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from animator.asset_manifest import DENOISING, ENCODER, IMAGE_VARIATIONS, REFERENCE, RELEASE_FILES, TEMPORAL
from animator.convert.expected import build_skeletons, expected_denoiser, expected_motion_encoder
from animator.convert.release import convert_release
from animator.convert.release_files import same_bits
from animator.convert.to_release import convert_to_release
from animator.errors import XNeMoError
from animator.files import sha256_of
from animator.models.identity import encoder_id
from animator.models.motion_encoder import MotionEncoder
from animator.motion_clip import MotionClip
from animator.pipeline import XNeMoPipeline
from animator.portrait import portrait_pictures
from tests.animator.release import (
    States,
    release_config,
    release_states,
    rewrite,
    write_base_unet,
    write_image_encoder,
    write_release,
)

CONFIG = release_config()
SECOND = "attention_blocks.1.pos_encoder.pe"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of downloaded weights."""
    monkeypatch.setenv("XNEMO_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "xnemo-release"


@pytest.fixture
def states() -> States:
    return release_states(CONFIG)


@pytest.fixture
def source(tmp_path: Path, states: States) -> Path:
    return write_release(tmp_path / "released", states)


def assert_comes_back(source: Path, folder: Path, states: States) -> None:
    """Convert back and compare keys, number formats and bits of every file."""
    back = convert_to_release(folder, source.parent / "back")
    assert {path.name for path in back} == set(RELEASE_FILES)
    for path in back:
        state = torch.load(path, weights_only=True)
        assert set(state) == set(states[path.name])
        for key, value in states[path.name].items():
            assert same_bits(state[key], value), f"{path.name}: {key}"


def test_the_folder_holds_the_released_weights_under_our_names(source: Path, states: States, tmp_path: Path) -> None:
    convert_release(source, tmp_path / "out", CONFIG)
    pipeline = XNeMoPipeline.from_pretrained(tmp_path / "out")
    nets = build_skeletons(CONFIG)
    expected = expected_denoiser(nets.unet).ours
    loaded = pipeline.unet.state_dict()
    for key, value in (states[DENOISING] | states[TEMPORAL]).items():
        torch.testing.assert_close(loaded[expected[key]], value.float(), rtol=0, atol=0)
    encoder = pipeline.motion_encoder.state_dict()
    for key, ours in expected_motion_encoder(nets.motion_encoder).ours.items():
        assert torch.equal(encoder[ours].float(), states[ENCODER][key].float())
    reference = pipeline.reference_net.state_dict()
    assert all(torch.equal(reference[key], value.float()) for key, value in states[REFERENCE].items())
    assert pipeline.gan_head is None


def test_the_pipeline_animates_from_it(source: Path, tmp_path: Path) -> None:
    convert_release(source, tmp_path / "out", CONFIG)
    pipeline = XNeMoPipeline.from_pretrained(tmp_path / "out", dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    drawn = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    pictures = portrait_pictures(drawn[0], (64, 64), 32, reference_face=drawn[1])
    latents = torch.randn(3, 512, generator=torch.Generator().manual_seed(1))
    motion = MotionClip(latents, torch.tensor([[0.0, 0.0, 1.0]]).repeat(3, 1), 25.0, pipeline.encoder_id)
    frames = pipeline(pictures, motion, num_inference_steps=2).frames
    assert frames.shape == (3, 64, 64, 3)
    assert frames.std() > 0


def test_the_schedule_is_the_one_of_the_release(source: Path, tmp_path: Path) -> None:
    convert_release(source, tmp_path / "out", CONFIG)
    scheduler = XNeMoPipeline.from_pretrained(tmp_path / "out").scheduler
    scheduler.set_timesteps(35)
    assert scheduler.timesteps[:2].tolist() == [953, 925]
    assert scheduler.timesteps[-2:].tolist() == [29, 1]
    expected = {0: 0.99915, 250: 0.61530, 500: 0.16891, 750: 0.013841, 953: 5.636e-4, 999: 2.300e-4}
    for step, value in expected.items():
        assert scheduler.alphas_cumprod[step].item() == pytest.approx(value, rel=1e-4)
    assert scheduler.final_alpha_cumprod == 1


def test_stored_formats_are_kept_unless_another_is_asked_for(source: Path, states: States, tmp_path: Path) -> None:
    rewrite(source / REFERENCE, lambda state: state.update({"conv_in.bias": state["conv_in.bias"].float()}))
    convert_release(source, tmp_path / "out", CONFIG)
    stored = _tensors(tmp_path / "out" / "reference_net")
    assert stored.pop("conv_in.bias").dtype == torch.float32
    assert {value.dtype for value in stored.values()} == {torch.float16}
    convert_release(source, tmp_path / "narrow", CONFIG, dtype=torch.bfloat16)
    for name in ("reference_net", "unet", "vae", "image_encoder"):
        assert {value.dtype for value in _tensors(tmp_path / "narrow" / name).values()} == {torch.bfloat16}
    encoder = _tensors(tmp_path / "narrow" / "motion_encoder")
    assert {v.dtype for k, v in encoder.items() if not k.endswith("num_batches_tracked")} == {torch.bfloat16}
    assert encoder["stem.1.num_batches_tracked"].dtype == torch.int64


def test_a_half_precision_folder_opens_in_single_and_in_half_precision(source: Path, tmp_path: Path) -> None:
    convert_release(source, tmp_path / "out", CONFIG, dtype=torch.float16)
    for asked, dtype in (({}, torch.float32), ({"dtype": torch.float16}, torch.float16)):
        pipeline = XNeMoPipeline.from_pretrained(tmp_path / "out", **asked)
        for name in ("motion_encoder", "reference_net", "unet", "vae", "image_encoder"):
            assert getattr(pipeline, name).dtype == dtype, name


def test_large_networks_are_cut_into_files_that_load_again(source: Path, states: States, tmp_path: Path) -> None:
    convert_release(source, tmp_path / "out", CONFIG, shard_bytes=200_000)
    files = sorted(path.name for path in (tmp_path / "out" / "unet").glob("*.safetensors"))
    assert len(files) > 2
    assert files[0] == f"diffusion_pytorch_model-00001-of-{len(files):05d}.safetensors"
    index = json.loads((tmp_path / "out" / "unet" / "diffusion_pytorch_model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(files)
    assert all((tmp_path / "out" / "unet" / name).stat().st_size < 250_000 for name in files)
    unet = XNeMoPipeline.from_pretrained(tmp_path / "out").unet
    assert torch.equal(unet.conv_in.weight, states[DENOISING]["conv_in.weight"].float())
    assert_comes_back(source, tmp_path / "out", states)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16])
def test_converting_back_gives_the_same_files_bit_for_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    states = release_states(CONFIG, dtype)
    states[DENOISING]["conv_in.bias"][0] = float("nan")
    source = write_release(tmp_path / "released", states)
    convert_release(source, tmp_path / "out", CONFIG)
    assert_comes_back(source, tmp_path / "out", states)


def test_missing_position_tables_are_computed_and_not_written_back(states: States, tmp_path: Path) -> None:
    for name in (ENCODER, TEMPORAL):
        for key in [key for key in states[name] if key == "pe" or key.endswith("pos_encoder.pe")]:
            del states[name][key]
    source = write_release(tmp_path / "released", states)
    done = convert_release(source, tmp_path / "out", CONFIG)
    assert "pe" in done.computed
    assert len(done.computed) > 8
    tables = {k: v for k, v in _tensors(tmp_path / "out" / "unet").items() if k.endswith("pos_embed.pe")}
    assert tables
    unet = XNeMoPipeline.from_pretrained(tmp_path / "out").unet
    for key, value in tables.items():
        assert torch.equal(unet.state_dict()[key], value)
        assert value[0, 0].tolist() == [0.0, 1.0] * (value.shape[2] // 2)
    assert_comes_back(source, tmp_path / "out", states)


def test_tables_that_differ_in_the_last_bit_come_back_too(states: States, tmp_path: Path) -> None:
    for name in (ENCODER, TEMPORAL):
        for key, value in states[name].items():
            if key == "pe" or key.endswith(SECOND):
                states[name][key] = torch.nextafter(value, torch.ones_like(value))
    source = write_release(tmp_path / "released", states)
    convert_release(source, tmp_path / "out", CONFIG)
    assert_comes_back(source, tmp_path / "out", states)


def test_a_denoising_file_with_everything_in_it_is_taken_and_comes_back(states: States, tmp_path: Path) -> None:
    states[DENOISING] |= states[TEMPORAL]
    source = write_release(tmp_path / "released", states)
    convert_release(source, tmp_path / "out", CONFIG)
    assert_comes_back(source, tmp_path / "out", states)


def test_the_temporal_file_wins_over_the_denoising_file_and_the_manifest_names_it(
    states: States, tmp_path: Path
) -> None:
    key = next(key for key in states[TEMPORAL] if key.endswith("to_q.weight"))
    states[DENOISING][key] = states[TEMPORAL][key] + 1
    source = write_release(tmp_path / "released", states)
    convert_release(source, tmp_path / "out", CONFIG)
    ours = expected_denoiser(build_skeletons(CONFIG).unet).ours[key]
    assert torch.equal(_tensors(tmp_path / "out" / "unet")[ours], states[TEMPORAL][key])
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["overridden"] == [key]


def test_allow_base_fills_gaps_from_the_base_unet_and_names_them(source: Path, home: Path, tmp_path: Path) -> None:
    base = write_base_unet(source / IMAGE_VARIATIONS / "unet", CONFIG)
    rewrite(source / DENOISING, lambda state: state.pop("conv_out.bias"))
    rewrite(source / REFERENCE, lambda state: state.pop("conv_in.weight"))
    done = convert_release(source, tmp_path / "out", CONFIG, allow_base=True)
    assert done.from_base == {"reference_net": ["conv_in.weight"], "unet": ["conv_out.bias"]}
    assert torch.equal(_tensors(tmp_path / "out" / "unet")["conv_out.bias"], base["conv_out.bias"])
    assert torch.equal(_tensors(tmp_path / "out" / "reference_net")["conv_in.weight"], base["conv_in.weight"])
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["from_base"] == done.from_base
    assert manifest["sources"][-1]["file"] == f"{IMAGE_VARIATIONS}/unet/diffusion_pytorch_model.safetensors"


def test_what_the_base_unet_gave_goes_back_too(source: Path, states: States, tmp_path: Path) -> None:
    base = write_base_unet(source / IMAGE_VARIATIONS / "unet", CONFIG)
    gone = {DENOISING: "conv_out.bias", REFERENCE: "conv_in.weight"}
    for name, key in gone.items():
        rewrite(source / name, lambda state, key=key: state.pop(key))
    convert_release(source, tmp_path / "out", CONFIG, allow_base=True)
    convert_to_release(tmp_path / "out", tmp_path / "back")
    for name, state in states.items():
        found = torch.load(tmp_path / "back" / name, weights_only=True)
        assert set(found) == set(state)
        if name in gone:
            assert torch.equal(found[gone[name]], base[gone[name]])


def test_the_space_that_is_asked_for_is_that_of_the_format(
    source: Path, states: States, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert_release(source, tmp_path / "out", CONFIG)
    entries = [value for state in states.values() for value in state.values()]
    size = sum(value.numel() * (4 if value.is_floating_point() else value.itemsize) for value in entries)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=size - 1))
    with pytest.raises(XNeMoError, match=r"back: needs .* GB are free there"):
        convert_to_release(tmp_path / "out", tmp_path / "back", torch.float32)
    assert not (tmp_path / "back").exists()
    convert_to_release(tmp_path / "out", tmp_path / "narrow")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=size))
    convert_to_release(tmp_path / "out", tmp_path / "back", torch.float32)


def test_a_damaged_layout_is_refused_in_one_line(source: Path, tmp_path: Path) -> None:
    convert_release(source, tmp_path / "out", CONFIG)
    path = tmp_path / "out" / "release_layout.json"
    layout = json.loads(path.read_text())
    for damaged, says in (
        ({name: keys for name, keys in layout.items() if name != TEMPORAL}, f"no list of keys for {TEMPORAL}; "),
        (layout | {"other.pth": []}, "no such file as other.pth; "),
        (layout | {ENCODER: [*layout[ENCODER], "head.bias"]}, f"no such key as head.bias in {ENCODER}; "),
    ):
        path.write_text(json.dumps(damaged))
        with pytest.raises(XNeMoError) as caught:
            convert_to_release(tmp_path / "out", tmp_path / "back")
        assert str(caught.value).startswith(f"{path}: damaged: {says}convert the release again")
        assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("damage", ["<html>", ""])
def test_a_page_does_not_hide_weights_in_another_format(source: Path, tmp_path: Path, damage: str) -> None:
    (source / IMAGE_VARIATIONS / "image_encoder" / "model.safetensors").write_text(damage)
    convert_release(source, tmp_path / "out", CONFIG)
    assert _tensors(tmp_path / "out" / "image_encoder")


def test_the_manifest_has_checksums_and_licences(source: Path, tmp_path: Path) -> None:
    convert_release(source, tmp_path / "out", CONFIG)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    sources = {entry["file"]: entry for entry in manifest["sources"]}
    assert set(RELEASE_FILES) < set(sources)
    for name, entry in sources.items():
        assert entry["sha256"] == sha256_of(source / name)
        assert entry["bytes"] == (source / name).stat().st_size
    assert manifest["licences"]["motion_encoder, reference_net, unet"].startswith("CC BY-NC 4.0")
    assert "license: cc-by-nc-4.0" in (tmp_path / "out" / "README.md").read_text()


def test_every_file_has_the_permissions_of_a_new_file(source: Path, tmp_path: Path) -> None:
    convert_release(source, tmp_path / "out", CONFIG)
    (tmp_path / "new").touch()
    modes = {path.stat().st_mode for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert modes == {(tmp_path / "new").stat().st_mode}


def test_base_models_are_also_found_in_the_folder_of_downloads(source: Path, home: Path, tmp_path: Path) -> None:
    home.mkdir(parents=True)
    (source / IMAGE_VARIATIONS).rename(home / IMAGE_VARIATIONS)
    convert_release(source, tmp_path / "out", CONFIG)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert f"{IMAGE_VARIATIONS}/image_encoder/pytorch_model.bin" in {entry["file"] for entry in manifest["sources"]}


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "model.fp16.safetensors"])
def test_weights_of_base_models_in_every_format(source: Path, tmp_path: Path, name: str) -> None:
    folder = source / IMAGE_VARIATIONS / "image_encoder"
    state = write_image_encoder(folder).state_dict()
    (folder / "pytorch_model.bin").unlink()
    if "fp16" in name:
        state = {key: value.half() for key, value in state.items()}
    (torch.save if name.endswith(".bin") else save_file)(state, folder / name)
    convert_release(source, tmp_path / "out", CONFIG)
    stored = _tensors(tmp_path / "out" / "image_encoder")
    assert set(stored) == set(state)
    assert all(same_bits(stored[key], value) for key, value in state.items())


def test_files_of_torch_before_its_archives_are_read(source: Path, states: States, tmp_path: Path) -> None:
    torch.save(states[ENCODER], source / ENCODER, _use_new_zipfile_serialization=False)
    convert_release(source, tmp_path / "out", CONFIG)
    assert_comes_back(source, tmp_path / "out", states)


def test_a_folder_that_was_not_converted_gives_files_with_every_key(source: Path, tmp_path: Path) -> None:
    convert_release(source, tmp_path / "out", CONFIG)
    for name in ("release_layout.json", "release_extras.safetensors"):
        (tmp_path / "out" / name).unlink()
    convert_to_release(tmp_path / "out", tmp_path / "back")
    for name, state in release_states(CONFIG).items():
        found = torch.load(tmp_path / "back" / name, weights_only=True)
        assert {key: value.shape for key, value in found.items()} == {key: v.shape for key, v in state.items()}
    convert_release(write_release(tmp_path / "back", {}), tmp_path / "again", CONFIG)


def test_converting_back_needs_all_three_networks(source: Path, tmp_path: Path) -> None:
    convert_release(source, tmp_path / "out", CONFIG)
    shutil.rmtree(tmp_path / "out" / "reference_net")
    with pytest.raises(XNeMoError, match=r"out: has no reference_net; name a folder with"):
        convert_to_release(tmp_path / "out", tmp_path / "back")
    assert not (tmp_path / "back").exists()


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(source: Path, tmp_path: Path) -> None:
    # A limit on file size makes the kernel refuse the write, as a full disk does.
    script = f"""
import resource, signal
from pathlib import Path
from animator.convert.release import convert_release
from animator.errors import XNeMoError
from tests.animator.release import release_config
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    convert_release(Path({str(source)!r}), Path({str(tmp_path / "new" / "out")!r}), release_config())
except XNeMoError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{tmp_path / 'new' / 'out'}: cannot be written: "), done.stderr
    assert "File too large" in done.stdout
    assert not (tmp_path / "new").exists()


def test_nothing_that_exists_is_overwritten(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(XNeMoError, match="out: exists already; name a new folder"):
        convert_release(source, tmp_path / "out", CONFIG)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def _tensors(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in folder.glob("*.safetensors"):
        tensors |= load_file(path)
    return tensors


def test_the_number_format_that_it_is_opened_in_changes_no_encoder_id(source: Path, tmp_path: Path) -> None:
    state = torch.load(source / ENCODER, weights_only=True)
    generator = torch.Generator().manual_seed(0)
    finer = {
        key: value.float() + 1e-3 * torch.rand(value.shape, generator=generator) if key != "pe" else value
        for key, value in state.items()
        if value.is_floating_point()
    }
    torch.save({**state, **finer}, source / ENCODER)
    convert_release(source, tmp_path / "out", CONFIG)
    found = {
        dtype: MotionEncoder.from_pretrained(tmp_path / "out" / "motion_encoder", dtype=dtype)
        for dtype in (torch.float32, torch.bfloat16, torch.float16)
    }
    assert len({encoder_id(encoder) for encoder in found.values()}) == 1
    # Weights that nothing vouches for: rounding to float16 does show in them.
    assert encoder_id(copy.deepcopy(found[torch.float32]).half()) == encoder_id(found[torch.float32])
    found[torch.float32].register_to_config(_encoder_id=None)
    assert encoder_id(found[torch.float32].half()) != encoder_id(found[torch.float16])
