"""The training set in memory: cached face-centred frames with what is known about each.

A crops folder holds `frames.npy` (N, S, S, 3) uint8, mapped from disk; `index.safetensors` with one row a frame;
`clips.json`; and, if wanted, `latents.npy`. `animator.training.prepare` writes it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from animator.errors import XNeMoError
from animator.training.parts import FIELDS, SCHEMA

LATENTS, LATENTS_ABOUT = "latents.npy", "latents.json"
LATENTS_SCHEMA = 2
CHUNK = 1024  # frames that go to a GPU at once
RESIDENT_SHARE = 0.5  # of a GPU's free memory, that the frames may take
LABEL_FLOOR = 0.02  # keeps the noise of expressions that hardly occur from being blown up


@dataclass(frozen=True)
class FaceCrops:
    """Frames of many clips, clip after clip.

    Attributes:
        frames: (N, S, S, 3) uint8 RGB, on disk.
        clip: which entry of `clips`, (N,).
        frame: frame number in the clip, (N,).
        centre: smoothed face centre, (N, 2), x and y in [0, 1] of the picture.
        size: smoothed longer side of the detector's face box, (N,), in picture widths.
        crop_side: side of the clip's fixed encoder crop, (N,), in picture widths.
        landmarks: (N, 478, 2) in [0, 1] of the picture (MediaPipe's mesh).
        blendshapes: (N, 52) in [0, 1].
        rotation: head rotation matrices, (N, 3, 3).
        clips: name, identity, split, first row and number of rows of each clip.
        blendshape_names: 52 names.
        latents: scaled latents (`animator.models.autoencoder.encode_images`) of each frame and of its mirror image,
            (N, 2, channels, h, w), float16, on disk; None where they were not kept.
        autoencoder_id: of the autoencoder that made them (`animator.models.autoencoder.autoencoder_id`); empty without
            them.
        resident: the frames once more, on the device where pictures are wanted; None: they are read from disk.
    """

    frames: np.ndarray
    clip: Tensor
    frame: Tensor
    centre: Tensor
    size: Tensor
    crop_side: Tensor
    landmarks: Tensor
    blendshapes: Tensor
    rotation: Tensor
    clips: list[dict[str, Any]]
    blendshape_names: list[str]
    latents: np.ndarray | None = None
    autoencoder_id: str = ""
    resident: Tensor | None = None

    @classmethod
    def open(cls, folder: Path) -> FaceCrops:
        """Open a crops folder; latents that belong to other pictures are passed over.

        Raises:
            XNeMoError: the folder is not one, or of a newer schema, or its parts do not fit together.
        """
        try:
            about = json.loads((folder / "clips.json").read_text())
            index = load_file(folder / "index.safetensors")
            frames = np.load(folder / "frames.npy", mmap_mode="r", allow_pickle=False)
            parts: dict[str, Any] = {field: index[field] for field in FIELDS}
        except (OSError, ValueError, SafetensorError, KeyError) as error:
            raise XNeMoError(f"{folder}: not a folder of face crops ({error}); `xnemo prepare` makes one") from error
        if about["schema"] > SCHEMA:
            raise XNeMoError(f"{folder}: from a newer version (schema {about['schema']} > {SCHEMA}); update xnemo")
        if {len(part) for part in parts.values()} != {len(frames)}:
            raise XNeMoError(f"{folder}: frames and index differ in length; prepare the folder again")
        crops = cls(frames=frames, clips=about["clips"], blendshape_names=about["blendshape_names"], **parts)
        return crops._with_latents(folder)

    def on(self, device: torch.device) -> FaceCrops:
        """The same with all frames in a GPU's memory, if they fit into half of what is free there.

        Pictures are then made there, and augmented there by whoever asks for them.
        """
        if device.type != "cuda" or self.frames.nbytes > RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
            return self
        resident = torch.empty(self.frames.shape, dtype=torch.uint8, device=device)
        for first in range(0, len(resident), CHUNK):
            resident[first : first + CHUNK] = torch.from_numpy(np.array(self.frames[first : first + CHUNK]))
        return replace(self, resident=resident)

    def digest(self) -> str:
        """Hash of what the frames were made from, in their order; 64 hexadecimal digits."""
        made_from = [[clip["name"], clip["frames"], clip.get("made_from")] for clip in self.clips]
        return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()

    def _with_latents(self, folder: Path) -> FaceCrops:
        """The same with the folder's latents, if it has any that are whole and of these frames."""
        if not (folder / LATENTS_ABOUT).is_file():
            return self
        try:
            about = json.loads((folder / LATENTS_ABOUT).read_text())
            latents = np.load(folder / LATENTS, mmap_mode="r", allow_pickle=False)
            fits = about["schema"] == LATENTS_SCHEMA and about["clips"] == self.digest()
            fits = fits and len(latents) == len(self.frames)
            return replace(self, latents=latents, autoencoder_id=about["autoencoder"]) if fits else self
        except (OSError, ValueError, KeyError) as error:
            raise XNeMoError(
                f"{folder / LATENTS}: damaged ({error}); remove {LATENTS_ABOUT} and prepare the folder again"
            ) from error

    def clips_of(self, split: str) -> list[int]:
        """Numbers of the clips of one split, "train" or "validation"."""
        return [number for number, clip in enumerate(self.clips) if clip["split"] == split]

    def rows(self, clip: int) -> range:
        """Rows of one clip."""
        first = self.clips[clip]["first"]
        return range(first, first + self.clips[clip]["frames"])

    def label_scale(self) -> Tensor:
        """How much each of `motion_labels` moves within a clip: mean standard deviation, and a floor, (L,)."""
        labels = motion_labels(self.blendshapes, self.rotation)
        clips = [self.rows(number) for number in range(len(self.clips))]
        deviations = [labels[rows.start : rows.stop].std(dim=0, correction=0) for rows in clips]
        return torch.stack(deviations).mean(dim=0) + LABEL_FLOOR

    def images(self, rows: Tensor) -> Tensor:
        """Frames as (n, 3, S, S) float in [-1, 1], on the device of `resident` if that is there."""
        if self.resident is None:
            picked = torch.from_numpy(self.frames[rows.numpy()])
        else:
            picked = self.resident[rows.to(self.resident.device)]
        return picked.permute(0, 3, 1, 2).float() / 127.5 - 1

    def kept_latents(self, rows: Tensor, mirrored: Tensor | None = None) -> Tensor:
        """Latents that were kept, (n, channels, h, w) float32; of the mirror images where `mirrored` (n,) is true."""
        assert self.latents is not None
        which = torch.zeros(len(rows), dtype=torch.long) if mirrored is None else mirrored.long()
        return torch.from_numpy(self.latents[rows.numpy(), which.numpy()]).float()


def motion_labels(blendshapes: Tensor, rotation: Tensor) -> Tensor:
    """Blendshapes (N, 52) and the first two columns of the rotation (N, 3, 3) in one tensor, (N, 58)."""
    return torch.cat([blendshapes, rotation[:, :, :2].flatten(1)], dim=1)


def rts_between(crops: FaceCrops, reference: Tensor, driving: Tensor) -> Tensor:
    """f_rts of driving rows relative to reference rows, (n, 3): dx / s_r, dy / s_r, s_d / s_r (section 3.3)."""
    scale = crops.size[reference]
    shift = (crops.centre[driving] - crops.centre[reference]) / scale[:, None]
    return torch.cat([shift, (crops.size[driving] / scale)[:, None]], dim=1)
