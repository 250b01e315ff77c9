"""What the renderers are conditioned on, made from pictures: motion latents and tokens, the portrait's image token.

Pictures are uint8 (N, height, width, 3); results are on the device that is named.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection
from transformers.image_processing_utils import BaseImageProcessor

from animator.models.motion_encoder import MotionEncoder
from animator.pixels import from_uint8

IN_PLACE = (0.0, 0.0, 1.0)  # f_rts of a head that is where, and as large as, the portrait's


def encode_faces(encoder: MotionEncoder, crops: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Face crops of the encoder's size, uint8 (N, S, S, 3) -> motion latents, (N, 512)."""
    # With the channels next to each other convolutions and pooling take a fifth less time on a CPU.
    pictures = from_uint8(crops, device).to(encoder.dtype).contiguous(memory_format=torch.channels_last)
    return encoder.encode(pictures)


def motion_tokens(encoder: MotionEncoder, latents: Tensor, boxes: Tensor, device: torch.device) -> Tensor:
    """Motion latents (N, 512) and f_rts triplets (N, 3), in the order dx, dy, s -> motion tokens, (N, L, D)."""
    return encoder.fuse(latents.to(device, encoder.dtype), boxes.to(device, encoder.dtype))


def own_motion(encoder: MotionEncoder, face: NDArray[np.uint8], device: torch.device) -> Tensor:
    """The portrait's own motion: its face crop, uint8 (S, S, 3) -> tokens, (1, L, D)."""
    return motion_tokens(encoder, encode_faces(encoder, face[None], device), torch.tensor([IN_PLACE]), device)


def image_token(
    encoder: CLIPVisionModelWithProjection,
    extractor: BaseImageProcessor,
    image: NDArray[np.uint8],
    device: torch.device,
) -> Tensor:
    """CLIP's projected embedding of a portrait, not normalised, as one token, (1, 1, D).

    The picture, uint8 (height, width, 3), is first squeezed to CLIP's square (bicubic), as the release does, so that
    nothing of an oblong one is cut off.
    """
    side = encoder.config.image_size
    squeezed = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    pixels = extractor(squeezed, return_tensors="pt").pixel_values
    return encoder(pixels.to(device, encoder.dtype)).image_embeds[:, None]
