"""Cached latents: those that the autoencoder gives, one row a frame, resumable, and never taken for other frames'."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from animator.builders import animator_config, build_autoencoder
from animator.errors import XNeMoError
from animator.models.autoencoder import Autoencoder, encode_images
from animator.models.identity import encoder_id
from animator.training import latent_cache
from animator.training.crops import FaceCrops
from animator.training.latent_cache import BATCH, cache_latents


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights with a tiny autoencoder, as `weights=` takes them."""
    folder = tmp_path_factory.mktemp("weights")
    build_autoencoder(animator_config("tiny").vae).save_pretrained(folder / "vae")
    return folder


@pytest.fixture
def crops(crops_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(crops_folder, tmp_path / "crops"))


def test_every_frame_has_the_latents_that_its_autoencoder_gives(crops: Path, vae: Path) -> None:
    assert FaceCrops.open(crops).latents is None
    cache_latents(crops, vae, "cpu")
    opened = FaceCrops.open(crops)
    network = latent_cache.load_autoencoder(vae)
    assert opened.autoencoder_id == encoder_id(network)
    assert opened.latents is not None and opened.latents.dtype == np.float16
    with torch.no_grad():
        expected = encode_images(network, opened.images(torch.arange(len(opened.frames)))).numpy()
    assert opened.latents.shape == expected.shape
    assert np.allclose(opened.latents, expected, atol=2e-3 * np.abs(expected).max())
    assert not list(crops.glob(".*"))

    # Frames of other settings do not take them for theirs.
    names = (crops / "clips.json").read_text()
    (crops / "clips.json").write_text(names.replace('"made_from": "', '"made_from": "other '))
    assert FaceCrops.open(crops).latents is None


def test_an_interrupted_run_goes_on_behind_the_last_whole_batch(
    crops: Path, vae: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def stopped(network: Autoencoder, images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return encode_images(network, images)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(latent_cache, "encode_images", stopped)
        cache_latents(crops, vae, "cpu")
    assert FaceCrops.open(crops).latents is None
    with open(crops / ".latents.partial", "ab") as file:
        file.write(b"half a row")
    monkeypatch.setattr(latent_cache, "encode_images", stopped)
    cache_latents(crops, vae, "cpu")
    count = len(FaceCrops.open(crops).frames)
    assert sum(seen[2:]) == count - BATCH  # the first batch was kept
    found = (crops / "latents.npy").read_bytes()
    cache_latents(crops, vae, "cpu")  # all is there
    assert sum(seen[2:]) == count - BATCH

    (crops / "latents.json").unlink()
    cache_latents(crops, vae, "cpu")
    assert (crops / "latents.npy").read_bytes() == found


def test_what_is_no_autoencoder_is_named(crops: Path, tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match="no autoencoder that can be loaded"):
        cache_latents(crops, tmp_path / "absent", "cpu")
