"""Training the autoencoder: it learns, goes on exactly where it stopped, and ends with latents of unit variance."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from animator.builders import animator_config, build_animator
from animator.config_loader import load_config
from animator.errors import XNeMoError
from animator.models.autoencoder import encode_images
from animator.training.autoencoder import train_autoencoder
from animator.training.crops import FaceCrops
from animator.training.latent_cache import load_autoencoder
from animator.training.weights import load_networks


def train(crops: Path, output: Path, steps: int, *overrides: str) -> Path:
    quick = ["animator=tiny", "batch=4", "patch_size=32", "learning_rate=2e-3", "schedule.rise_steps=1"]
    words = [f"crops={crops}", f"output={output}", f"schedule.max_steps={steps}", *quick, *overrides]
    return train_autoencoder(load_config("train_autoencoder", words))


def checkpoint(output: Path) -> dict:
    return torch.load(output / "checkpoint.pt", weights_only=True)


@torch.no_grad()
def psnr(weights: Path, images: Tensor) -> float:
    """Of reconstructed images (N, 3, S, S), in dB."""
    vae = load_autoencoder(weights)
    decoded = vae.decode(vae.encode(images).latent_dist.mean).sample.clamp(-1, 1)
    return -10 * ((decoded - images) / 2).square().mean().log10().item()


def test_it_learns_and_its_latents_have_unit_variance(crops_folder: Path, tmp_path: Path) -> None:
    crops = FaceCrops.open(crops_folder)
    images = crops.images(torch.tensor(list(crops.rows(0))))
    short = train(crops_folder, tmp_path / "short", 2)
    weights = train(crops_folder, tmp_path / "long", 100, "ema_decay=0.9")
    # On the frames that it has seen: what a few steps on one person make of another's colours is chance.
    assert psnr(weights, images) > psnr(short, images) + 4
    assert checkpoint(tmp_path / "short")["history"][-1]["psnr"] > 0
    assert (short.parent / "validation_0000002.png").is_file()

    models = build_animator(animator_config("tiny"))
    assert load_networks(models, weights) == {"vae"}
    assert models.vae is not None
    with torch.no_grad():
        # As the next stage has it: with the factor that was measured, not the one of its configuration.
        assert encode_images(models.vae, images).std().item() == pytest.approx(1, abs=0.05)


def test_principal_components_are_taken_first_and_then_the_decoder_is_trained(
    crops_folder: Path, tmp_path: Path
) -> None:
    crops = FaceCrops.open(crops_folder)
    images = crops.images(torch.tensor(list(crops.rows(0))))
    by_patches = ["animator.vae.patch_size=8", "animator.vae.block_out_channels=[16]"]
    start = train(crops_folder, tmp_path / "start", 0, *by_patches)
    weights = train(crops_folder, tmp_path / "long", 60, *by_patches, "ema_decay=0.9")
    before, after = load_autoencoder(start), load_autoencoder(weights)
    assert torch.equal(before.encoder.weight, after.encoder.weight)
    assert psnr(start, images) > 20  # of 4 numbers in place of 192, from one person's frames
    assert psnr(weights, images) > psnr(start, images) + 0.5
    with torch.no_grad():
        assert encode_images(after, images).std().item() == pytest.approx(1, abs=0.05)


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(crops_folder: Path, tmp_path: Path) -> None:
    train(crops_folder, tmp_path / "through", 4)
    train(crops_folder, tmp_path / "stopped", 2)
    train(crops_folder, tmp_path / "stopped", 4)
    whole, resumed = checkpoint(tmp_path / "through"), checkpoint(tmp_path / "stopped")
    for part in ("modules", "averages"):
        assert all(torch.equal(value, resumed[part]["vae"][key]) for key, value in whole[part]["vae"].items())


def test_patches_larger_than_the_crops_are_an_error(crops_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match="patch_size=128: the crops are only 64 px wide"):
        train(crops_folder, tmp_path / "run", 1, "patch_size=128")


def test_a_decoder_that_sees_neighbouring_frames_is_refused(tmp_path: Path) -> None:
    for words in (["animator=xnemo"], ["animator=tiny", "animator.vae.temporal=true"]):
        with pytest.raises(XNeMoError, match=r"animator\.vae\.temporal=true: .* is not trained here; set"):
            train_autoencoder(load_config("train_autoencoder", [*words, f"output={tmp_path / 'run'}"]))
    assert not (tmp_path / "run").exists()
