"""The instant renderer: each frame drawn at once by the GAN head (X-NeMo appendix A), no frame knowing another."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from animator.conditions import motion_tokens, own_motion
from animator.image import resize
from animator.models.gan_head import GanHead
from animator.models.motion_encoder import MotionEncoder
from animator.motion_clip import MotionClip
from animator.pixels import from_uint8, to_uint8
from animator.portrait import PortraitPictures

BATCH = 16  # frames drawn at once


def draw_frames(
    head: GanHead,
    encoder: MotionEncoder,
    pictures: PortraitPictures,
    motion: MotionClip,
    side: int,
    device: torch.device,
    progress: Callable[[int], object],
) -> Iterator[NDArray[np.uint8]]:
    """Draw a clip.

    Args:
        head: the GAN head.
        encoder: the motion encoder, which fuses latents and f_rts.
        pictures: the portrait.
        motion: T frames.
        side: of portrait and result, in pixels.
        device: where both networks are.
        progress: called with the number of frames just done.
    Yields:
        uint8 (n, side, side, 3), T frames in all.
    """
    image = from_uint8(resize(pictures.image, (side, side))[None], device).to(head.dtype)
    appearance = head.appearance(image, torch.tensor([pictures.box], device=device))
    own = own_motion(encoder, pictures.face, device).to(head.dtype)
    for first in range(0, len(motion), BATCH):
        part = motion[first : first + BATCH]
        tokens = motion_tokens(encoder, part.latents, part.boxes, device).to(head.dtype)
        count = len(part)
        drawn = head.generate(appearance.expand(count), tokens, own.expand(count, -1, -1), part.boxes.to(device))
        yield to_uint8(drawn.image)
        progress(count)
