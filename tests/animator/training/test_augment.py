"""The driving crop: plain without augmentation, reproducible and in range with it."""

from __future__ import annotations

import torch
from torch import Tensor

from animator.training.augment import Augmentation, AugmentConfig, driving_crops

NONE = AugmentConfig(
    scale_low=1, scale_high=1, aspect=0, shift=0, piecewise=0, brightness=0, contrast=0, saturation=0, hue=0
)


def pictures(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(5)) * 2 - 1


def crops(config: AugmentConfig | None, seed: int = 0, images: Tensor | None = None) -> Tensor:
    images = pictures() if images is None else images
    centre, side = torch.full((len(images), 2), 0.5), torch.full((len(images),), 0.5)
    drawn = None if config is None else Augmentation.draw(len(images), config, torch.Generator().manual_seed(seed))
    return driving_crops(images, centre, side, 32, drawn)


def test_the_plain_crop_is_a_cut() -> None:
    images = pictures(2)
    centre, side = torch.tensor([[0.5, 0.5], [0.25, 0.625]]), torch.tensor([0.5, 0.25])
    cut = driving_crops(images[:1], centre[:1], side[:1], 32, None)
    assert torch.allclose(cut[0], images[0, :, 16:48, 16:48], atol=1e-5)
    cut = driving_crops(images[1:], centre[1:], side[1:], 16, None)
    assert torch.allclose(cut[0], images[1, :, 32:48, 8:24], atol=1e-5)


def test_beyond_the_picture_its_edge_is_repeated() -> None:
    images = pictures(1)
    cut = driving_crops(images, torch.tensor([[0.0, 0.5]]), torch.tensor([0.5]), 32, None)
    assert torch.allclose(cut[0, :, :, :16], images[0, :, 16:48, :1].expand(3, 32, 16), atol=1e-5)


def test_augmentation_of_no_strength_is_the_plain_crop() -> None:
    assert torch.allclose(crops(NONE), crops(None), atol=1e-5)


def test_the_same_seed_gives_the_same_crops() -> None:
    assert torch.equal(crops(AugmentConfig(), seed=3), crops(AugmentConfig(), seed=3))
    assert not torch.equal(crops(AugmentConfig(), seed=3), crops(AugmentConfig(), seed=4))


def test_crops_stay_in_range_and_each_is_changed_its_own_way() -> None:
    strong = AugmentConfig(brightness=1, contrast=1, saturation=1, hue=1, shift=0.5, scale_high=2)
    same = pictures(1).expand(3, -1, -1, -1)
    result = crops(strong, images=same)
    assert result.min() >= -1 and result.max() <= 1
    assert not torch.allclose(result[0], result[1])


def test_each_setting_moves_what_it_names() -> None:
    line = (torch.arange(64) + 0.5) / 32 - 1
    ramp = torch.stack([line.expand(64, 64), line[:, None].expand(64, 64), torch.zeros(64, 64)])[None]

    def spread(config: AugmentConfig) -> Tensor:
        crop = crops(config, images=ramp)[0]
        return torch.stack([crop[0].max() - crop[0].min(), crop[1].max() - crop[1].min()])

    plain = spread(NONE)
    wider = spread(AugmentConfig(**vars(NONE) | {"scale_low": 1.3, "scale_high": 1.3}))
    assert torch.allclose(wider / plain, torch.tensor(1.3), atol=0.01)
    shifted = crops(AugmentConfig(**vars(NONE) | {"shift": 0.2}), images=ramp)[0] - crops(NONE, images=ramp)[0]
    # A crop of half the picture moves by at most a fifth of its side: 0.2 x 0.5 x 2 on the ramp's scale.
    assert 0 < shifted[:2].abs().max() <= 0.2 + 1e-5
    assert shifted[0].std() < 1e-5 and shifted[1].std() < 1e-5
