"""What the converter demands of the released files is exactly what the official classes have."""

from __future__ import annotations

import pytest
import torch

from animator.builders import animator_config, build_autoencoder, build_image_encoder
from animator.convert.expected import (
    Expected,
    build_skeletons,
    expected_as_is,
    expected_denoiser,
    expected_motion_encoder,
    expected_reference_net,
)


@pytest.fixture(scope="module")
def expected() -> dict[str, Expected]:
    config = animator_config("xnemo")
    nets = build_skeletons(config)
    with torch.device("meta"):
        vae, image_encoder = build_autoencoder(config.vae), build_image_encoder()
    return {
        "motion_encoder": expected_motion_encoder(nets.motion_encoder),
        "reference_unet": expected_reference_net(nets.reference_net),
        "denoising_unet": expected_denoiser(nets.unet),
        "vae": expected_as_is("the autoencoder", vae),
        "image_encoder": expected_as_is("the image encoder", image_encoder),
    }


@pytest.mark.parametrize(
    ("network", "count"),
    [("motion_encoder", 407), ("reference_unet", 682), ("denoising_unet", 1820), ("vae", 374), ("image_encoder", 392)],
)
def test_keys_and_shapes_are_the_official_ones(
    expected: dict[str, Expected], released_keys: dict[str, dict[str, list[int]]], network: str, count: int
) -> None:
    shapes = {key: list(shape) for key, shape in expected[network].shapes.items()}
    assert shapes == released_keys[network]
    assert len(shapes) == count


def test_only_position_tables_may_be_missing(expected: dict[str, Expected]) -> None:
    assert set(expected["motion_encoder"].tables) == {"pe"}
    tables = expected["denoising_unet"].tables
    assert len(tables) == 42
    assert all(key.endswith("pos_encoder.pe") for key in tables)
    assert len(expected["denoising_unet"].required) == 1820 - 42
