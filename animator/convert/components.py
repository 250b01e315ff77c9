"""The parts of the release that come from elsewhere: autoencoder, image encoder, configuration of the base UNet."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from animator.asset_manifest import SOURCES, WEIGHT_NAMES
from animator.convert.checkpoints import find_weights, read_head, read_json, read_state
from animator.convert.checks import check_complete, check_entries
from animator.convert.expected import expected_as_is
from animator.convert.shards import Network, Part
from animator.errors import XNeMoError
from animator.model_config import AnimatorConfig, ReferenceNetConfig
from animator.models.autoencoder import Autoencoder

# Files from before diffusers 0.14 name the attention layers of an autoencoder so.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_LAYER = re.compile(r"(.+\.attentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)")
# Files from before transformers 4.31 carry this buffer.
_POSITION_IDS = "vision_model.embeddings.position_ids"


@dataclass(frozen=True)
class Component:
    """A network that is taken over as it is.

    Attributes:
        net: a diffusers or transformers model without weights.
        network: its weights.
        path: the file that they are in.
    """

    net: Any
    network: Network
    path: Path


def find_folder(source: Path, home: Path, folder: str, origin: str) -> Path:
    """Find a base model's folder beside the released files, or else in the folder of downloaded weights.

    Args:
        source: the release's folder.
        home: see `animator.asset_manifest.released_home`.
        folder: its name below either.
        origin: key of `SOURCES`, for the message.
    Raises:
        XNeMoError: it is in neither.
    """
    for place in (source / folder, home / folder):
        if place.is_dir():
            return place
    raise XNeMoError(
        f"{source / folder}: not found, and not in {home} either; `xnemo fetch {origin}` brings it, or copy it from "
        f"{SOURCES[origin].page}"
    )


def read_autoencoder(folder: Path, remedy: str) -> Component:
    """Look at an autoencoder's folder: Stable Video Diffusion's or plain Stable Diffusion's.

    Raises:
        XNeMoError: configuration or weights are missing, damaged, or do not fit together.
    """
    settings = read_json(folder / "config.json", remedy)
    classes = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderKLTemporalDecoder)}
    kind = classes.get(str(settings.get("_class_name")))
    if kind is None:
        raise XNeMoError(
            f"{folder / 'config.json'}: _class_name is {settings.get('_class_name')}, not one of {', '.join(classes)}; "
            f"{remedy}"
        )
    with torch.device("meta"):
        net: Autoencoder = built(folder, lambda: kind.from_config(settings), remedy)
    return _component(folder, "vae", "diffusers", net, "the autoencoder", remedy, rename=_new_attention_key)


def read_image_encoder(folder: Path, remedy: str) -> Component:
    """Look at the folder of CLIP's vision tower.

    Raises:
        XNeMoError: configuration or weights are missing, damaged, or do not fit together.
    """
    settings = read_json(folder / "config.json", remedy)

    def build() -> CLIPVisionModelWithProjection:
        # Said here, because transformers would otherwise open half-precision weights in half precision and diffusers
        # the other networks in single precision.
        config = CLIPVisionConfig.from_dict(settings | {"torch_dtype": "float32"})
        config.architectures = [CLIPVisionModelWithProjection.__name__]
        return CLIPVisionModelWithProjection(config)

    with torch.device("meta"):
        net = built(folder, build, remedy)
    return _component(
        folder, "image_encoder", "transformers", net, "the image encoder", remedy, ignored=frozenset({_POSITION_IDS})
    )


def base_unet_file(folder: Path, remedy: str) -> Path:
    """Find the weights of a Stable Diffusion UNet.

    Raises:
        XNeMoError: there are none.
    """
    return _weights_file(folder, "diffusers", remedy)


def check_base_config(folder: Path, config: ReferenceNetConfig) -> None:
    """Compare the configuration of a Stable Diffusion UNet, if there is one, with the architecture.

    Numbers of heads and groups do not show in the shapes of weights. A key that the configuration lacks is fine.

    Raises:
        XNeMoError: it is another architecture.
    """
    path = folder / "config.json"
    if not path.is_file():
        return
    found = read_json(path)
    for name, ours in asdict(config).items():
        theirs = found.get(name, ours)
        # The size that a UNet is made for changes none of its layers.
        if name != "sample_size" and theirs != ours:
            raise XNeMoError(f"{path}: {name} is {theirs}, and this architecture has {ours}; choose another animator=")


def check_fit(config: AnimatorConfig, autoencoder: Component, image_encoder: Component | None) -> None:
    """Demand that what was taken over fits the architecture.

    Raises:
        XNeMoError: it does not.
    """
    channels = autoencoder.net.config.latent_channels
    if channels != config.unet.in_channels:
        raise XNeMoError(
            f"{autoencoder.path.parent}: its latents have {channels} channels, and this architecture takes "
            f"{config.unet.in_channels}; choose another animator="
        )
    if image_encoder is None:
        return
    width = image_encoder.net.config.projection_dim
    if width != config.unet.cross_attention_dim:
        raise XNeMoError(
            f"{image_encoder.path.parent}: its image token has {width} numbers, and this architecture takes "
            f"{config.unet.cross_attention_dim}; choose another animator="
        )


def built(folder: Path, build: Callable[[], Any], remedy: str) -> Any:
    """Build the network that a folder's configuration describes.

    Raises:
        XNeMoError: it describes none.
    """
    try:
        return build()
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise XNeMoError(f"{folder / 'config.json'}: describes no such network ({reason}); {remedy}") from error


def _component(
    folder: Path,
    name: str,
    library: str,
    net: Any,
    what: str,
    remedy: str,
    rename: Callable[[str], str] = str,
    ignored: frozenset[str] = frozenset(),
) -> Component:
    path = _weights_file(folder, library, remedy)
    head = read_head(path, remedy=remedy)
    ours = {rename(key): key for key in head if key not in ignored}
    expected = expected_as_is(what, net)
    seen = {key: head[theirs] for key, theirs in ours.items()}
    check_entries(path, seen, expected, remedy)
    check_complete(str(path), seen, expected, remedy)
    part = Part.of(ours, head, lambda: read_state(path, remedy))
    return Component(net, Network(name, library, [part]), path)


def _weights_file(folder: Path, library: str, remedy: str) -> Path:
    files = find_weights(folder, library)
    if not files:
        raise XNeMoError(f"{folder}: no weights here (looked for {', '.join(WEIGHT_NAMES[library])}); {remedy}")
    if len(files) > 1:
        raise XNeMoError(f"{folder}: its weights are in {len(files)} parts; put them together in one file first")
    return files[0]


def _new_attention_key(key: str) -> str:
    old = _OLD_LAYER.fullmatch(key)
    return f"{old[1]}.{_OLD_ATTENTION[old[2]]}.{old[3]}" if old else key
