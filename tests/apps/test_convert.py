"""`xnemo convert ...`, `xnemo fetch` and `xnemo doctor --weights` through the real command line."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from animator.asset_manifest import DENOISING, IMAGE_VARIATIONS, REFERENCE, RELEASE_FILES, RELEASE_PAGE
from animator.builders import animator_config
from apps.cli import main
from tests.animator.release import (
    SETTINGS,
    States,
    release_config,
    release_states,
    rewrite,
    write_base_unet,
    write_release,
)
from tests.apps.conftest import Outcome

CONFIG = release_config()


@pytest.fixture(scope="module")
def states() -> States:
    return release_states(CONFIG)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of downloads, and an empty folder to work in."""
    monkeypatch.setenv("XNEMO_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process."""

    def call(*words: str | Path) -> Outcome:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def source(home: Path, states: States) -> Path:
    return write_release(Path("released"), states)


def test_the_next_command_can_be_pasted_whatever_the_folder_is_called(
    run: Callable[..., Outcome], source: Path
) -> None:
    outcome = run("convert", "xnemo-release", source, "my weights; $HOME", *SETTINGS)
    assert outcome.code == 0, outcome.err
    command = outcome.out.splitlines()[-1].removeprefix("use it with: ")
    assert shlex.split(command) == ["xnemo", "animate", "PORTRAIT", "DRIVING", "weights=my weights; $HOME"]


def test_there_and_back(run: Callable[..., Outcome], source: Path, states: States) -> None:
    outcome = run("convert", "xnemo-release", source, "out", *SETTINGS)
    assert outcome.code == 0, outcome.err
    assert "licence CC BY-NC 4.0" in outcome.out
    assert outcome.out.endswith("use it with: xnemo animate PORTRAIT DRIVING weights=out\n")
    assert "writing unet" in outcome.err  # the progress bar
    report = json.loads(run("doctor", "weights=out", "--json").out)
    assert report["weights"]["found"]
    assert report["weights"]["licence"] == "cc-by-nc-4.0"
    outcome = run("convert", "to-release", "out", "back", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out) == {"files": [f"back/{name}" for name in _written_order()]}
    for name, state in states.items():
        found = torch.load(Path("back") / name, weights_only=True)
        assert all(torch.equal(found[key], value) for key, value in state.items())


def _written_order() -> list[str]:
    """Motion encoder, reference net, then the two files of the denoiser."""
    denoising, reference, encoder, temporal = RELEASE_FILES
    return [encoder, reference, denoising, temporal]


def test_keys_from_the_base_unet_are_named(run: Callable[..., Outcome], source: Path) -> None:
    write_base_unet(source / IMAGE_VARIATIONS / "unet", CONFIG)
    rewrite(source / DENOISING, lambda state: state.pop("conv_out.bias"))
    outcome = run("convert", "xnemo-release", source, "out", *SETTINGS)
    assert outcome.code == 1
    assert "conv_out.bias" in outcome.error
    assert "--allow-base" in outcome.error
    assert not Path("out").exists()
    outcome = run("convert", "xnemo-release", source, "out", "--allow-base", *SETTINGS)
    assert outcome.code == 0, outcome.err
    assert "unet, from the base UNet (1):\n  conv_out.bias\n" in outcome.out


def test_an_error_is_one_line_and_one_json_object(run: Callable[..., Outcome], source: Path) -> None:
    (source / REFERENCE).write_text("<!DOCTYPE html>")
    outcome = run("convert", "xnemo-release", source, "out", "--json", *SETTINGS)
    assert outcome.code == 1
    assert json.loads(outcome.out)["error"] == outcome.error
    assert outcome.error.startswith(f"released/{REFERENCE}: is an HTML page and no weights")
    assert sorted(path.name for path in Path().iterdir()) == ["released"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["convert"], "xnemo convert xnemo-release or xnemo convert xportrait-release or xnemo convert to-release"),
        (["convert", "xnemo-release", "SRC"], "usage: xnemo convert xnemo-release SRC DST"),
        (["convert", "xnemo-release", "SRC", "DST", "dtype=int8"], "dtype=int8: not one of stored, float32"),
        (["convert", "to-release", "SRC"], "usage: xnemo convert to-release SRC DST"),
    ],
)
def test_wrong_usage(run: Callable[..., Outcome], words: list[str], says: str) -> None:
    outcome = run(*words)
    assert outcome.code == 2
    assert says in outcome.error


