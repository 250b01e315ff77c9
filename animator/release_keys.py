"""State-dict keys of the released X-NeMo checkpoint <-> keys of this project's modules.

The released names are kept out of the models, so that the models can be read by the paper's terms.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_FAN_BLOCK = {
    "bn1": "norm1",
    "bn2": "norm2",
    "bn3": "norm3",
    "downsample.0": "shortcut.0",
    "downsample.2": "shortcut.2",
}

_PATCH_ATTENTION = {
    "norm": "norm",
    "pos_embed.proj": "to_patches",
    "transformer_blocks.0.norms.0": "attention_norm",
    "transformer_blocks.0.attention_blocks.0": "attention",
    "transformer_blocks.0.ff_norm": "feed_forward_norm",
    "transformer_blocks.0.ff": "feed_forward",
    "proj_out": "from_patches",
}

_MOTION_ENCODER = {
    "model.conv1": "stem.0",
    "model.bn1": "stem.1",
    "model.conv_last0": "top_conv.0",
    "model.bn_end0": "top_conv.1",
    "model.l0": "landmark_conv.0",
    "model.bn5": "landmark_conv.1",
    "model.conv6": "squeeze",
    "model.fc": "to_latent",
    "bbox_proj.0": "box_mlp.0",
    "bbox_proj.3": "box_mlp.2",
    "final_proj": "fusion",
}


def _hourglass_prefixes(depth: int) -> dict[str, str]:
    """Released names number the levels (b1_4 outermost ... b1_1, b2_plus_1 innermost); ours nest."""
    prefixes = {}
    for level in range(depth, 0, -1):
        path = "hourglass" + ".inner" * (depth - level)
        for released, ours in (("b1", "skip"), ("b2", "down"), ("b3", "up")):
            prefixes[f"model.m0.{released}_{level}"] = f"{path}.{ours}"
    prefixes["model.m0.b2_plus_1"] = "hourglass" + ".inner" * depth
    return prefixes


def _with_parts(prefix: str, target: str, parts: dict[str, str]) -> dict[str, str]:
    return {f"{prefix}.{released}": f"{target}.{ours}" for released, ours in parts.items()}


def motion_encoder_prefixes(hourglass_depth: int = 4) -> dict[str, str]:
    """Released module path -> our module path, for every renamed part of the motion encoder."""
    prefixes = dict(_MOTION_ENCODER)
    blocks = {"model.conv2": "block1", "model.conv3": "block2", "model.conv4": "block3", "model.top_m_0": "top"}
    blocks |= _hourglass_prefixes(hourglass_depth)
    for released, ours in blocks.items():
        prefixes |= {released: ours} | _with_parts(released, ours, _FAN_BLOCK)
    for index in (1, 2, 3):
        prefixes |= _with_parts(f"model.att_{index}", f"attention{index}", _PATCH_ATTENTION)
    return prefixes


def rename(keys: Iterable[str], prefixes: dict[str, str]) -> dict[str, str]:
    """Map each key by its longest known module prefix; keys under no known prefix keep their name."""
    renamed = {}
    for key in keys:
        parts = key.split(".")
        candidates = (".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1))
        prefix = next((c for c in candidates if c in prefixes), None)
        renamed[key] = key if prefix is None else prefixes[prefix] + key[len(prefix) :]
    return renamed


def released_motion_encoder_keys(ours: Iterable[str], hourglass_depth: int = 4) -> dict[str, str]:
    """Key of `MotionEncoder` -> the released key."""
    prefixes = motion_encoder_prefixes(hourglass_depth)
    return rename(ours, {target: released for released, target in prefixes.items()})


_SLOT_PARTS = {"motion_modules": ".motion_attention", "temporal_modules": ""}

_SLOT_LAYERS = {
    "attention_blocks.0": "attn1",
    "attention_blocks.1": "attn2",
    "norms.0": "norm1",
    "norms.1": "norm2",
    "ff_norm": "norm3",
}

# The released temporal block keeps one position table per attention, ours one per block; they are equal.
_POSITION_TABLES = ("attention_blocks.0.pos_encoder.pe", "attention_blocks.1.pos_encoder.pe")
SECOND_TABLE = f".{_POSITION_TABLES[1]}"

_RELEASED_SLOT = re.compile(r"(?P<block>.+)\.(?P<kind>motion_modules|temporal_modules)\.(?P<index>\d+)"
                            r"\.temporal_transformer\.(?P<rest>.+)")  # fmt: skip
_OUR_SLOT = re.compile(r"(?P<block>.+)\.motion_modules\.(?P<index>\d+)(?P<motion>\.motion_attention)?\.(?P<rest>.+)")
_BLOCK = re.compile(r"(transformer_blocks\.\d+)\.(.+)")


def _replace_head(path: str, heads: dict[str, str]) -> str:
    for old, new in heads.items():
        if path.startswith(f"{old}."):
            return new + path[len(old) :]
    return path


def denoising_key(released: str) -> str:
    """Released key of the denoising UNet -> key of `MotionUNet`; both position tables of a block give one key.

    Keys outside the motion and temporal modules are those of diffusers and keep their name. The reference UNet's
    keys are all of that kind.
    """
    slot = _RELEASED_SLOT.fullmatch(released)
    if slot is None:
        return released
    rest = slot["rest"]
    if block := _BLOCK.fullmatch(rest):
        layer = "pos_embed.pe" if block[2] in _POSITION_TABLES else _replace_head(block[2], _SLOT_LAYERS)
        rest = f"{block[1]}.{layer}"
    return f"{slot['block']}.motion_modules.{slot['index']}{_SLOT_PARTS[slot['kind']]}.{rest}"


def released_denoising_keys(ours: str) -> tuple[str, ...]:
    """Key of `MotionUNet` -> the released keys it is stored under: two for a position table, else one."""
    slot = _OUR_SLOT.fullmatch(ours)
    if slot is None:
        return (ours,)
    kind = "motion_modules" if slot["motion"] else "temporal_modules"
    prefix = f"{slot['block']}.{kind}.{slot['index']}.temporal_transformer"
    block = _BLOCK.fullmatch(slot["rest"])
    if block is None:
        return (f"{prefix}.{slot['rest']}",)
    if block[2] == "pos_embed.pe":
        return tuple(f"{prefix}.{block[1]}.{table}" for table in _POSITION_TABLES)
    released = _replace_head(block[2], {new: old for old, new in _SLOT_LAYERS.items()})
    return (f"{prefix}.{block[1]}.{released}",)


def animatediff_key(key: str) -> str:
    """Key of an AnimateDiff motion module -> key of the same temporal layer in `MotionUNet`.

    AnimateDiff's own files name the layers as X-NeMo does; diffusers' motion adapters have the names that
    `MotionUNet` has. Training scripts put `module.` in front.
    """
    name = key.removeprefix("module.")
    if ".temporal_transformer." not in name:
        return name
    return denoising_key(name.replace(".motion_modules.", ".temporal_modules.", 1))
