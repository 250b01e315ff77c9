"""Sizes of the generator: one dataclass, and a file for each size in `configs/gpt/`."""

from __future__ import annotations

from dataclasses import dataclass

from animator.config_loader import key, load_config, register_group, register_root


@dataclass
class GptConfig:
    """`motion_gpt.models.motion_gpt.MotionGpt`; codes and levels are the tokenizer's."""

    layers: int = key(12, "transformer blocks", minimum=1)
    width: int = key(768, "width of the network, a multiple of heads", minimum=1)
    heads: int = key(12, "attention heads", minimum=1)
    context: int = key(
        1024,
        "longest sequence in rows, the three of the condition included; a row is one token, 160 ms of 25 fps video",
        minimum=8,
    )
    dropout: float = key(0.1, "dropout in training, after embedding, attention and each layer", minimum=0, maximum=0.9)
    detail_components: int = key(
        64,
        "components of the fine motion that tokens leave out and sampling.detail draws; 0: none",
        minimum=0,
        maximum=512,
    )


@dataclass
class GptArchitectureConfig:
    """A size by itself, without a command around it."""

    gpt: GptConfig = key(GptConfig, "size of the generator")


def gpt_config(size: str, *overrides: str) -> GptConfig:
    """The size called `size` ("gpt2-small", "lite", "tiny"), with `gpt.KEY=VALUE` overrides.

    Raises:
        XNeMoError: there is no such size, or no such key or value.
    """
    return load_config("gpt_architecture", [f"gpt={size}", *overrides]).gpt


register_group("gpt", GptConfig)
register_root("gpt_architecture", GptArchitectureConfig)
