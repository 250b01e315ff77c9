"""Latents of all pictures of a crops folder, so that training need not encode them at every step.

`DST/latents.npy` (N, 2, channels, h, w), float16, has one row for each of `frames.npy`: what
`animator.models.autoencoder.encode_images` gives, scaled, of the picture and of its mirror image (which is not the
mirrored latent: convolutions have a left and a right). `latents.json`, written last, says of which pictures and which
autoencoder they are.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder
from torch import Tensor
from tqdm import tqdm

from animator.builders import resolve_device
from animator.errors import XNeMoError
from animator.files import atomic_path
from animator.models.autoencoder import Autoencoder, autoencoder_id, downsampling, encode_images
from animator.models.patch_autoencoder import PatchAutoencoder
from animator.training.crops import LATENTS, LATENTS_ABOUT, LATENTS_SCHEMA, FaceCrops

BATCH = 8  # pictures
# What is encoded so far, without a header, and of what; a run that was stopped goes on behind it.
_UNFINISHED, _UNFINISHED_ABOUT = ".latents.partial", ".latents.partial.json"
_CLASSES = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderKLTemporalDecoder, PatchAutoencoder)}


def cache_latents(folder: Path, autoencoder: Path, device: str, mixed_precision: str = "no") -> None:
    """Encode all pictures of a crops folder; those that are encoded already, by this autoencoder, are left.

    Args:
        folder: the crops folder.
        autoencoder: a folder of diffusers' with an autoencoder, or weights that have one in `vae`.
        device: where to compute, as in `animator.config.RuntimeConfig`.
        mixed_precision: format of large matrix products, "no" or "bf16"; the latents are of one format throughout.
    Raises:
        XNeMoError: there is no autoencoder, the pictures' side does not go with it, or the disk is full.
    """
    crops = FaceCrops.open(folder)
    vae = load_autoencoder(autoencoder).to(resolve_device(device))
    side = crops.frames.shape[1]
    if side % downsampling(vae):
        raise XNeMoError(
            f"image_size={side}: the autoencoder in {autoencoder} takes multiples of {downsampling(vae)}; prepare with "
            "another image_size"
        )
    cells = side // downsampling(vae)
    shape = (len(crops.frames), 2, int(vae.config.latent_channels), cells, cells)
    about = json.dumps(
        {
            "schema": LATENTS_SCHEMA,
            "autoencoder": autoencoder_id(vae),
            "clips": crops.digest(),
            "shape": shape,
            "mixed_precision": mixed_precision,
        },
        indent=1,
    )
    if (folder / LATENTS).is_file() and _text(folder / LATENTS_ABOUT) == about:
        return
    (folder / LATENTS_ABOUT).unlink(missing_ok=True)
    with torch.autocast(vae.device.type, torch.bfloat16, enabled=mixed_precision == "bf16"):
        partial = _encode(crops, vae, folder, shape, about)
    with atomic_path(folder / LATENTS) as temporary:
        _with_header(partial, temporary, shape)
    with atomic_path(folder / LATENTS_ABOUT) as temporary:
        temporary.write_text(about)
    partial.unlink()
    (folder / _UNFINISHED_ABOUT).unlink()


def load_autoencoder(folder: Path) -> Autoencoder:
    """Load an autoencoder of diffusers'.

    Raises:
        XNeMoError: there is none, or it is of another kind or damaged.
    """
    place = folder / "vae" if (folder / "vae" / "config.json").is_file() else folder
    try:
        kind = json.loads((place / "config.json").read_text())["_class_name"]
        return _CLASSES[kind].from_pretrained(place, local_files_only=True).eval().requires_grad_(False)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise XNeMoError(
            f"{place}: no autoencoder that can be loaded ({reason}); name a folder with {' or '.join(_CLASSES)}"
        ) from error


@torch.no_grad()
def _encode(crops: FaceCrops, vae: Autoencoder, folder: Path, shape: tuple[int, ...], about: str) -> Path:
    """Encode what is not yet encoded; gives the file of all rows."""
    partial, row = folder / _UNFINISHED, 2 * int(np.prod(shape[1:]))
    if _text(folder / _UNFINISHED_ABOUT) != about:
        partial.unlink(missing_ok=True)
        with atomic_path(folder / _UNFINISHED_ABOUT) as temporary:
            temporary.write_text(about)
    # Whole batches only: a picture is encoded in the same company whether or not there was an interruption.
    done = partial.stat().st_size // (row * BATCH) * BATCH if partial.is_file() else 0
    done = min(done, len(crops.frames) // BATCH * BATCH)
    try:
        with (
            open(partial, "r+b" if partial.is_file() else "wb") as file,
            tqdm(total=len(crops.frames), initial=done, unit="frame", desc="latents") as bar,
        ):
            file.truncate(done * row)
            file.seek(done * row)
            for first in range(done, len(crops.frames), BATCH):
                rows = torch.arange(first, min(first + BATCH, len(crops.frames)))
                images = crops.images(rows).to(vae.device)
                latents: Tensor = torch.stack([encode_images(vae, x) for x in (images, images.flip(-1))], dim=1)
                file.write(np.ascontiguousarray(latents.cpu().to(torch.float16).numpy()).data)
                bar.update(len(rows))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise XNeMoError(f"{folder / LATENTS}: cannot be written: {error.strerror or error}") from error
    return partial


def _with_header(rows: Path, target: Path, shape: tuple[int, ...]) -> None:
    """Write a .npy file of rows that are there without a header."""
    with open(rows, "rb") as source, open(target, "wb") as file:
        header: dict[str, Any] = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        while piece := source.read(2**24):
            file.write(piece)


def _text(path: Path) -> str | None:
    return path.read_text() if path.is_file() else None
