"""What X-Portrait's released file must hold: keys and shapes, derived from our networks and its public configuration.

| prefix | what it is | ours |
|---|---|---|
| `model.diffusion_model.` | the denoiser, its temporal modules beside its blocks | unet |
| `appearance_control_model.` | the reference net; the hint's layers in it are never run | reference_net |
| `pose_control_model.`, `local_pose_control_model.` | the ControlNets | control.face, control.local |
| `first_stage_model.` | the autoencoder | vae |
| `cond_stage_model.transformer.` | CLIP's text encoder; only the empty prompt's embedding is needed | control |
| none | the noise schedule, twelve tables, and one of zeros | scheduler |
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from animator.builders import build_autoencoder, build_scheduler
from animator.controls.control_nets import ControlNets, build
from animator.convert.expected import Expected, temporal_positions
from animator.convert.ldm_keys import autoencoder_keys, unet_keys
from animator.model_config import AnimatorConfig
from animator.models.motion_unet import MotionUNet
from animator.models.reference_net import ReferenceNet

DENOISER, REFERENCE, FACE, LOCAL = (
    "model.diffusion_model.",
    "appearance_control_model.",
    "pose_control_model.",
    "local_pose_control_model.",
)
AUTOENCODER, TEXT = "first_stage_model.", "cond_stage_model.transformer.text_model."
# What older files hold beside the weights; a count from 0.
POSITION_IDS = f"{TEXT}embeddings.position_ids"
TEXT_LAYERS, TEXT_HEAD = 12, 64


@dataclass(frozen=True)
class Skeletons:
    """The networks of the release without weights, and its noise schedule."""

    reference_net: ReferenceNet
    unet: MotionUNet
    control: ControlNets
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    scheduler: DDIMScheduler


def build_skeletons(config: AnimatorConfig) -> Skeletons:
    """Build the networks of one size on the meta device, where they take no memory."""
    with torch.device("meta"):
        nets = (
            ReferenceNet(**asdict(config.reference_net)),
            MotionUNet(**asdict(config.unet)),
            build(config),
            build_autoencoder(config.vae),
            CLIPTextModel(text_config(config.unet.cross_attention_dim)),
        )
    return Skeletons(*nets, build_scheduler(config.scheduler))


def text_config(width: int) -> CLIPTextConfig:
    """CLIP's text encoder of a width; 768 is the one of ViT-L/14, which Stable Diffusion 1.x reads."""
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=max(1, width // TEXT_HEAD),
        projection_dim=width,
    )


def expected_denoiser(nets: Skeletons, config: AnimatorConfig) -> Expected:
    """Entries of the denoiser; its position tables may be missing."""
    shapes, ours, tables = {}, {}, {}
    state = nets.unet.state_dict()
    for name, keys in unet_keys(state, config.unet.layers_per_block, _attended(config)).items():
        for key in keys:
            shapes[DENOISER + key], ours[DENOISER + key] = tuple(state[name].shape), name
            if name.endswith("pos_embed.pe"):
                tables[DENOISER + key] = temporal_positions(*state[name].shape[1:])
    return Expected("the denoiser", shapes, ours, tables)


def expected_reference_net(nets: Skeletons, config: AnimatorConfig) -> Expected:
    """Entries of the reference net."""
    return _expected("the reference net", REFERENCE, nets.reference_net, config)


def expected_control(nets: Skeletons, config: AnimatorConfig) -> Expected:
    """Entries of both ControlNets."""
    face = _expected("the ControlNets", FACE, nets.control.face, config, "face.")
    local = _expected("the ControlNets", LOCAL, nets.control.local, config, "local.")
    return Expected("the ControlNets", face.shapes | local.shapes, face.ours | local.ours)


def expected_autoencoder(nets: Skeletons) -> Expected:
    """Entries of the autoencoder; its attention is made of 1 x 1 convolutions, ours of matrices."""
    shapes, ours = {}, {}
    state = nets.vae.state_dict()
    for name, key in autoencoder_keys(state, len(nets.vae.config.block_out_channels)).items():
        shape = tuple(state[name].shape)
        convolution = ".attentions." in name and len(shape) == 2
        shapes[AUTOENCODER + key], ours[AUTOENCODER + key] = (*shape, 1, 1) if convolution else shape, name
    return Expected("the autoencoder", shapes, ours)


def expected_text_encoder(nets: Skeletons, prefix: str = TEXT) -> Expected:
    """Entries of the text encoder."""
    # Some versions of transformers have this prefix in their own keys, some have not.
    state = {name: (prefix + name.removeprefix("text_model."), value) for name, value in _state(nets.text_encoder)}
    return Expected(
        "the text encoder",
        {key: tuple(value.shape) for key, value in state.values()},
        {key: name for name, (key, _) in state.items()},
    )


def expected_unused(nets: Skeletons, config: AnimatorConfig) -> Expected:
    """Entries that nothing reads and that may be missing: hint layers of the reference net, the schedule's tables."""
    hint = _expected("", REFERENCE, nets.control.face, config)
    shapes = {key: shape for key, shape in hint.shapes.items() if key.startswith(f"{REFERENCE}input_hint_block.")}
    tables = schedule_tables(nets.scheduler)
    return Expected("the release", shapes | {key: tuple(table.shape) for key, table in tables.items()}, {}, tables)


def schedule_tables(scheduler: DDIMScheduler) -> dict[str, Tensor]:
    """The tables of a noise schedule as the first latent diffusion code stores them, (levels,) each."""
    given = scheduler.config
    betas = np.linspace(given.beta_start**0.5, given.beta_end**0.5, given.num_train_timesteps) ** 2
    kept = np.cumprod(1 - betas)
    before = np.append(1.0, kept[:-1])
    variance = betas * (1 - before) / (1 - kept)
    tables = {
        "betas": betas,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": np.sqrt(kept),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - kept),
        "log_one_minus_alphas_cumprod": np.log(1 - kept),
        "sqrt_recip_alphas_cumprod": np.sqrt(1 / kept),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(1 / kept - 1),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": betas * np.sqrt(before) / (1 - kept),
        "posterior_mean_coef2": (1 - before) * np.sqrt(1 - betas) / (1 - kept),
        "logvar": np.zeros_like(betas),
    }
    return {name: torch.from_numpy(table).float() for name, table in tables.items()}


def _expected(what: str, prefix: str, net: nn.Module, config: AnimatorConfig, ours: str = "") -> Expected:
    state = net.state_dict()
    between = 2 * (len(config.vae.block_out_channels) - 1)
    named = unet_keys(state, config.unet.layers_per_block, _attended(config), between)
    return Expected(
        what,
        {prefix + key: tuple(state[name].shape) for name, keys in named.items() for key in keys},
        {prefix + key: ours + name for name, keys in named.items() for key in keys},
    )


def _attended(config: AnimatorConfig) -> list[bool]:
    return [kind.startswith("CrossAttn") for kind in config.unet.up_block_types]


def _state(net: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, value) for name, value in net.state_dict().items() if not name.endswith("position_ids")]
