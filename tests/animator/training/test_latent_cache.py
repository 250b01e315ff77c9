"""Cached latents: those that the autoencoder gives, one row a frame, resumable, and never taken for other frames'.

And what the stages learn from them is what they learn from the pictures.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from animator.builders import animator_config, build_autoencoder
from animator.errors import XNeMoError
from animator.models.autoencoder import Autoencoder, autoencoder_id, encode_images
from animator.training import latent_cache, validation
from animator.training.crops import FaceCrops
from animator.training.latent_cache import BATCH, cache_latents
from animator.training.plan import plan_run
from animator.training.randomness import WHOLE
from animator.training.ranks import Ranks
from animator.training.recipe import train_animator
from tests.animator.training.runs import settings, stage_of


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
    halved = latent_cache.load_autoencoder(vae).half()
    assert opened.autoencoder_id == autoencoder_id(network) == autoencoder_id(halved)
    assert opened.latents is not None and opened.latents.dtype == np.float16
    with torch.no_grad():
        images = opened.images(torch.arange(len(opened.frames)))
        expected = torch.stack([encode_images(network, x) for x in (images, images.flip(-1))], dim=1).numpy()
    assert opened.latents.shape == expected.shape
    assert np.allclose(opened.latents, expected, atol=2e-3 * np.abs(expected).max())
    assert not list(crops.glob(".*"))
    cache_latents(crops, vae, "cpu", mixed_precision="bf16")
    rounded = FaceCrops.open(crops).latents
    assert rounded is not None and not np.array_equal(rounded, opened.latents)
    assert np.abs(rounded - expected).mean() < 0.02 * np.abs(expected).mean()

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
        if len(seen) == 3:  # the second batch: each comes as it is and mirrored
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
    assert sum(seen[3:]) == 2 * (count - BATCH)  # the first batch was kept
    found = (crops / "latents.npy").read_bytes()
    cache_latents(crops, vae, "cpu")  # all is there
    assert sum(seen[3:]) == 2 * (count - BATCH)

    (crops / "latents.json").unlink()
    cache_latents(crops, vae, "cpu")
    assert (crops / "latents.npy").read_bytes() == found


def test_what_is_no_autoencoder_is_named(crops: Path, tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match="no autoencoder that can be loaded"):
        cache_latents(crops, tmp_path / "absent", "cpu")


@pytest.mark.parametrize("stage", ["image", "temporal"])
def test_a_stage_learns_from_kept_latents_what_it_learns_from_pictures(crops: Path, vae: Path, stage: str) -> None:
    cache_latents(crops, vae, "cpu")
    opened = FaceCrops.open(crops)
    losses = {}
    for kept in (True, False):
        config = settings(stage, crops, crops, 1, "pairs=6", "diffusion_pairs=6", f"cached_latents={kept}")
        made = stage_of(config, shaken=True)
        assert made.models.vae is not None
        made.models.vae.load_state_dict(latent_cache.load_autoencoder(vae).state_dict())
        (batch,) = next(made.stream(opened, 0, [WHOLE]))
        assert (batch.latents is not None) == kept
        example = made.example(WHOLE)
        if kept:
            assert example.latents.shape == batch.latents.shape
            # The autoencoder has no part in the step.
            made.models.vae.encode = None
        losses[kept] = made.losses(batch, 0).terms["diffusion"].item()
    assert losses[True] == pytest.approx(losses[False], rel=2e-3)
    assert losses[True] != losses[False]  # float16


def test_a_run_on_kept_latents_goes_through_the_stages(
    crops: Path, vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PAIRS": 2, "SHOWN": 1, "DDIM_STEPS": 1}.items():
        monkeypatch.setattr(validation, name, value)
    start = f"start_from={vae}"
    config = settings("image", crops, tmp_path / "image", 2, "cached_latents=true", start)
    with pytest.raises(XNeMoError, match="holds no latents of its pictures"):
        train_animator(config)
    cache_latents(crops, vae, "cpu")
    first = train_animator(config)
    plans = []
    for kept in ("true", "false"):
        config = settings("image", crops, tmp_path / "image", 2, f"cached_latents={kept}")
        plans.append(plan_run(config, Ranks(), torch.device("cpu")).operations)
    assert plans[0] < plans[1]
    # The weights of the first stage are in half precision; their autoencoder is the same.
    train_animator(settings("motion", crops, tmp_path / "motion", 2, "cached_latents=true", f"start_from={first}"))

    other = build_autoencoder(animator_config("tiny").vae)
    torch.nn.init.constant_(other.encoder.conv_in.weight, 0.1)
    other.save_pretrained(tmp_path / "other" / "vae")
    for words, told in (
        ([f"start_from={tmp_path / 'other'}"], "are of the autoencoder .{16}, that of start_from is .{16}"),
        ([start, "image_size=32"], "set image_size=64"),
    ):
        with pytest.raises(XNeMoError, match=told) as error:
            train_animator(settings("image", crops, tmp_path / "no", 2, "cached_latents=true", *words))
        assert "\n" not in str(error.value)
    with pytest.raises(XNeMoError, match="train_diffusion=false reads no latents"):
        words = ["cached_latents=true", "train_diffusion=false"]
        train_animator(settings("motion", crops, tmp_path / "no", 2, *words))
