"""The image token of the references in training: CLIP's, where the architecture reads it, or none."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPVisionModelWithProjection

from animator.errors import XNeMoError

# Of CLIP's pictures in [0, 1].
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class ImageTokens:
    """References -> image tokens; frozen.

    Args:
        width: of a token.
        encoder: CLIP's vision tower; None makes tokens of zeros, which stand for none.
    """

    def __init__(self, width: int, encoder: CLIPVisionModelWithProjection | None = None) -> None:
        self.width = width
        self.encoder = None if encoder is None else encoder.eval().requires_grad_(False)

    def to(self, device: torch.device | str) -> ImageTokens:
        """Move to a device; returns itself."""
        if self.encoder is not None:
            self.encoder.to(device)
        return self

    @torch.no_grad()
    def __call__(self, references: Tensor) -> Tensor:
        """Pictures (N, 3, S, S) in [-1, 1] -> tokens, (N, 1, width)."""
        if self.encoder is None:
            return torch.zeros(len(references), 1, self.width, device=references.device)
        side = self.encoder.config.image_size
        small = F.interpolate(references, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
        mean, deviation = (torch.tensor(x, device=small.device)[:, None, None] for x in (_MEAN, _DEVIATION))
        pixels = ((small.clamp(-1, 1) + 1) / 2 - mean) / deviation
        return self.encoder(pixels).image_embeds[:, None].float()


def load_image_encoder(folder: Path) -> CLIPVisionModelWithProjection:
    """Load CLIP's vision tower of a folder that `start_from` names.

    Raises:
        XNeMoError: there is none, or it is damaged.
    """
    if not (folder / "config.json").is_file():
        raise XNeMoError(
            f"{folder}: CLIP's vision tower is not there, which animator.image_encoder=true needs; copy the folder "
            "image_encoder of Stable Diffusion's image variations there, or set animator.image_encoder=false"
        )
    try:
        return CLIPVisionModelWithProjection.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise XNeMoError(f"{folder}: cannot be loaded: {str(error).splitlines()[0]}") from error
