"""The networks of X-NeMo, and the bundle in which they travel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffusers import DDIMScheduler

    from animator.controls.control import Control
    from animator.models.autoencoder import Autoencoder
    from animator.models.discriminator import Discriminator
    from animator.models.gan_head import GanHead
    from animator.models.motion_encoder import MotionEncoder
    from animator.models.motion_unet import MotionUNet
    from animator.models.reference_net import ReferenceNet


@dataclass(frozen=True)
class AnimatorModels:
    """All networks of one animator.

    `vae` is None where no autoencoder has been trained, `control` where the motion enters by motion tokens.
    """

    motion_encoder: MotionEncoder
    gan_head: GanHead
    discriminator: Discriminator
    reference_net: ReferenceNet
    unet: MotionUNet
    vae: Autoencoder | None
    scheduler: DDIMScheduler
    control: Control | None = None
