"""Augmentation of the driving image (X-NeMo section 3.3): colour jitter, scaling, piecewise affine, face-centred crop.

All spatial parts are one resampling grid, so a driving crop is read from its frame exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from animator.config_loader import key
from animator.models.flow import identity_grid


@dataclass
class AugmentConfig:
    """Strength of the driving image's augmentation."""

    scale_low: float = key(0.85, "smallest factor by which the crop is widened", minimum=0.5, maximum=1.0)
    scale_high: float = key(1.3, "largest factor by which the crop is widened", minimum=1.0, maximum=2.0)
    aspect: float = key(0.1, "how far width and height are scaled apart, as a fraction", minimum=0, maximum=0.5)
    # The crop follows a smoothed track, so where the face lies in it is motion that f_rts does not hold: no shift.
    shift: float = key(0.0, "how far the crop's centre moves, in crop sides", minimum=0, maximum=0.5)
    piecewise: float = key(0.025, "deviation of the piecewise affine's control points, in crop sides", minimum=0)
    control_points: int = key(4, "control points of the piecewise affine along each side", minimum=2)
    brightness: float = key(0.25, "added to all channels, on the scale of [-1, 1]", minimum=0, maximum=1)
    contrast: float = key(0.3, "contrast changes by up to this fraction", minimum=0, maximum=1)
    saturation: float = key(0.6, "saturation changes by up to this fraction", minimum=0, maximum=1)
    hue: float = key(0.15, "channel gains differ by up to this fraction", minimum=0, maximum=1)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def face_crop_grid(centre: Tensor, side: Tensor, size: int) -> Tensor:
    """Grid of the face-centred crop without augmentation, (n, size, size, 2), for centres and sides in [0, 1]."""
    grid = identity_grid(size, size, centre.device, centre.dtype)
    return grid * side[:, None, None, None] + (2 * centre - 1)[:, None, None, :]


@dataclass(frozen=True)
class Augmentation:
    """What was drawn for n driving crops.

    Attributes:
        scale: of width and height, (n, 2).
        shift: of the centre, in half crop sides, (n, 2).
        points: displacement of the control points, in half crop sides, (n, 2, c, c).
        saturation, contrast: factors, (n, 1, 1, 1).
        hue: factors of the channels, (n, 3, 1, 1).
        brightness: added, (n, 1, 1, 1).
    """

    scale: Tensor
    shift: Tensor
    points: Tensor
    saturation: Tensor
    hue: Tensor
    contrast: Tensor
    brightness: Tensor

    @classmethod
    def draw(cls, count: int, config: AugmentConfig, generator: torch.Generator) -> Augmentation:
        """Draw for `count` crops, each its own."""
        one = (count, 1, 1, 1)
        scale = _uniform((count, 1), config.scale_low, config.scale_high, generator)
        scale = scale * _uniform((count, 2), 1 - config.aspect, 1 + config.aspect, generator)
        shift = _uniform((count, 2), -config.shift, config.shift, generator) * 2
        points = torch.randn(count, 2, config.control_points, config.control_points, generator=generator)
        return cls(
            scale=scale,
            shift=shift,
            points=points * 2 * config.piecewise,
            saturation=1 + _uniform(one, -config.saturation, config.saturation, generator),
            hue=1 + _uniform((count, 3, 1, 1), -config.hue, config.hue, generator),
            contrast=1 + _uniform(one, -config.contrast, config.contrast, generator),
            brightness=_uniform(one, -config.brightness, config.brightness, generator),
        )

    def of(self, numbers: Tensor) -> Augmentation:
        """What was drawn for some of the crops, (k,)."""
        return Augmentation(**{name: drawn[numbers] for name, drawn in vars(self).items()})

    def to(self, device: torch.device) -> Augmentation:
        """The same on a device."""
        return Augmentation(**{name: drawn.to(device) for name, drawn in vars(self).items()})


def augmented_grid(centre: Tensor, side: Tensor, size: int, drawn: Augmentation) -> Tensor:
    """The same with random scale, aspect, shift and piecewise affine."""
    # Bilinear interpolation between displaced control points: affine inside each cell.
    bend = F.interpolate(drawn.points, size=(size, size), mode="bilinear", align_corners=True)
    grid = identity_grid(size, size, centre.device, centre.dtype)
    local = grid * drawn.scale[:, None, None, :] + drawn.shift[:, None, None, :] + bend.permute(0, 2, 3, 1)
    return local * side[:, None, None, None] + (2 * centre - 1)[:, None, None, :]


def colour_jitter(images: Tensor, drawn: Augmentation) -> Tensor:
    """Change colours of images (n, 3, H, W) in [-1, 1], each its own way; the result is clamped to [-1, 1]."""
    grey = images.mean(dim=1, keepdim=True)
    images = (grey + (images - grey) * drawn.saturation) * drawn.hue
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = mean + (images - mean) * drawn.contrast
    return (images + drawn.brightness).clamp(-1, 1)


def driving_crops(
    images: Tensor,
    centre: Tensor,
    side: Tensor,
    size: int,
    drawn: Augmentation | None,
) -> Tensor:
    """Face crops for the motion encoder.

    Args:
        images: whole frames, (n, 3, S, S) in [-1, 1]; the others may lie on another device than these.
        centre: face centres, (n, 2) in [0, 1].
        side: crop sides, (n,), in picture widths.
        size: side of the result in pixels.
        drawn: their augmentation; None takes the plain crops.
    Returns:
        (n, 3, size, size) in [-1, 1]; beyond the picture its edge is repeated.
    """
    centre, side = centre.to(images.device), side.to(images.device)
    if drawn is None:
        return _sample(images, face_crop_grid(centre, side, size))
    drawn = drawn.to(images.device)
    return colour_jitter(_sample(images, augmented_grid(centre, side, size, drawn)), drawn)


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
