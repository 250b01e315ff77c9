"""Checkpoint files as other projects leave them: opened without running code, mapped from disk, refused in one line."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from animator.asset_manifest import WEIGHT_NAMES
from animator.downloads import what_it_is_instead
from animator.errors import XNeMoError

_ZIP = b"PK\x03\x04"
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
_AGAIN = "download it again"


def read_state(path: Path, remedy: str = _AGAIN, training: bool = False) -> dict[str, Tensor]:
    """Open a checkpoint; its tensors stay on disk until they are read.

    Args:
        path: `.safetensors`, or what `torch.save` wrote (`.pth`, `.bin`, `.ckpt`), which is read as data only.
        remedy: what to do about a file that is none, for the message.
        training: take a checkpoint that a training script left: of a dict with `state_dict` what is in that, and
            nothing that is no tensor, such as the number of the step.
    Returns:
        Key -> tensor.
    Raises:
        XNeMoError: no such file, not a checkpoint, damaged, or holding anything but tensors under names.
    """
    if not path.is_file():
        raise XNeMoError(f"{path}: not found; {remedy}")
    instead = what_it_is_instead(path)
    if instead is not None:
        raise XNeMoError(f"{path}: {instead}; {remedy}")
    if path.suffix == ".safetensors":
        return _read_safetensors(path, remedy)
    loaded = _read_pickle(path, remedy)
    return _only_tensors(path, _without_wrapping(loaded) if training else loaded)


def read_head(
    path: Path, kept: Callable[[str], bool] = lambda key: False, remedy: str = _AGAIN, training: bool = False
) -> dict[str, Tensor]:
    """Look at a checkpoint's names, shapes and number formats.

    Args:
        path, remedy, training: as for `read_state`.
        kept: says of which keys the values are wanted too; they are small.
    Returns:
        Key -> tensor without values (on the meta device), but for those that are kept.
    Raises:
        XNeMoError: as for `read_state`.
    """
    state = read_state(path, remedy, training)
    return {key: value.clone() if kept(key) else value.to("meta") for key, value in state.items()}


def _read_safetensors(path: Path, remedy: str) -> dict[str, Tensor]:
    try:
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, no dict
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error, remedy) from error


def _read_pickle(path: Path, remedy: str) -> Any:
    with open(path, "rb") as file:
        # Files of torch before 1.6 are no archives and cannot be mapped.
        mapped = file.read(len(_ZIP)) == _ZIP
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        if refused := _GLOBAL.search(str(error)):
            raise XNeMoError(
                f"{path}: holds more than tensors ({refused[1]}); opening such a file can run code, so it is refused; "
                "take a file with a plain state dict, or its .safetensors"
            ) from error
        raise _damaged(path, error, remedy) from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle fails in as many ways as there are bytes
        raise _damaged(path, error, remedy) from error


def _damaged(path: Path, error: Exception, remedy: str) -> XNeMoError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0].split(". ")[0][:120] if lines else type(error).__name__
    if isinstance(error, pickle.UnpicklingError):
        reason = "no checkpoint of torch"
    return XNeMoError(f"{path}: cut short or damaged at {path.stat().st_size:,} bytes ({reason}); {remedy}")


def _without_wrapping(loaded: Any) -> Any:
    inner = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    return (
        {key: value for key, value in inner.items() if isinstance(value, Tensor)} if isinstance(inner, dict) else inner
    )


def _only_tensors(path: Path, loaded: Any) -> dict[str, Tensor]:
    if not isinstance(loaded, dict):
        raise XNeMoError(f"{path}: holds a {type(loaded).__name__} and no tensors under names; save a plain state dict")
    others = [str(key) for key, value in loaded.items() if not isinstance(value, Tensor) or not isinstance(key, str)]
    if others:
        raise XNeMoError(
            f"{path}: holds {few(others)} beside or around its tensors; save the state dict alone, without what is "
            "around it"
        )
    if not loaded:
        raise XNeMoError(f"{path}: holds no tensors")
    return loaded


def find_weights(folder: Path, library: str) -> list[Path]:
    """Files of a network's weights in its folder; several if they are in parts, none if there are none.

    What is recognised as a failed download is taken only where nothing else is.

    Args:
        folder: the network's folder.
        library: "diffusers" or "transformers", which name them differently.
    Raises:
        XNeMoError: the list of parts is damaged.
    """
    damaged: list[Path] = []
    for name in WEIGHT_NAMES[library]:
        path = folder / name
        if path.is_file():
            if what_it_is_instead(path) is None:
                return [path]
            damaged.append(path)
        index = folder / f"{name}.index.json"
        if index.is_file():
            parts = read_json(index).get("weight_map")
            if not isinstance(parts, dict) or not parts:
                raise XNeMoError(f"{index}: names no files; {_AGAIN}")
            return [folder / part for part in _plain_names(index, parts.values())]
    return damaged[:1]


def _plain_names(index: Path, parts: Iterable[Any]) -> list[str]:
    """Names of files in the folder of the list of parts; a path to elsewhere is refused."""
    names = sorted({str(part) for part in parts})
    others = [name for name in names if name in ("", "..") or "\\" in name or Path(name).name != name]
    if others:
        raise XNeMoError(f"{index}: names {few(others)}, which are no files of its folder; {_AGAIN}")
    return names


def read_json(path: Path, remedy: str = _AGAIN) -> dict[str, Any]:
    """Read a JSON object, such as a configuration.

    Raises:
        XNeMoError: no such file, or no JSON object in it.
    """
    if not path.is_file():
        raise XNeMoError(f"{path}: not found; {remedy}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise XNeMoError(f"{path}: cannot be read as JSON ({error}); {remedy}") from error
    if not isinstance(value, dict):
        raise XNeMoError(f"{path}: holds no JSON object; {remedy}")
    return value


def few(names: Iterable[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
