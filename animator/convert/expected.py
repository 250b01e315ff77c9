"""What a checkpoint must hold, derived from our own networks: keys, shapes, position tables."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import torch
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from torch import Tensor, nn

from animator.model_config import AnimatorConfig
from animator.models.motion_encoder import MotionEncoder, sinusoid
from animator.models.motion_unet import MotionUNet
from animator.models.reference_net import ReferenceNet
from animator.release_keys import released_denoising_keys, released_motion_encoder_keys

COUNTER = "num_batches_tracked"  # the one kind of entry that is a whole number


@dataclass(frozen=True)
class Expected:
    """The entries of a checkpoint.

    Attributes:
        what: the network's name, for messages.
        shapes: key in the file -> shape.
        ours: key in the file -> key of our network. Two position tables of a block share one of ours, and what our
            network computes by itself has none.
        tables: position tables, key in the file -> what they have to be; they may be missing.
    """

    what: str
    shapes: dict[str, tuple[int, ...]]
    ours: dict[str, str]
    tables: dict[str, Tensor] = field(default_factory=dict)

    @property
    def required(self) -> list[str]:
        """Keys that cannot be computed."""
        return [key for key in self.shapes if key not in self.tables]

    def only(self, wanted: Callable[[str], bool]) -> Expected:
        """The part whose keys are `wanted`."""
        return Expected(
            self.what,
            {key: shape for key, shape in self.shapes.items() if wanted(key)},
            {key: ours for key, ours in self.ours.items() if wanted(key)},
            {key: table for key, table in self.tables.items() if wanted(key)},
        )


@dataclass(frozen=True)
class Skeletons:
    """The networks of the release without weights: shapes and configurations only."""

    motion_encoder: MotionEncoder
    reference_net: ReferenceNet
    unet: MotionUNet


def build_skeletons(config: AnimatorConfig) -> Skeletons:
    """Build the networks of one size on the meta device, where they take no memory."""
    with torch.device("meta"):
        return Skeletons(
            MotionEncoder(**asdict(config.motion_encoder)),
            ReferenceNet(**asdict(config.reference_net)),
            MotionUNet(**asdict(config.unet)),
        )


def expected_motion_encoder(net: MotionEncoder) -> Expected:
    """Entries of the released motion encoder: ours under other names, and the table of token positions."""
    state = net.state_dict()
    released = released_motion_encoder_keys(state, net.config.hourglass_depth)
    tokens = net.config.motion_tokens
    table = sinusoid(torch.arange(tokens, device="cpu"), net.config.latent_dim // tokens)[None]
    return Expected(
        "the motion encoder",
        {released[key]: tuple(value.shape) for key, value in state.items()} | {"pe": tuple(table.shape)},
        {released[key]: key for key in state},
        {"pe": table},
    )


def expected_reference_net(net: ReferenceNet) -> Expected:
    """Entries of the released reference UNet: the same as ours."""
    return expected_as_is("the reference UNet", net)


def expected_denoiser(net: MotionUNet) -> Expected:
    """Entries of the released denoising UNet, temporal modules included."""
    shapes, ours, tables = {}, {}, {}
    for name, value in net.state_dict().items():
        for key in released_denoising_keys(name):
            shapes[key], ours[key] = tuple(value.shape), name
            if name.endswith("pos_embed.pe"):
                tables[key] = temporal_positions(value.shape[1], value.shape[2])
    return Expected("the denoising UNet", shapes, ours, tables)


def expected_as_is(what: str, net: nn.Module) -> Expected:
    """Entries of a checkpoint whose keys are the network's own."""
    state = net.state_dict()
    return Expected(what, {key: tuple(value.shape) for key, value in state.items()}, {key: key for key in state})


@functools.cache
def temporal_positions(length: int, width: int) -> Tensor:
    """Position table of the temporal attention, (1, length, width), sines and cosines interleaved."""
    return SinusoidalPositionalEmbedding(width, length).pe
