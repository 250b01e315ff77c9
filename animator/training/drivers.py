"""Driving pictures for X-Portrait's control: another person doing what the target does, laid on the reference, scaled.

A driver of the same person would show the answer, so the target's motion is re-rendered with somebody else's face, by
the GAN head of finished weights. What of a face's shape is left is blurred by random scaling. Points are those of
`animator.alignment`, read from MediaPipe's mesh, in [-1, 1] of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from animator.alignment import PATCH_SHARE, PATCHES
from animator.models.gan_head import GanHead
from animator.models.motion_encoder import MotionEncoder
from animator.training.pairs import PairBatch
from animator.training.steps import encode_motion

# Of the mesh's 478 points: both eyes (the picture's left one first), nose, the inner lips, and in front of the ears.
_EYES_NOSE, _LIPS, _EARS = (468, 473, 1), (13, 14), (234, 454)


@dataclass(frozen=True)
class Drivers:
    """What drives N samples.

    Attributes:
        pictures: (N, 3, S, S) in [-1, 1].
        points: (N, 6, 2).
    """

    pictures: Tensor
    points: Tensor

    def local(self) -> Tensor:
        """Squares about eyes and mouth, all else black, (N, 3, S, S)."""
        side = self.pictures.shape[-1]
        half = 1 / PATCH_SHARE
        place = (torch.arange(side, device=self.pictures.device) + 0.5) / side * 2 - 1
        centres = self.points[:, list(PATCHES)].clamp(half - 1, 1 - half)
        near = (place - centres[..., None]).abs() <= half  # (N, 3, 2, S)
        shown = (near[:, :, 1, :, None] & near[:, :, 0, None, :]).any(dim=1)
        return torch.where(shown[:, None], self.pictures, torch.full_like(self.pictures, -1.0))


@dataclass(frozen=True)
class Renderer:
    """Finished weights that draw other people.

    Args:
        encoder: reads motion.
        head: draws it.
        side: of its pictures, in pixels.
    """

    encoder: MotionEncoder
    head: GanHead
    side: int

    @torch.no_grad()
    def strangers(self, batch: PairBatch) -> Drivers:
        """Each sample's target, re-rendered as the person of the next pair; a batch of one pair has only its own.

        Where two neighbouring pairs are of one person, so is the driver: seldom in a large set.
        """
        for network in (self.encoder, self.head):
            network.to(batch.images.device)
        side = self.encoder.config.image_size
        seen = batch
        if batch.crops.shape[-1] != side:
            seen = replace(batch, crops=F.interpolate(batch.crops, size=(side, side), mode="area"))
        motion, other = encode_motion(self.encoder, seen), _of_next_pair
        images = F.interpolate(batch.images, size=(self.side, self.side), mode="bilinear", align_corners=False)
        drawn = self.head(other(images), other(batch.boxes), motion.tokens, other(motion.reference_tokens), batch.rts)
        shown = F.interpolate(drawn.image.clamp(-1, 1), size=batch.images.shape[-2:], mode="area")
        # The stranger's points move as the target's do from the reference's, in proportion to the face.
        own, target = mesh_points(batch.landmarks), mesh_points(PairBatch.swap(batch.landmarks))
        size = (other(batch.boxes)[:, 2] / batch.boxes[:, 2])[:, None, None]
        moved = other(own) + (target - own) * size
        return laid_on(Drivers(shown, moved), other(own), own)


def themselves(batch: PairBatch) -> Drivers:
    """Each sample's target as its own driver, for comparison: it shows the answer."""
    return Drivers(PairBatch.swap(batch.images), mesh_points(PairBatch.swap(batch.landmarks)))


def mesh_points(landmarks: Tensor) -> Tensor:
    """MediaPipe's mesh (..., 478, 2) -> the six points, (..., 6, 2)."""
    lips = landmarks[..., list(_LIPS), :].mean(dim=-2, keepdim=True)
    return torch.cat([landmarks[..., list(_EYES_NOSE), :], lips, landmarks[..., list(_EARS), :]], dim=-2)


def laid_on(drivers: Drivers, still: Tensor, onto: Tensor) -> Drivers:
    """Move and scale drivers, each axis by itself, so that the box about `still` becomes the box about `onto`.

    Args:
        still: the driving person's points in the pose of the reference, (N, 6, 2).
        onto: the reference's points, (N, 6, 2).
    """
    low, onto_low = still.amin(dim=1), onto.amin(dim=1)
    scale = (onto.amax(dim=1) - onto_low) / (still.amax(dim=1) - low).clamp_min(1e-2)
    return _mapped(drivers, scale, onto_low - scale * low)


def scaled(drivers: Drivers, share: float, generators: Sequence[torch.Generator]) -> Drivers:
    """Scale width and height, each by up to `share` either way, about the points' middle."""
    drawn = torch.stack([torch.rand(2, generator=own) for own in generators]).to(drivers.points)
    scale = 1 + share * (2 * drawn - 1)
    middle = drivers.points.mean(dim=1)
    return _mapped(drivers, scale, middle * (1 - scale))


def _mapped(drivers: Drivers, scale: Tensor, shift: Tensor) -> Drivers:
    """Every place q becomes scale * q + shift, (N, 2) each; black where nothing comes to lie."""
    theta = torch.zeros(len(scale), 2, 3, device=scale.device, dtype=scale.dtype)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = 1 / scale[:, 0], 1 / scale[:, 1], -shift / scale
    grid = F.affine_grid(theta, list(drivers.pictures.shape), align_corners=False)
    pictures = F.grid_sample(drivers.pictures + 1, grid, mode="bilinear", align_corners=False) - 1
    return Drivers(pictures, drivers.points * scale[:, None] + shift[:, None])


def _of_next_pair(x: Tensor) -> Tensor:
    """(2P, ...) -> the same, moved by one pair within each half."""
    return torch.cat([half.roll(-1, dims=0) for half in x.chunk(2)])
