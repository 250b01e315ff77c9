"""What the tokenizer sees of a frame: 515 numbers, of which 512 are the motion latent and 3 place the head.

The head's placement (f_rts) goes through the same tokens as the latent. Two streams would have to be kept in step by
everyone who generates, and a generator has to invent both: where a head nods, its box moves too, and a token that says
"nod" should say it once. The price is that placement shares the tokens' few bits, so its three channels have a loss
weight of their own in training. Size enters as its logarithm: half and twice as large are equally far, and whatever
the network says is a size above 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from animator.motion_clip import BOX_DIM, LATENT_DIM

FEATURES = LATENT_DIM + BOX_DIM
LATENTS = slice(0, LATENT_DIM)
BOXES = slice(LATENT_DIM, FEATURES)

# Far outside of what heads do, and inside what float32 holds.
_LARGEST_LOG_SIZE = 20.0


def to_features(latents: Tensor, boxes: Tensor) -> Tensor:
    """Join latents (..., 512) and f_rts triplets (..., 3), sizes above 0, to features (..., 515)."""
    return torch.cat([latents, boxes[..., :2], boxes[..., 2:].log()], dim=-1)


def from_features(features: Tensor) -> tuple[Tensor, Tensor]:
    """Take features (..., 515) apart again: latents (..., 512) and f_rts triplets (..., 3), sizes above 0."""
    latents, boxes = features[..., LATENTS], features[..., BOXES]
    size = boxes[..., 2:].clamp(-_LARGEST_LOG_SIZE, _LARGEST_LOG_SIZE).exp()
    return latents, torch.cat([boxes[..., :2], size], dim=-1)