def test_a_base_model_becomes_something_to_train_from(run: Callable[..., Outcome]) -> None:
    write_base_unet(Path("sd/unet"), CONFIG)
    outcome = run("convert", "base", "sd", "out", *SETTINGS)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("out: reference_net, unet; temporal modules of 0 of ")
    assert "it has no autoencoder" in outcome.out


def test_doctor_says_what_is_missing_and_what_comes_next(run: Callable[..., Outcome], home: Path) -> None:
    outcome = run("doctor", "--weights", "--json")
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    assert report["folder"] == str(home / "xnemo-release")
    assert [file["found"] for file in report["sources"]["xnemo"]["files"]] == [False] * 4
    assert report["sources"]["xnemo"]["licence"] == "CC BY-NC 4.0"
    assert report["next"][0] == "xnemo fetch image-variations svd-vae"
    assert report["next"][1].startswith(f"open {RELEASE_PAGE} in a browser and put xnemo_denoising_unet.pth, ")
    shown = run("doctor", "--weights").out
    assert f"missing   {home / 'xnemo-release' / REFERENCE}" in shown
    assert shown.splitlines()[-4] == "  xnemo fetch image-variations svd-vae"


def test_commands_of_doctor_can_be_pasted_into_a_shell(
    run: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "my home; it's"
    monkeypatch.setenv("XNEMO_HOME", str(home))
    steps = json.loads(run("doctor", "--weights", "--json").out)["next"]
    converting = ["xnemo", "convert", "xnemo-release", str(home / "xnemo-release"), str(home / "xnemo")]
    assert shlex.split(steps[-2]) == converting
    assert shlex.split(steps[-1])[-1] == f"weights={home / 'xnemo'}"


def test_doctor_follows_the_way_to_the_end(run: Callable[..., Outcome], home: Path, states: States) -> None:
    folder = write_release(home / "xnemo-release", states)
    page = folder / DENOISING
    whole = page.read_bytes()
    page.write_text("<html>")
    report = json.loads(run("doctor", "--weights", "--json").out)
    # The tiny autoencoder and image encoder are of another size than the released ones.
    assert report["next"][0] == "xnemo fetch image-variations svd-vae"
    assert "has " in report["sources"]["svd-vae"]["files"][1]["problem"]
    assert report["next"][1].endswith(f"put {DENOISING} into {folder}")
    assert f"unusable  {page}: is an HTML page" in run("doctor", "--weights").out
    page.write_bytes(whole)
    (folder / IMAGE_VARIATIONS / "image_encoder" / "pytorch_model.bin").rename(
        folder / IMAGE_VARIATIONS / "image_encoder" / "pytorch_model.fp16.bin"
    )
    report = json.loads(run("doctor", "--weights", "--json").out)
    assert report["next"] == [
        "xnemo fetch svd-vae",
        f"xnemo convert xnemo-release {folder} {home / 'xnemo'}",
        f"xnemo animate PORTRAIT DRIVING weights={home / 'xnemo'}",
    ]
    assert run("convert", "xnemo-release", folder, home / "xnemo", *SETTINGS).code == 0
    report = json.loads(run("doctor", "--weights", "--json").out)
    assert report["converted"]["found"]
    assert report["next"] == [f"xnemo animate PORTRAIT DRIVING weights={home / 'xnemo'}"]


def test_fetch_of_something_that_only_a_browser_gets(run: Callable[..., Outcome], home: Path) -> None:
    outcome = run("fetch", "xnemo")
    assert outcome.code == 1
    assert RELEASE_PAGE in outcome.error
    assert str(home / "xnemo-release") in outcome.error
    outcome = run("fetch", "sd16")
    assert outcome.code == 1
    assert "sd16: no such source of weights; there are xnemo, image-variations, svd-vae" in outcome.error


@pytest.mark.slow
def test_interrupting_leaves_no_half_folder(home: Path) -> None:
    # Wide patch attentions, so that there is something to interrupt.
    wide = "animator.motion_encoder.attention_dim=1024"
    source = write_release(Path("released"), release_states(animator_config("tiny", *SETTINGS[1:], wide)))
    words = ["convert", "xnemo-release", str(source), "new/out", *SETTINGS, wide]
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-m", "apps.cli", *words],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 120
        while not Path("new").exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        if process.returncode:
            break
        shutil.rmtree("new")  # a busy machine: it was done before the signal came
    assert process.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == "error: interrupted; new/out was not written"
    assert [path.name for path in Path().iterdir()] == ["released"]
