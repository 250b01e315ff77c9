"""Quick pictures through the GAN head: single frames, rows of them, and moving pictures, on 2 cores in a moment."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apps.viewer import networks

if TYPE_CHECKING:
    from animator.motion_clip import MotionClip
    from apps.viewer.session import Session
    from apps.viewer.takes import Take

Pictures = NDArray[np.uint8]

BATCH = 4  # frames drawn at once; more are no faster on two cores
MOVING_FPS = 12.5
MOVING_SIDE = 192  # pixels


def portrait_of(session: Session, take: Take | None) -> Path:
    """The picture that a take is drawn with: the one that was uploaded last, else the take's own, else the viewer's."""
    if session.portrait is not None:
        return session.portrait
    if take is not None and take.portrait is not None:
        return take.portrait
    return networks.default_portrait()


def draw(portrait: Path, motion: MotionClip, frames: Sequence[int]) -> Pictures:
    """Draw some frames of a clip.

    Args:
        portrait: a picture with a face.
        motion: the clip.
        frames: their numbers, in any order; one beyond the clip shows its last.
    Returns:
        uint8 (n, side, side, 3).
    Raises:
        XNeMoError: no face in the picture, or weights without a GAN head.
    """
    preview = networks.preview(portrait)
    chosen = [min(max(frame, 0), len(motion) - 1) for frame in frames]
    drawn = [
        preview.draw(motion.latents[chosen[first : first + BATCH]], motion.boxes[chosen[first : first + BATCH]])
        for first in range(0, len(chosen), BATCH)
    ]
    return np.concatenate(drawn)


def evenly(length: int, count: int) -> list[int]:
    """At most `count` frames of a clip, evenly spread, its first and last among them."""
    return sorted({round(place) for place in np.linspace(0, length - 1, min(count, length))})


def moving(portrait: Path, motion: MotionClip) -> bytes:
    """A clip as an animated WebP that goes on for ever: small, at half of the frame rate.

    Raises:
        XNeMoError: as of `draw`.
    """
    step = max(1, round(motion.fps / MOVING_FPS))
    drawn = draw(portrait, motion, range(0, len(motion), step))
    side = min(MOVING_SIDE, drawn.shape[1])
    images = [Image.fromarray(frame).resize((side, side), Image.Resampling.BOX) for frame in drawn]
    target = io.BytesIO()
    images[0].save(
        target,
        format="WEBP",
        save_all=True,
        append_images=images[1:],
        duration=round(1000 * step / motion.fps),
        loop=0,
        quality=70,
        method=0,
    )
    return target.getvalue()
