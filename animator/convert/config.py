"""Settings of `xnemo convert ...` and `xnemo fetch`."""

from __future__ import annotations

from dataclasses import dataclass

from animator.config_loader import key, register_root
from animator.model_config import AnimatorConfig

FORMATS = ("stored", "float32", "float16", "bfloat16")


@dataclass
class ConvertReleaseConfig:
    """Settings of `xnemo convert xnemo-release`."""

    animator: AnimatorConfig = key(AnimatorConfig, "architecture; the released one is xnemo")
    dtype: str = key("stored", "number format of the weights; stored leaves each entry as it is", choices=FORMATS)
    shard_mb: int = key(1000, "largest size of one file of weights, in MB", minimum=1)


@dataclass
class ConvertToReleaseConfig:
    """Settings of `xnemo convert to-release`."""

    dtype: str = key("stored", "number format of the weights; stored leaves each entry as it is", choices=FORMATS)


@dataclass
class ConvertBaseConfig:
    """Settings of `xnemo convert base`."""

    animator: AnimatorConfig = key(AnimatorConfig, "architecture to train")
    motion_module: str | None = key(
        None, "AnimateDiff checkpoint that the temporal modules start from; null: fresh ones, which change nothing"
    )
    vae: str | None = key(None, "folder of the autoencoder; null: the base model's own, if it has one")
    dtype: str = key("stored", "number format of the weights; stored leaves each entry as it is", choices=FORMATS)
    shard_mb: int = key(1000, "largest size of one file of weights, in MB", minimum=1)
    seed: int = key(0, "of what no checkpoint gives", minimum=0)


@dataclass
class ConvertXPortraitConfig:
    """Settings of `xnemo convert xportrait-release`."""

    animator: AnimatorConfig = key(AnimatorConfig, "architecture; the released one is xportrait")
    vae: str | None = key(None, "folder of Stable Diffusion's autoencoder, where the released file holds none")
    text_encoder: str | None = key(
        None, "folder of Stable Diffusion's text encoder, where the released file holds none"
    )
    dtype: str = key("stored", "number format of the weights; stored leaves each entry as it is", choices=FORMATS)
    shard_mb: int = key(1000, "largest size of one file of weights, in MB", minimum=1)


@dataclass
class FetchConfig:
    """Settings of `xnemo fetch`; it has none."""


def register() -> None:
    """Make this module's types known to the loader."""
    register_root("convert_xnemo_release", ConvertReleaseConfig)
    register_root("convert_to_release", ConvertToReleaseConfig)
    register_root("convert_base", ConvertBaseConfig)
    register_root("convert_xportrait_release", ConvertXPortraitConfig)
    register_root("fetch", FetchConfig)


register()
