"""This project's folder -> the four files of the release, as the official code loads them.

A folder that was converted from the release gives back the same keys, number formats and bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import ModelMixin
from torch import Tensor
from tqdm import tqdm

from animator.asset_manifest import DENOISING, ENCODER, REFERENCE, TEMPORAL
from animator.convert.checkpoints import few, find_weights, read_json, read_state
from animator.convert.checks import check_complete, check_entries
from animator.convert.components import built
from animator.convert.expected import (
    Expected,
    expected_as_is,
    expected_denoiser,
    expected_motion_encoder,
    expected_reference_net,
)
from animator.convert.record import LAYOUT, read_layout
from animator.convert.release import check_space
from animator.convert.shards import Network, Part, in_format
from animator.errors import XNeMoError
from animator.files import atomic_folder
from animator.models.motion_encoder import MotionEncoder
from animator.models.motion_unet import MotionUNet
from animator.models.reference_net import ReferenceNet

_REMEDY = "convert or train it again"


@dataclass(frozen=True)
class _Holder:
    """One of our networks as the release knows it.

    Attributes:
        name: its folder.
        folder: where that is.
        released: the entries of the released files.
        head: its own entries, without values.
    """

    name: str
    folder: Path
    released: Expected
    head: dict[str, Tensor]

    @classmethod
    def read(cls, root: Path, name: str, kind: type[ModelMixin], expected: Callable[..., Expected]) -> _Holder:
        """Look at a network's folder and check its weights."""
        folder = root / name
        if not folder.is_dir():
            raise XNeMoError(f"{root}: has no {name}; name a folder with motion_encoder, reference_net and unet")
        settings = read_json(folder / "config.json", _REMEDY)
        with torch.device("meta"):
            net = built(folder, lambda: kind.from_config(settings), _REMEDY)
        ours = expected_as_is(f"this {name}", net)
        head: dict[str, Tensor] = {}
        for path in find_weights(folder, "diffusers"):
            state = read_state(path, _REMEDY)
            check_entries(path, state, ours, _REMEDY)
            head |= {key: value.to("meta") for key, value in state.items()}
        check_complete(str(folder), head, ours, _REMEDY)
        return cls(name, folder, expected(net), head)

    def tensors(self, keys: list[str], extras: dict[str, Tensor]) -> dict[str, Tensor]:
        """Entries of a released file, mapped from disk, in the order of `keys`."""
        state: dict[str, Tensor] = {}
        for path in find_weights(self.folder, "diffusers"):
            state |= read_state(path, _REMEDY)
        return {key: self._tensor(key, state, extras) for key in keys}

    def bytes_in(self, keys: list[str], extras: dict[str, Tensor], dtype: torch.dtype | None) -> int:
        """Size of a released file's entries when written."""
        part = Part.in_memory({key: self._tensor(key, self.head, extras) for key in keys})
        return Network(self.name, "diffusers", [part]).bytes_in(dtype)

    def _tensor(self, key: str, state: dict[str, Tensor], extras: dict[str, Tensor]) -> Tensor:
        if key in extras:
            return extras[key]
        ours = self.released.ours.get(key)
        return self.released.tables[key] if ours is None else state[ours]


def convert_to_release(source: Path, target: Path, dtype: torch.dtype | None = None) -> list[Path]:
    """Write the four released files.

    Args:
        source: a folder of this project with motion encoder, reference net and denoiser.
        target: the folder to make.
        dtype: number format to write; None keeps each entry's own.
    Returns:
        The files.
    Raises:
        XNeMoError: a network or the list of released keys is missing or damaged, or the folder cannot be written.
    """
    holders = {
        ENCODER: _Holder.read(source, "motion_encoder", MotionEncoder, expected_motion_encoder),
        REFERENCE: _Holder.read(source, "reference_net", ReferenceNet, expected_reference_net),
        DENOISING: _Holder.read(source, "unet", MotionUNet, expected_denoiser),
    }
    holders[TEMPORAL] = holders[DENOISING]
    stored, extras = read_layout(source)
    if stored is None:
        layout = {name: _default_keys(name, holder.released) for name, holder in holders.items()}
    else:
        _check_layout(source / LAYOUT, stored, holders)
        layout = _completed(stored, holders)
    size = sum(holder.bytes_in(layout[name], extras, dtype) for name, holder in holders.items())
    with atomic_folder(target) as folder:
        check_space(target, folder, size)
        for name, holder in tqdm(holders.items(), desc="writing", unit="file"):
            # One file at a time: each maps what it needs and lets go of it.
            tensors = holder.tensors(layout[name], extras)
            _save({key: in_format(value, dtype) for key, value in tensors.items()}, folder / name)
    return [target / name for name in holders]


def _check_layout(path: Path, layout: dict[str, list[str]], holders: dict[str, _Holder]) -> None:
    """Demand that a stored layout lists every file, and nothing that the files cannot have."""
    problems = [f"no list of keys for {name}" for name in holders if not isinstance(layout.get(name), list)]
    problems += [f"no such file as {name}" for name in layout if name not in holders]
    if not problems:
        problems = [
            f"no such key as {key} in {name}"
            for name, holder in holders.items()
            for key in layout[name]
            if not isinstance(key, str) or key not in holder.released.shapes
        ]
    if problems:
        raise XNeMoError(
            f"{path}: damaged: {few(problems)}; convert the release again, or remove this file to write every key"
        )


def _completed(layout: dict[str, list[str]], holders: dict[str, _Holder]) -> dict[str, list[str]]:
    """Add the keys that no released file had and the base UNet gave; the official code wants every one."""
    held = {key for name in (DENOISING, TEMPORAL) for key in layout[name]}
    completed = {}
    for name, holder in holders.items():
        has = held if name in (DENOISING, TEMPORAL) else set(layout[name])
        required = set(holder.released.required)
        added = [key for key in _default_keys(name, holder.released) if key in required and key not in has]
        completed[name] = [*layout[name], *added]
    return completed


def _default_keys(name: str, released: Expected) -> list[str]:
    """Keys of a file where no release says it: temporal modules in their own, everything else in the other."""
    if name not in (DENOISING, TEMPORAL):
        return list(released.shapes)
    return [key for key in released.shapes if (".temporal_modules." in key) == (name == TEMPORAL)]


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        torch.save(tensors, path)
    except RuntimeError as error:  # what it makes of a full disk
        raise OSError(" ".join(str(error).split())[:150]) from error
