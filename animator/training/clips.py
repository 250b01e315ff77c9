"""Short clips of neighbouring frames, for the temporal stage (X-NeMo section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from animator.errors import XNeMoError
from animator.training.augment import driving_crops
from animator.training.batches import prepared_ahead
from animator.training.crops import FaceCrops, rts_between
from animator.training.randomness import WHOLE, Share


@dataclass(frozen=True)
class ClipBatch:
    """C clips of F frames, each with a reference frame from anywhere in the same clip.

    Attributes:
        frames: (C, F, 3, S, S) in [-1, 1].
        references: (C, 3, S, S) in [-1, 1].
        crops: face crops of the frames for the motion encoder, (C, F, 3, E, E).
        reference_crops: of the references, (C, 3, E, E).
        rts: f_rts of each frame relative to its reference, (C, F, 3).
        landmarks: of the frames, (C, F, 478, 2) in [-1, 1].
        numbers: each clip's number in the step's whole batch, (C,).
        latents: of `frames`, as the autoencoder gives them, (C, F, channels, h, w); None where they were not kept.
        reference_latents: likewise of the references, (C, channels, h, w).
    """

    frames: Tensor
    references: Tensor
    crops: Tensor
    reference_crops: Tensor
    rts: Tensor
    landmarks: Tensor
    numbers: Tensor
    latents: Tensor | None = None
    reference_latents: Tensor | None = None

    def to(self, device: torch.device) -> ClipBatch:
        """The same batch on a device."""
        return replace(self, **{name: x.to(device) for name, x in vars(self).items() if x is not None})


class ClipSampler:
    """Draws batches of clips of one split; the crops are plain, for nothing that reads them is trained.

    Args:
        crops: the data.
        split: "train" or "validation".
        frames: length of a clip, in stored frames.
        image_size: side of the frames handed out, in pixels.
        crop_size: side of the encoder's crops, in pixels.
        seed: every draw follows from it and from the step.
        latents: hand out the latents that the crops hold; `image_size` must be that of the stored pictures.
    Raises:
        XNeMoError: no clip of the split is long enough.
    """

    def __init__(
        self,
        crops: FaceCrops,
        split: str,
        frames: int,
        image_size: int,
        crop_size: int,
        seed: int,
        latents: bool = False,
    ) -> None:
        self.crops = crops
        self.clips = [clip for clip in crops.clips_of(split) if crops.clips[clip]["frames"] >= frames]
        if not self.clips:
            raise XNeMoError(
                f"frames={frames}: no clip of the split {split!r} has so many stored frames; prepare longer clips, "
                "with a smaller stride, or set frames lower"
            )
        self.frames = frames
        self.image_size = image_size
        self.crop_size = crop_size
        self.seed = seed
        self.latents = latents
        # The square root keeps the few long clips from taking all.
        self.weights = torch.tensor([float(np.sqrt(crops.clips[clip]["frames"])) for clip in self.clips])

    def stream(self, clips: int, first_step: int, shares: Sequence[Share] = (WHOLE,)) -> Iterator[list[ClipBatch]]:
        """These shares of the batches of the steps from `first_step` on, prepared while the ones before are used."""
        return prepared_ahead(lambda step: [self.batch(clips, step, share) for share in shares], first_step)

    def batch(self, clips: int, step: int, share: Share = WHOLE) -> ClipBatch:
        """Draw `clips` clips and return a share of them; the same seed and step always draw the same."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + step) % 2**32)
        chosen = torch.multinomial(self.weights, clips, replacement=True, generator=generator).tolist()
        first, references = [], []
        for number in chosen:
            rows = self.crops.rows(self.clips[number])
            start = int(torch.randint(len(rows) - self.frames + 1, (), generator=generator))
            first.append(rows[start])
            references.append(rows[int(torch.randint(len(rows), (), generator=generator))])
        numbers = share.of(clips)
        rows_of_frames = torch.tensor(first)[numbers, None] + torch.arange(self.frames)
        reference_rows = torch.tensor(references)[numbers]
        return self._read(rows_of_frames, reference_rows, numbers)

    def _read(self, rows: Tensor, reference_rows: Tensor, numbers: Tensor) -> ClipBatch:
        """Rows (C, F) and reference rows (C,) -> the batch."""
        clips, frames = rows.shape
        pictures, crops = self._pictures(rows.flatten())
        references, reference_crops = self._pictures(reference_rows)
        rts = rts_between(self.crops, reference_rows.repeat_interleave(frames), rows.flatten())
        latents = reference_latents = None
        if self.latents:
            latents = self.crops.kept_latents(rows.flatten()).unflatten(0, (clips, frames))
            reference_latents = self.crops.kept_latents(reference_rows)
        return ClipBatch(
            pictures.unflatten(0, (clips, frames)),
            references,
            crops.unflatten(0, (clips, frames)),
            reference_crops,
            rts.unflatten(0, (clips, frames)),
            self.crops.landmarks[rows] * 2 - 1,
            numbers,
            latents,
            reference_latents,
        )

    def _pictures(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Frames at the training size and their face crops."""
        full = self.crops.images(rows)
        crops = driving_crops(full, self.crops.centre[rows], self.crops.crop_side[rows], self.crop_size, None)
        if self.image_size != full.shape[-1]:
            full = F.interpolate(full, size=(self.image_size, self.image_size), mode="area")
        return full, crops
