"""The one place that turns settings into objects: networks of a size, a pipeline, the device and format it runs in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder, AutoencoderTiny, DDIMScheduler
from diffusers.utils import logging as diffusers_logging
from safetensors import SafetensorError
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.image_processing_utils import BaseImageProcessor

from animator.config import RuntimeConfig
from animator.config_loader import group_options, load_config
from animator.controls import build_control, control_name
from animator.errors import XNeMoError
from animator.model_config import AnimatorConfig, AutoencoderConfig, SchedulerConfig
from animator.models import AnimatorModels
from animator.models.autoencoder import Autoencoder
from animator.models.discriminator import Discriminator
from animator.models.gan_head import GanHead
from animator.models.motion_encoder import MotionEncoder
from animator.models.motion_unet import MotionUNet
from animator.models.patch_autoencoder import REPAIRED_AT, PatchAutoencoder
from animator.models.reference_net import ReferenceNet
from animator.pipeline import XNeMoPipeline
from animator.placement import compile_blocks, offload_by_group, offload_by_model
from animator.weights_index import check_weights_index

PRETRAINED = Path(__file__).resolve().parent / "pretrained"
DEFAULT_WEIGHTS = PRETRAINED / "lite"

# diffusers, transformers and safetensors report damage by all of these.
_DAMAGE = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    SafetensorError,
)


def build_animator(config: AnimatorConfig, seed: int = 0) -> AnimatorModels:
    """Build every network with fresh weights, in evaluation mode, float32, on the CPU.

    Args:
        config: the architecture.
        seed: of the random weights; the global random state is left as it was.
    """
    with _seeded(seed):
        return AnimatorModels(
            motion_encoder=MotionEncoder(**asdict(config.motion_encoder)).eval(),
            gan_head=GanHead(**asdict(config.gan_head)).eval(),
            discriminator=Discriminator(**asdict(config.discriminator)).eval(),
            reference_net=ReferenceNet(**asdict(config.reference_net)).eval(),
            unet=MotionUNet(**asdict(config.unet)).eval(),
            vae=build_autoencoder(config.vae).eval(),
            scheduler=build_scheduler(config.scheduler),
            control=build_control(config),
        )


def build_scheduler(config: SchedulerConfig) -> DDIMScheduler:
    """Build the noise schedule, which is also the sampler."""
    return DDIMScheduler(**asdict(config))


def build_pipeline(config: AnimatorConfig, seed: int = 0) -> XNeMoPipeline:
    """Build a pipeline with fresh weights; `save_pretrained` makes of it what `weights=` names."""
    models = build_animator(config, seed)
    with _seeded(seed):
        image_encoder = build_image_encoder().eval() if config.image_encoder else None
    return assemble_pipeline(models, config, image_encoder)


def assemble_pipeline(
    models: AnimatorModels, config: AnimatorConfig, image_encoder: CLIPVisionModelWithProjection | None = None
) -> XNeMoPipeline:
    """Put networks that are there, trained ones for example, into a pipeline.

    Args:
        models: the networks; without an autoencoder the pipeline has the GAN head alone.
        config: says the picture size and, where there is an autoencoder, the renderer that is recommended.
        image_encoder: CLIP's vision tower, where the size uses an image token.
    """
    diffusion = models.vae is not None
    by_tokens = models.control is None
    return XNeMoPipeline(
        motion_encoder=models.motion_encoder if by_tokens else None,
        reference_net=models.reference_net if diffusion else None,
        unet=models.unet if diffusion else None,
        vae=models.vae,
        scheduler=models.scheduler if diffusion else None,
        gan_head=models.gan_head if by_tokens else None,
        control=models.control,
        image_encoder=image_encoder,
        feature_extractor=None if image_encoder is None else build_feature_extractor(),
        image_size=config.image_size,
        default_renderer=config.renderer if diffusion else "gan",
    )


def load_pipeline(runtime: RuntimeConfig) -> XNeMoPipeline:
    """Load the weights that a command's settings name, on the device and in the format that they name.

    Raises:
        XNeMoError: no such weights, files that are damaged or do not fit together, no such device, or nothing to
            offload from it.
    """
    folder = find_weights(runtime.weights)
    device = resolve_device(runtime.device)
    if runtime.offload != "none" and device.type == "cpu":
        raise XNeMoError(f"offload={runtime.offload}: keeps weights off the GPU, but device is cpu; leave it out")
    dtype = resolve_dtype(runtime.dtype, device)
    check_weights_index(folder)
    try:
        with _no_loading_bar():
            pipeline = XNeMoPipeline.from_pretrained(folder, dtype=dtype, local_files_only=True, use_safetensors=True)
        _refuse_gaps(pipeline)
    except _DAMAGE as error:
        raise XNeMoError(f"{folder}: these weights cannot be loaded: {str(error)[:300]}") from error
    if runtime.tiny_vae is not None:
        pipeline.register_modules(tiny_vae=load_tiny_decoder(runtime.tiny_vae, dtype))
    if runtime.compile:
        compile_blocks(pipeline)
    placements = {
        "none": pipeline.to,
        "model": partial(offload_by_model, pipeline),
        "group": partial(offload_by_group, pipeline),
    }
    return placements[runtime.offload](device)


def _refuse_gaps(pipeline: XNeMoPipeline) -> None:
    """Insist on every tensor: where a file lacks one, diffusers leaves a place without content.

    Raises:
        ValueError: one is missing.
    """
    networks = {name: part for name, part in pipeline.components.items() if isinstance(part, nn.Module)}
    for name, network in networks.items():
        empty = [key for key, value in network.state_dict().items() if value.is_meta]
        if empty:
            raise ValueError(f"{name}: its file has no {', '.join(empty[:3])}, which its config.json asks for")


def load_motion_encoder(runtime: RuntimeConfig) -> MotionEncoder:
    """Load the motion encoder alone of the weights that a command's settings name.

    In half precision it is more exact than the one of `load_pipeline`, as only its attention is rounded, see
    `MotionEncoder.halve_attention`; in float32 the two are the same.

    Raises:
        XNeMoError: no such weights or device, or damaged files.
    """
    folder = find_weights(runtime.weights) / "motion_encoder"
    device = resolve_device(runtime.device)
    dtype = resolve_dtype(runtime.dtype, device)
    try:
        encoder = MotionEncoder.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        )
        encoder = encoder.eval().to(device)
    except _DAMAGE as error:
        raise XNeMoError(f"{folder}: this motion encoder cannot be loaded: {str(error)[:300]}") from error
    return encoder if dtype == torch.float32 else encoder.halve_attention(dtype)


def load_tiny_decoder(folder: str, dtype: torch.dtype) -> AutoencoderTiny:
    """Load diffusers' `AutoencoderTiny` from a folder with `config.json` and weights, in evaluation mode.

    Raises:
        XNeMoError: no such folder, or files that are damaged or of something else.
    """
    path = Path(folder).expanduser()
    if not (path / "config.json").is_file():
        raise XNeMoError(f"{path}: no tiny decoder here (config.json not found); name a folder with tiny_vae=FOLDER")
    try:
        with _no_loading_bar():
            return AutoencoderTiny.from_pretrained(
                path, dtype=dtype, local_files_only=True, use_safetensors=True
            ).eval()
    except _DAMAGE as error:
        raise XNeMoError(f"{path}: this tiny decoder cannot be loaded: {str(error)[:300]}") from error


def build_autoencoder(config: AutoencoderConfig) -> Autoencoder:
    """Build the autoencoder with fresh weights.

    Raises:
        XNeMoError: settings that do not go together.
    """
    if config.patch_size is not None:
        return _build_patch_autoencoder(config, config.patch_size)
    levels = len(config.block_out_channels)
    shared = {
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "block_out_channels": config.block_out_channels,
        "layers_per_block": config.layers_per_block,
        "latent_channels": config.latent_channels,
        "sample_size": config.sample_size,
        "scaling_factor": config.scaling_factor,
    }
    if config.temporal:
        return AutoencoderKLTemporalDecoder(**shared)
    return AutoencoderKL(
        **shared,
        up_block_types=["UpDecoderBlock2D"] * levels,
        norm_num_groups=config.norm_num_groups,
        mid_block_add_attention=config.mid_block_add_attention,
    )


def _build_patch_autoencoder(config: AutoencoderConfig, patch_size: int) -> PatchAutoencoder:
    if config.temporal or len(config.block_out_channels) != 1:
        raise XNeMoError(
            "animator.vae.patch_size: goes with temporal=false and one width in block_out_channels; set "
            "animator.vae.patch_size=null for an autoencoder of several levels"
        )
    if patch_size < REPAIRED_AT or patch_size.bit_count() != 1:
        raise XNeMoError(f"animator.vae.patch_size={patch_size}: must be a power of two, {REPAIRED_AT} or more")
    return PatchAutoencoder(
        patch_size=patch_size,
        latent_channels=config.latent_channels,
        repair_channels=config.block_out_channels[0],
        repair_layers=config.layers_per_block,
        norm_num_groups=config.norm_num_groups,
        sample_size=config.sample_size,
        scaling_factor=config.scaling_factor,
    )


def build_image_encoder() -> CLIPVisionModelWithProjection:
    """Build the vision tower of CLIP ViT-L/14 with fresh weights; Stable Diffusion's image variations read it."""
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            image_size=224,
            patch_size=14,
            projection_dim=768,
            hidden_act="quick_gelu",
        )
    )


