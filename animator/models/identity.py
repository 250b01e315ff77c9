"""The id that travels with every motion latent: which encoder made it."""

from __future__ import annotations

import hashlib
import json

import torch
from diffusers import ModelMixin


def encoder_id(model: ModelMixin) -> str:
    """Identify a model by its configuration and weights.

    Weights enter rounded to bfloat16, so that a model loaded in bfloat16 keeps the id it has in float32 (its latents
    differ by rounding only and may be mixed). Batch counters and diffusers' own configuration entries do not enter.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    settings = {name: value for name, value in model.config.items() if not name.startswith("_")}
    digest = hashlib.sha256(json.dumps([type(model).__name__, settings], sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        if value.is_floating_point():
            digest.update(name.encode())
            # numpy knows no bfloat16; the same bits as integers will do.
            digest.update(value.detach().to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy())
    return digest.hexdigest()[:16]
