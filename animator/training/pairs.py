"""Random pairs of frames of one clip: either frame is the other's reference (section 3.3, self-supervision)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from animator.errors import XNeMoError
from animator.training.augment import Augmentation, AugmentConfig, driving_crops
from animator.training.batches import prepared_ahead
from animator.training.crops import FaceCrops, rts_between
from animator.training.randomness import WHOLE, Share


@dataclass(frozen=True)
class PairBatch:
    """2 P training samples made of P pairs: sample i has reference i and target `partner[i]`.

    Attributes:
        images: all frames, (2P, 3, S, S) in [-1, 1]; frame i + P is the partner of frame i.
        crops: augmented face crops of the same frames for the motion encoder, (2P, 3, E, E).
        boxes: the face in each frame: centre x, y and longer side in [-1, 1] coordinates, (2P, 3).
        rts: f_rts of the partner relative to each frame, (2P, 3).
        landmarks: (2P, 478, 2) in [-1, 1].
        blendshapes: (2P, 52).
        rotation: (2P, 3, 3).
        numbers: each sample's number in the step's whole batch of P' >= P pairs, below 2P', (2P,).
        latents: of `images`, as the autoencoder gives them, (2P, channels, h, w); None where they were not kept.
    """

    images: Tensor
    crops: Tensor
    boxes: Tensor
    rts: Tensor
    landmarks: Tensor
    blendshapes: Tensor
    rotation: Tensor
    numbers: Tensor
    latents: Tensor | None = None

    def to(self, device: torch.device) -> PairBatch:
        """The same batch on a device."""
        return replace(self, **{name: x.to(device) for name, x in vars(self).items() if x is not None})

    @staticmethod
    def swap(x: Tensor) -> Tensor:
        """Each sample's partner: (2P, ...) -> (2P, ...)."""
        first, second = x.chunk(2)
        return torch.cat([second, first])


def mirrored_blendshapes(names: list[str]) -> list[int]:
    """Permutation of the blendshapes under a left-right mirror."""
    other = {"Left": "Right", "Right": "Left"}
    order = []
    for name in names:
        side = next((side for side in other if name.endswith(side)), None)
        order.append(names.index(name if side is None else name.removesuffix(side) + other[side]))
    return order


class PairSampler:
    """Draws batches of pairs from the clips of one split.

    Args:
        crops: the data.
        split: "train" or "validation".
        image_size: side of the frames handed out, in pixels.
        crop_size: side of the encoder's crops, in pixels.
        augment: augmentation of the crops; None for none, and no mirroring either.
        seed: every draw follows from it and from the step.
        latents: hand out the latents that the crops hold; `image_size` must be that of the stored pictures.
    Raises:
        XNeMoError: the split is empty.
    """

    def __init__(
        self,
        crops: FaceCrops,
        split: str,
        image_size: int,
        crop_size: int,
        augment: AugmentConfig | None,
        seed: int,
        latents: bool = False,
    ) -> None:
        self.crops = crops
        self.clips = crops.clips_of(split)
        if not self.clips:
            raise XNeMoError(f"the crops have no clips of the split {split!r}; prepare some of other people")
        self.image_size = image_size
        self.crop_size = crop_size
        self.augment = augment
        self.seed = seed
        self.latents = latents
        self.generator = torch.Generator()
        # The square root keeps the few long clips from taking all.
        self.weights = torch.tensor([float(np.sqrt(crops.clips[clip]["frames"])) for clip in self.clips])
        self.mirror_order = mirrored_blendshapes(crops.blendshape_names)

    def stream(self, pairs: int, first_step: int, shares: Sequence[Share] = (WHOLE,)) -> Iterator[list[PairBatch]]:
        """These shares of the batches of the steps from `first_step` on, prepared while the ones before are used."""
        return prepared_ahead(lambda step: [self.batch(pairs, step, share) for share in shares], first_step)

    def draw_rows(self, pairs: int) -> tuple[Tensor, Tensor]:
        """Rows of `pairs` pairs of two different frames of one clip."""
        chosen = torch.multinomial(self.weights, pairs, replacement=True, generator=self.generator)
        first, second = [], []
        for number in chosen.tolist():
            rows = self.crops.rows(self.clips[number])
            a, b = torch.randint(len(rows), (2,), generator=self.generator).tolist()
            first.append(rows[a])
            second.append(rows[b if b != a else (a + len(rows) // 2) % len(rows)])
        return torch.tensor(first), torch.tensor(second)

    def batch(self, pairs: int, step: int, share: Share = WHOLE) -> PairBatch:
        """Draw `pairs` pairs (2 x `pairs` samples), and return a share of them.

        The same seed and step always give the same pairs, whoever takes which share.
        """
        # torch's CPU generator reads only the low 32 bits of a seed, so the step has to be among them.
        self.generator.manual_seed((self.seed * 1_000_003 + step) % 2**32)
        first, second = self.draw_rows(pairs)
        flips = augmentation = None
        if self.augment is not None:
            flips = torch.rand(pairs, generator=self.generator).lt(0.5)
            augmentation = Augmentation.draw(2 * pairs, self.augment, self.generator)
        taken = share.of(pairs)
        numbers = torch.cat([taken, taken + pairs])
        rows = torch.cat([first[taken], second[taken]])
        partner = torch.cat([second[taken], first[taken]])
        full = self.crops.images(rows)
        centre, rotation = self.crops.centre[rows], self.crops.rotation[rows]
        landmarks, blendshapes = self.crops.landmarks[rows], self.crops.blendshapes[rows]
        rts = rts_between(self.crops, rows, partner)
        flip = None if flips is None else flips[taken].repeat(2)
        if flip is not None:
            full = torch.where(flip.to(full.device)[:, None, None, None], full.flip(-1), full)
            mirror = torch.tensor([-1.0, 1.0, 1.0])
            centre = torch.where(flip[:, None], centre * mirror[:2] + torch.tensor([1.0, 0.0]), centre)
            landmarks = torch.where(flip[:, None, None], landmarks * mirror[:2] + torch.tensor([1.0, 0.0]), landmarks)
            rotation = torch.where(flip[:, None, None], mirror[:, None] * rotation * mirror, rotation)
            blendshapes = torch.where(flip[:, None], blendshapes[:, self.mirror_order], blendshapes)
            rts = torch.where(flip[:, None], rts * mirror, rts)
        drawn = None if augmentation is None else augmentation.of(numbers)
        cut = driving_crops(full, centre, self.crops.crop_side[rows], self.crop_size, drawn)
        images = full
        if self.image_size != full.shape[-1]:
            images = F.interpolate(full, size=(self.image_size, self.image_size), mode="area")
        boxes = torch.cat([centre * 2 - 1, self.crops.size[rows, None] * 2], dim=1)
        latents = self.crops.kept_latents(rows, flip) if self.latents else None
        return PairBatch(images, cut, boxes, rts, landmarks * 2 - 1, blendshapes, rotation, numbers, latents)