def build_feature_extractor() -> BaseImageProcessor:
    """Build the preprocessing of CLIP's vision tower."""
    # Imported here: transformers warns at the import where torchvision is missing, and most sizes need no CLIP.
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor()


def animator_config(size: str, *overrides: str) -> AnimatorConfig:
    """The architecture called `size` ("xnemo", "lite", "tiny"), with `animator.KEY=VALUE` overrides."""
    return load_config("architecture", [f"animator={size}", *overrides]).animator


def check_architecture(pipeline: XNeMoPipeline, size: str) -> None:
    """Demand that weights are of the architecture called `size`.

    Raises:
        XNeMoError: they are of another one, or there is none of that name.
    """
    if size not in group_options("animator"):
        raise XNeMoError(f"animator={size}: no such architecture; there are {', '.join(group_options('animator'))}")
    wanted = animator_config(size)
    ours = asdict(wanted.unet)
    differing = ["control"] if wanted.control != control_name(pipeline.control) else []
    if pipeline.unet is None:
        differing.append("no denoiser")
    else:
        found = pipeline.unet.config
        # What was a list may have become a tuple.
        plain = {name: list(found[name]) if isinstance(value, list) else found[name] for name, value in ours.items()}
        differing += [name for name, value in ours.items() if plain[name] != value]
    if differing:
        raise XNeMoError(
            f"animator={size}: these weights are of another architecture ({', '.join(differing)}); name others with "
            "weights=FOLDER"
        )


