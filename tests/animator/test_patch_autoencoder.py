"""The autoencoder by principal components: exact where it may be, and a part of weights like any other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from animator.builders import build_autoencoder
from animator.errors import XNeMoError
from animator.model_config import AutoencoderConfig
from animator.models.autoencoder import autoencoder_id, decode_latents, downsampling, encode_images
from animator.models.patch_autoencoder import PatchAutoencoder
from animator.training.latent_cache import load_autoencoder


def small(**changes: int) -> PatchAutoencoder:
    settings = {"patch_size": 4, "latent_channels": 6, "repair_channels": 8, "repair_layers": 1, "norm_num_groups": 2}
    return PatchAutoencoder(**{**settings, **changes}).eval()


def pictures(rank: int, seed: int = 0) -> Tensor:
    """Eight pictures (8, 3, 16, 16) whose 4 x 4 patches are a colour and sums of so many random patterns."""
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(rank, 48, generator=torch.Generator().manual_seed(5))
    patterns = patterns - patterns.unflatten(1, (3, 16)).mean(2).repeat_interleave(16, dim=1)
    patches = torch.randn(8, 4, 4, rank, generator=generator) @ patterns
    colour = torch.tensor([0.5, -0.2, 0.1])[:, None, None]
    return 0.04 * F.pixel_shuffle(patches.permute(0, 3, 1, 2), 4) + colour


@torch.no_grad()
def test_patches_of_few_patterns_come_back_exactly() -> None:
    vae = small()
    vae.fit(pictures(rank=6))
    other = pictures(rank=6, seed=1)
    latents = encode_images(vae, other)
    assert latents.shape == (8, 6, 4, 4)
    torch.testing.assert_close(decode_latents(vae, latents), other, atol=1e-4, rtol=0)


@torch.no_grad()
def test_no_other_six_numbers_a_patch_hold_more() -> None:
    images, vae = pictures(rank=12), small()
    vae.fit(images)
    left = (decode_latents(vae, encode_images(vae, images)) - images).square().sum()
    patches = F.pixel_unshuffle(images - images.mean(dim=(0, 2, 3), keepdim=True), 4).permute(0, 2, 3, 1).flatten(0, 2)
    # Eckart and Young 1936: what the best approximation of rank six leaves.
    torch.testing.assert_close(left, torch.linalg.svdvals(patches)[6:].square().sum(), rtol=1e-3, atol=1e-6)


@torch.no_grad()
def test_latents_are_flattened_half_way_to_equal_variance() -> None:
    images, vae = pictures(rank=6), small()
    vae.fit(images)
    patches = F.pixel_unshuffle(images - images.mean(dim=(0, 2, 3), keepdim=True), 4).permute(0, 2, 3, 1).flatten(0, 2)
    deviations = (torch.linalg.svdvals(patches)[:6] / len(patches) ** 0.5).sqrt()
    found = encode_images(vae, images).square().mean(dim=(0, 2, 3)).sqrt()
    torch.testing.assert_close(found, deviations, rtol=1e-3, atol=1e-5)


def test_only_the_decoder_learns() -> None:
    vae = small()
    vae.decode(vae.encode(pictures(6)).latent_dist.mean).sample.sum().backward()
    learnt = {name.split(".")[0] for name, parameter in vae.named_parameters() if parameter.grad is not None}
    assert learnt == {"decoder", "repair"}


def test_it_is_saved_loaded_and_known_by_its_encoder(tmp_path: Path) -> None:
    vae = small()
    vae.fit(pictures(6))
    vae.save_pretrained(tmp_path)
    loaded = load_autoencoder(tmp_path)
    assert isinstance(loaded, PatchAutoencoder) and downsampling(loaded) == 4
    assert autoencoder_id(loaded) == autoencoder_id(vae)
    loaded.decoder.weight.data.add_(1)
    assert autoencoder_id(loaded) == autoencoder_id(vae)
    loaded.encoder.weight.data.add_(1)
    assert autoencoder_id(loaded) != autoencoder_id(vae)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"patch_size": 12}, "patch_size=12: must be a power of two, 4 or more"),
        ({"patch_size": 2}, "patch_size=2: must be a power of two, 4 or more"),
        ({"patch_size": 8, "temporal": True}, "goes with temporal=false and one width"),
        ({"patch_size": 8, "block_out_channels": [8, 16]}, "goes with temporal=false and one width"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict, says: str) -> None:
    with pytest.raises(XNeMoError, match=says):
        build_autoencoder(AutoencoderConfig(**{"block_out_channels": [8], "norm_num_groups": 2, **settings}))
