"""State-dict keys of the released X-NeMo checkpoint <-> keys of this project's modules.

The released names are kept out of the models, so that the models can be read by the paper's terms.
"""

from __future__ import annotations

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
