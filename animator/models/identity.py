"""The id that travels with every motion latent: which encoder made it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from diffusers import ModelMixin
from torch import Tensor

SAMPLES = 16  # values of each tensor that are looked at to tell whether it has changed

_known: WeakKeyDictionary[ModelMixin, tuple[object, str]] = WeakKeyDictionary()


def encoder_id(model: ModelMixin) -> str:
    """Identify a model by its configuration and weights.

    Weights enter rounded to bfloat16, so that a model loaded in bfloat16 keeps the id it has in float32 (its latents
    differ by rounding only and may be mixed). Batch counters and diffusers' own configuration entries do not enter.
    A model that has not changed since the last call is not read again.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    settings = {name: value for name, value in model.config.items() if not name.startswith("_")}
    about = json.dumps([type(model).__name__, settings], sort_keys=True)
    weights = {name: value for name, value in sorted(model.state_dict().items()) if value.is_floating_point()}
    state = (about, _state(weights))
    known = _known.get(model)
    if known is None or known[0] != state:
        known = _known[model] = (state, _digest(about, weights))
    return known[1]


def _digest(about: str, weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(about.encode())
    for name, value in weights.items():
        digest.update(name.encode())
        # numpy knows no bfloat16; the same bits as integers will do.
        digest.update(value.detach().to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().data)
    return digest.hexdigest()[:16]


def _state(weights: Mapping[str, Tensor]) -> object:
    """What differs whenever the weights do: where they lie, how often they were written to, and some of their values.

    The values are for what the counter misses: writing through `.data`, and new weights where old ones lay. Tensors
    made in inference mode have no counter, so they are never the same.
    """
    places: list[Any] = [
        (name, value.data_ptr(), object() if value.is_inference() else value._version)
        for name, value in weights.items()
    ]
    return places, torch.cat([_sample(value) for value in weights.values()]).cpu().numpy().tobytes()


def _sample(weight: Tensor) -> Tensor:
    """Some values of a weight, evenly spaced, float32."""
    flat = weight.detach().reshape(-1)
    return flat[:: max(1, len(flat) // SAMPLES)].float()
