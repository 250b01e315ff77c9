"""A Stable Diffusion folder -> networks that training starts from.

The reference net and the spatial layers of the denoiser are the base UNet's, as in the paper. Motion attention is
fresh, and so are the temporal modules unless an AnimateDiff checkpoint gives them. Fresh modules end in projections
that are zero, so that the denoiser begins as the base UNet, frame by frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor

from animator.convert.checkpoints import few, read_head, read_state
from animator.convert.checks import check_complete, check_entries, is_wrong_table
from animator.convert.components import Component, base_unet_file, check_base_config, check_fit, read_autoencoder
from animator.convert.expected import (
    Expected,
    Skeletons,
    build_skeletons,
    expected_denoiser,
    expected_reference_net,
    temporal_positions,
)
from animator.convert.release import DEFAULT_SHARD_BYTES, check_space, write_networks
from animator.convert.release_files import BaseUnet, is_spatial
from animator.convert.shards import Network, Part
from animator.errors import XNeMoError
from animator.files import atomic_folder
from animator.model_config import AnimatorConfig
from animator.models.attention import MotionSlot, Shared
from animator.models.motion_unet import MotionUNet
from animator.release_keys import animatediff_key

_REMEDY = "fetch it again"
_TABLE = ".pos_embed.pe"


@dataclass(frozen=True)
class Base:
    """What a conversion of a base model did.

    Attributes:
        folder: the new folder.
        networks: sub-folders that were written.
        temporal: how many of the denoiser's motion slots have temporal modules from AnimateDiff.
        slots: how many motion slots it has.
        temporal_autoencoder: whether the autoencoder decodes neighbouring frames together; None without one.
    """

    folder: Path
    networks: list[str]
    temporal: int
    slots: int
    temporal_autoencoder: bool | None


def convert_base(
    source: Path,
    target: Path,
    config: AnimatorConfig,
    motion_module: Path | None = None,
    vae: Path | None = None,
    dtype: torch.dtype | None = None,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    seed: int = 0,
) -> Base:
    """Convert a base model into a folder for `start_from=`.

    Args:
        source: a diffusers folder of Stable Diffusion 1.x or of its image variations.
        target: the folder to make.
        config: the architecture.
        motion_module: AnimateDiff's motion modules, its own file or diffusers' motion adapter.
        vae: folder of the autoencoder; None takes the base model's, if it has one.
        dtype: number format to write; None keeps each entry's own, and writes what is fresh in float32.
        shard_bytes: largest size of a file of weights.
        seed: of the fresh weights.
    Raises:
        XNeMoError: a file is missing, damaged or of another architecture, or the folder cannot be written.
    """
    if not source.is_dir():
        raise XNeMoError(f"{source}: no such folder; name a diffusers folder of Stable Diffusion 1.x")
    skeletons = build_skeletons(config)
    denoiser = expected_denoiser(skeletons.unet)
    path = base_unet_file(source / "unet", "name a diffusers folder of Stable Diffusion 1.x")
    check_base_config(source / "unet", config.reference_net)
    base = BaseUnet.read(path, denoiser, _REMEDY)
    autoencoder = _autoencoder(source, vae)
    if autoencoder is not None:
        check_fit(config, autoencoder, None)
    borrowed = None if motion_module is None else _motion_modules(motion_module, skeletons.unet)

    given = set() if borrowed is None else set(borrowed.names)
    parts = [base.part(key for key in base.head if is_spatial(key)), *_fresh_slots(skeletons.unet, given, seed)]
    networks = [
        Network("reference_net", "diffusers", [base.part(expected_reference_net(skeletons.reference_net).shapes)]),
        Network("unet", "diffusers", parts if borrowed is None else [*parts, borrowed]),
    ]
    if autoencoder is not None:
        networks.append(autoencoder.network)
    with atomic_folder(target) as folder:
        check_space(target, folder, sum(network.bytes_in(dtype) for network in networks))
        _write_configs(folder, skeletons, autoencoder)
        write_networks(networks, folder, dtype, shard_bytes)
    slots = _slots(skeletons.unet)
    return Base(
        target,
        [network.folder for network in networks],
        sum(any(key.startswith(f"{slot}.") for key in given) for slot in slots),
        len(slots),
        None if autoencoder is None else isinstance(autoencoder.net, AutoencoderKLTemporalDecoder),
    )


def _autoencoder(source: Path, vae: Path | None) -> Component | None:
    """The autoencoder that was named, or the base model's own, or none."""
    if vae is None and not (source / "vae").is_dir():
        return None
    return read_autoencoder(vae or source / "vae", _REMEDY)