def resolve_device(device: str) -> torch.device:
    """Turn the setting `device` into a device that is there.

    Raises:
        XNeMoError: the device asked for is not available.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if not available[device]:
        reason = "this build of torch has no CUDA" if device == "cuda" and not torch.version.cuda else "none was found"
        raise XNeMoError(f"device={device}: {reason}; use device=auto or device=cpu")
    return torch.device(device)


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Turn the setting `dtype` into a format: auto is bfloat16 on CUDA, float32 elsewhere."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]


def packaged_weights() -> list[str]:
    """Names of the weights that come with the package, each that of its architecture."""
    return sorted(folder.name for folder in PRETRAINED.iterdir() if (folder / "model_index.json").is_file())


def find_weights(weights: str | None) -> Path:
    """Locate weights: a folder, or the name of packaged ones where no folder is called so; None is the default.

    Raises:
        XNeMoError: there is no such folder, or it holds no pipeline.
    """
    folder = DEFAULT_WEIGHTS if weights is None else Path(weights).expanduser()
    if weights in packaged_weights() and not folder.is_dir():
        folder = PRETRAINED / weights
    if not (folder / "model_index.json").is_file():
        what = "the packaged weights are missing" if weights is None else "no weights here"
        raise XNeMoError(f"{folder}: {what} (model_index.json not found); name a folder with weights=FOLDER")
    return folder


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def _no_loading_bar() -> Iterator[None]:
    """Loading takes a second; a bar for it hides the ones that matter."""
    shown = diffusers_logging.is_progress_bar_enabled()
    diffusers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            diffusers_logging.enable_progress_bar()
