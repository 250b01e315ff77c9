"""Finished and half-finished weights: folders in which each network has its own sub-folder, as diffusers keeps them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from diffusers import ModelMixin
from transformers import CLIPVisionModelWithProjection

from animator.builders import assemble_pipeline
from animator.errors import XNeMoError
from animator.files import replaced_folder
from animator.model_config import AnimatorConfig
from animator.models import AnimatorModels

NETWORKS = ("motion_encoder", "gan_head", "reference_net", "unet", "control", "vae")
MEASURED = ("scaling_factor", "shift_factor")
DIFFUSION = ("reference_net", "unet", "vae")


def load_networks(models: AnimatorModels, folder: Path) -> set[str]:
    """Load into `models` every network that `folder` has a sub-folder for.

    Returns:
        Names of the networks that were loaded.
    Raises:
        XNeMoError: there is none, or one has another architecture than `models`.
    """
    loaded = set()
    for name in NETWORKS:
        network: ModelMixin | None = getattr(models, name)
        if network is None or not (folder / name / "config.json").is_file():
            continue
        try:
            stored = type(network).from_pretrained(folder / name)
            network.load_state_dict(stored.state_dict())
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise XNeMoError(
                f"{folder / name}: does not fit this architecture; choose animator= as it was trained ({reason})"
            ) from error
        # Measured in training, so no part of the architecture: what latents are multiplied by and shifted.
        network.register_to_config(**{key: stored.config[key] for key in MEASURED if key in stored.config})
        loaded.add(name)
    if not loaded:
        raise XNeMoError(f"{folder}: no weights here; it has none of the folders {', '.join(NETWORKS)}")
    return loaded


def save_pipeline(
    models: AnimatorModels,
    config: AnimatorConfig,
    trained: set[str],
    folder: Path,
    image_encoder: CLIPVisionModelWithProjection | None = None,
) -> Path:
    """Write what `weights=` takes, in half precision; networks that were never trained are left out.

    Trained parts of a diffusion model that is not whole yet lie beside the others, for the next stage's `start_from`.

    Args:
        models: the networks, which are back in single precision afterwards.
        config: of their architecture.
        trained: names of the networks that have been trained, in this run or before.
        folder: replaced when all is written.
        image_encoder: CLIP's vision tower, where the diffusion model reads it.
    """
    whole, left = models, trained & set(DIFFUSION)
    if left == set(DIFFUSION):
        left = set()
    else:
        models = dataclasses.replace(models, vae=None)
    pipeline = assemble_pipeline(models, config, image_encoder if models.vae is not None else None)
    if "gan_head" not in trained:
        pipeline.register_modules(gan_head=None)
        pipeline.register_to_config(default_renderer="diffusion")
    with replaced_folder(folder) as partial:
        pipeline.to(torch.float16).save_pretrained(partial)
        _save_halved(whole, left, partial)
    pipeline.to(torch.float32)
    return folder


def save_networks(
    models: AnimatorModels,
    trained: set[str],
    folder: Path,
    image_encoder: CLIPVisionModelWithProjection | None = None,
) -> Path:
    """Write what `start_from=` takes, in half precision: the trained networks, without a pipeline around them.

    Args: as `save_pipeline`.
    """
    with replaced_folder(folder) as partial:
        _save_halved(models, trained, partial)
        if image_encoder is not None:
            image_encoder.save_pretrained(partial / "image_encoder")
    return folder


def _save_halved(models: AnimatorModels, names: set[str], folder: Path) -> None:
    for name in sorted(names):
        getattr(models, name).to(torch.float16).save_pretrained(folder / name)
        getattr(models, name).to(torch.float32)
