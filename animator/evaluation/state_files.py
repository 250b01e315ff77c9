"""Weights that a user brings for measuring: safetensors, or a PyTorch state dict that is never unpickled as objects."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from animator.errors import XNeMoError


def read_state(path: Path, what: str) -> dict[str, Tensor]:
    """Read a network's weights, whatever wraps them.

    Args:
        path: `.safetensors`, or any other suffix for a file of `torch.save` that holds a state dict. A leading
            "module." of its keys (from DataParallel) is taken off.
        what: what the file should be, in words.
    Raises:
        XNeMoError: it cannot be read, or holds anything but tensors.
    """
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise XNeMoError(f"{path}: not {what} ({' '.join(str(error).split())[:200]})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise XNeMoError(f"{path}: not {what}: it holds no plain state dict")
    return {key.removeprefix("module."): value for key, value in state.items()}


def fill(network: nn.Module, state: dict[str, Tensor], path: Path, what: str) -> None:
    """Load weights into a network and freeze it; every weight of the network must be there, and nothing else.

    Counters of batch normalisation, which evaluation does not read, may be missing.

    Raises:
        XNeMoError: keys or shapes differ; the message names the first.
    """
    try:
        found = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise XNeMoError(f"{path}: not {what} ({' '.join(str(error).split())[:200]})") from error
    missing = [key for key in found.missing_keys if not key.endswith("num_batches_tracked")]
    if missing or found.unexpected_keys:
        raise XNeMoError(
            f"{path}: not {what}: {len(missing)} weights are missing and {len(found.unexpected_keys)} unknown, "
            f"{(missing + found.unexpected_keys)[0]} for one"
        )
    network.requires_grad_(False).eval()