def _slots(unet: MotionUNet) -> dict[str, MotionSlot]:
    """Path -> motion slot."""
    return {path: module for path, module in unet.named_modules() if isinstance(module, MotionSlot)}


def _fresh_slots(unet: MotionUNet, given: set[str], seed: int) -> list[Part]:
    """One part for each slot, with everything that is not given; a slot is built when it is written."""
    slots = _slots(unet)
    parts = []
    for number, (path, slot) in enumerate(slots.items()):
        names = {f"{path}.{key}": key for key in slot.state_dict() if f"{path}.{key}" not in given}

        def build(slot: MotionSlot = slot, number: int = number) -> dict[str, Tensor]:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed * len(slots) + number)
                config = unet.config
                fresh = MotionSlot(slot, config.norm_num_groups, config.motion_token_dim, config.max_frames, Shared())
            return fresh.state_dict()

        parts.append(Part.of(names, slot.state_dict(), build, mapped=False))
    return parts


def _motion_modules(path: Path, unet: MotionUNet) -> Part:
    """Check an AnimateDiff checkpoint; its position tables are only compared, because ours may be longer."""
    shapes = {
        key: tuple(value.shape)
        for key, value in unet.state_dict().items()
        if ".motion_modules." in key and ".motion_attention." not in key
    }
    head = read_head(path, lambda key: key.endswith(".pe"), _REMEDY, training=True)
    names = {key: animatediff_key(key) for key in head}
    tables = {key: head[key] for key, ours in names.items() if ours in shapes and ours.endswith(_TABLE)}
    _check_tables(path, tables)
    weights = {key: value for key, value in head.items() if key not in tables}
    known = {key: shapes[names[key]] for key in weights if names[key] in shapes}
    check_entries(path, weights, Expected("the temporal modules", known, names), _REMEDY)
    held = {names[key] for key in known}
    # Version 2 has modules in the middle block, the others have not; but a module that is there is whole.
    begun = {_slot_of(key) for key in held}
    whole = {key: shape for key, shape in shapes.items() if _slot_of(key) in begun and not key.endswith(_TABLE)}
    check_complete(str(path), held, Expected("its temporal modules", whole, {}), _REMEDY)
    return Part.of({names[key]: key for key in known}, head, lambda: read_state(path, _REMEDY, training=True))


def _slot_of(key: str) -> str:
    """Path of the slot that one of our keys belongs to: everything up to the number after `motion_modules`."""
    before, _, after = key.partition(".motion_modules.")
    return f"{before}.{after.partition('.')[0]}"


def _check_tables(path: Path, tables: dict[str, Tensor]) -> None:
    wrong = []
    for key, stored in tables.items():
        if stored.dim() != 3 or is_wrong_table(stored, temporal_positions(*stored.shape[1:])):
            wrong.append(key)
    if wrong:
        raise XNeMoError(f"{path}: other position tables than AnimateDiff's, which this model shares: {few(wrong)}")


def _write_configs(folder: Path, skeletons: Skeletons, autoencoder: Component | None) -> None:
    skeletons.reference_net.save_config(folder / "reference_net")
    skeletons.unet.save_config(folder / "unet")
    if autoencoder is not None:
        autoencoder.net.save_config(folder / "vae")
