"""The instant renderer: each frame drawn at once by the GAN head (X-NeMo appendix A), no frame knowing another."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from animator.conditions import motion_tokens, own_motion
from animator.image import resize
from animator.models.gan_head import GanHead
from animator.models.motion_encoder import MotionEncoder
from animator.motion_clip import MotionClip
from animator.pixels import from_uint8, to_uint8
from animator.portrait import PortraitPictures

BATCH = 16  # frames drawn at once


class Preview:
    """The GAN head with one portrait in it.

    Args:
        head: the GAN head.
        encoder: the motion encoder, which fuses latents and f_rts.
        pictures: the portrait.
        side: of portrait and result, in pixels.
        device: where both networks are.
    """

    @torch.no_grad()
    def __init__(
        self, head: GanHead, encoder: MotionEncoder, pictures: PortraitPictures, side: int, device: torch.device
    ) -> None:
        self._head, self._encoder, self._device = head, encoder, device
        image = from_uint8(resize(pictures.image, (side, side))[None], device).to(head.dtype)
        self._appearance = head.appearance(image, torch.tensor([pictures.box], device=device))
        self._own = own_motion(encoder, pictures.face, device).to(head.dtype)

    @torch.no_grad()
    def draw(self, latents: Tensor, boxes: Tensor) -> NDArray[np.uint8]:
        """Draw a few frames at once.

        Args:
            latents, boxes: (n, 512) and (n, 3), as in a MotionClip of this encoder.
        Returns:
            uint8 (n, side, side, 3).
        """
        count, head, device = len(latents), self._head, self._device
        tokens = motion_tokens(self._encoder, latents, boxes, device).to(head.dtype)
        own = self._own.expand(count, -1, -1)
        return to_uint8(head.generate(self._appearance.expand(count), tokens, own, boxes.to(device)).image)


def draw_frames(preview: Preview, motion: MotionClip, progress: Callable[[int], object]) -> Iterator[NDArray[np.uint8]]:
    """Draw a clip.

    Args:
        preview: the renderer, with the portrait.
        motion: T frames.
        progress: called with the number of frames just done.
    Yields:
        uint8 (n, side, side, 3), T frames in all.
    """
    for first in range(0, len(motion), BATCH):
        part = motion[first : first + BATCH]
        yield preview.draw(part.latents, part.boxes)
        progress(len(part))
