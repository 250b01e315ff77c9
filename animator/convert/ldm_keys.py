"""Keys of networks in the layout of the first latent diffusion code (CompVis) <-> keys of diffusers' networks.

X-Portrait's release has it, as Stable Diffusion's first files do: blocks are numbered through, and what is a block's
n-th part has the number n.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from animator.release_keys import released_denoising_keys

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.attentions.0": "middle_block.1",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0",
    "controlnet_mid_block": "middle_block_out.0",
}
_BLOCK = re.compile(
    r"(down|up)_blocks\.(\d+)\.(resnets|attentions|motion_modules|downsamplers|upsamplers)\.(\d+)\.(.+)"
)
_MIDDLE = re.compile(r"mid_block\.resnets\.(\d+)\.(.+)")
_ADDED = re.compile(r"controlnet_down_blocks\.(\d+)\.(.+)")
_HINT = re.compile(r"controlnet_cond_embedding\.(?:blocks\.(\d+)|conv_out)\.(.+)")
_TEMPORAL = ".temporal_transformer."

_VAE_LAYER = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "conv_shortcut": "nin_shortcut",
}
_VAE_BLOCK = re.compile(
    r"(encoder|decoder)\.(?:down|up)_blocks\.(\d+)\.(?:resnets\.(\d+)|(?:down|up)samplers\.0)\.(.+)"
)
_VAE_MIDDLE = re.compile(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


def unet_keys(ours: Iterable[str], layers: int, attended: Sequence[bool], hint_layers: int = 0) -> dict[str, list[str]]:
    """Keys of a UNet, or of a ControlNet.

    Args:
        ours: keys of diffusers' network, motion slots included.
        layers: resnets of a level on the way down.
        attended: of each level on the way up, coarsest first, whether it has spatial transformers.
        hint_layers: convolutions between the first and the last of the network that reads a ControlNet's hint.
    Returns:
        Our key -> its keys in the file: two for a position table, else one.
    """
    return {key: _unet_key(key, layers, attended, hint_layers) for key in ours}


def _unet_key(key: str, layers: int, attended: Sequence[bool], hint_layers: int) -> list[str]:
    if block := _BLOCK.fullmatch(key):
        side, level, part, rest = block[1], int(block[2]), block[3], block[5]
        number = int(block[4])
        if part == "motion_modules":
            place = level * layers + number if side == "down" else level * (layers + 1) + number
            which = "input" if side == "down" else "output"
            names = [name.split(_TEMPORAL)[1] for name in released_denoising_keys(key)]
            return [f"{which}_blocks_motion_module.{place}.0{_TEMPORAL}{name}" for name in names]
        if part == "downsamplers":
            return [f"input_blocks.{(level + 1) * (layers + 1)}.0.{rest.replace('conv', 'op', 1)}"]
        if part == "upsamplers":
            return [f"output_blocks.{level * (layers + 1) + layers}.{2 if attended[level] else 1}.{rest}"]
        place = level * (layers + 1) + number + (1 if side == "down" else 0)
        stem = f"{'input' if side == 'down' else 'output'}_blocks.{place}"
        return [f"{stem}.1.{rest}" if part == "attentions" else f"{stem}.0.{_renamed(rest, _RESNET)}"]
    if middle := _MIDDLE.fullmatch(key):
        return [f"middle_block.{2 * int(middle[1])}.{_renamed(middle[2], _RESNET)}"]
    if added := _ADDED.fullmatch(key):
        return [f"zero_convs.{added[1]}.0.{added[2]}"]
    if hint := _HINT.fullmatch(key):
        # Every second entry is an activation.
        place = hint_layers if hint[1] is None else int(hint[1])
        return [f"input_hint_block.{2 * (place + 1)}.{hint[2]}"]
    return [_renamed(key, _TOP)]


def autoencoder_keys(ours: Iterable[str], levels: int) -> dict[str, str]:
    """Keys of `AutoencoderKL` -> keys in the file.

    Args:
        levels: of the autoencoder; the file counts those of the decoder from fine to coarse.
    """
    return {key: _autoencoder_key(key, levels) for key in ours}


def _autoencoder_key(key: str, levels: int) -> str:
    if block := _VAE_BLOCK.fullmatch(key):
        half, level, resnet, rest = block[1], int(block[2]), block[3], block[4]
        side, place = ("down", level) if half == "encoder" else ("up", levels - 1 - level)
        part = f"{side}sample" if resnet is None else f"block.{resnet}"
        return f"{half}.{side}.{place}.{part}.{_renamed(rest, _VAE_LAYER)}"
    if middle := _VAE_MIDDLE.fullmatch(key):
        part = "block" if middle[2] == "resnets" else "attn"
        return f"{middle[1]}.mid.{part}_{int(middle[3]) + 1}.{_renamed(middle[4], _VAE_LAYER)}"
    return key.replace("conv_norm_out", "norm_out")


def _renamed(path: str, heads: dict[str, str]) -> str:
    for old, new in heads.items():
        if path.startswith(f"{old}."):
            return new + path[len(old) :]
    return path
