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

RECORD = "_encoder_id"  # entry of the configuration, see `record_id`
SAMPLES = 16  # values of each tensor that are looked at to tell whether it has changed

_known: WeakKeyDictionary[ModelMixin, tuple[object, str]] = WeakKeyDictionary()


def encoder_id(model: ModelMixin) -> str:
    """Identify a model by its configuration and weights.

    Weights enter rounded to bfloat16, so that a model loaded in bfloat16 keeps the id it has in float32 (its latents
    differ by rounding only and may be mixed). Of float16, which rounds otherwise, the configuration tells what it makes
    of the weights if they were saved in float32, see `record_id`. Batch counters, diffusers' own configuration
    entries and those that the model's class names in `not_in_id` do not enter. A model that has not changed since the
    last call is not read again.

    Returns:
        The first 16 hexadecimal digits of a SHA-256.
    """
    about, weights = _about(model), _weights(model)
    record = model.config.get(RECORD)
    state = (about, record, _state(weights))
    known = _known.get(model)
    if known is None or known[0] != state:
        digest = _digest(about, weights)
        if isinstance(record, dict) and record.get("in_float16") == digest:
            digest = str(record["id"])
        known = _known[model] = (state, digest)
    return known[1]


def record_id(model: ModelMixin) -> None:
    """Enter into a model's configuration, which is about to be saved, its id and what float16 would make of it.

    Weights in float32 rounded to float16 and then to bfloat16 are not always what they are when rounded to bfloat16 at
    once. The entry is only believed of weights that come out as it says, so it does no harm when they change later.
    """
    halved = {name: value.to(torch.float16) for name, value in _weights(model).items()}
    name, in_float16 = encoder_id(model), _digest(_about(model), halved)
    if in_float16 != name:
        model.register_to_config(**{RECORD: {"id": name, "in_float16": in_float16}})


def _about(model: ModelMixin) -> str:
    aside = getattr(type(model), "not_in_id", ())
    settings = {name: value for name, value in model.config.items() if not name.startswith("_") and name not in aside}
    return json.dumps([type(model).__name__, settings], sort_keys=True)


def _weights(model: ModelMixin) -> dict[str, Tensor]:
    return {name: value for name, value in sorted(model.state_dict().items()) if value.is_floating_point()}


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
