"""How a clip is sampled, as a configuration with a name: `sampler=paper` and `sampler=release`.

A sampler is a file in `configs/sampler/`. The two differ in nearly everything that the paper leaves open or that the
published inference code does in its own way; docs/samplers.md lays them side by side. What the network predicts (noise,
or velocity) belongs to its weights, so no sampler says it.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from animator.config_loader import check_values, key, load_config, register_group, register_root


@dataclass
class NoiseScheduleConfig:
    """Noise levels, and the steps through them; null is what the weights were trained with."""

    num_train_timesteps: int | None = key(None, "noise levels; null: the weights' own", minimum=1)
    beta_start: float | None = key(None, "first beta; null: the weights' own", minimum=0, maximum=1)
    beta_end: float | None = key(None, "last beta; null: the weights' own", minimum=0, maximum=1)
    beta_schedule: str | None = key(
        None, "how beta grows; null: the weights' own", choices=("linear", "scaled_linear", "squaredcos_cap_v2")
    )
    steps_offset: int | None = key(None, "added to every timestep; null: the weights' own", minimum=0)
    timestep_spacing: str | None = key(
        None, "how steps are spread; null: the weights' own", choices=("leading", "trailing", "linspace")
    )
    set_alpha_to_one: bool | None = key(None, "the last step ends without noise; null: the weights' own")
    rescale_betas_zero_snr: bool | None = key(None, "the last level is pure noise; null: the weights' own")
    clip_sample: bool | None = key(None, "clip predicted latents; null: the weights' own")


@dataclass
class SamplerConfig:
    """How a clip is denoised and decoded. Defaults are the paper's."""

    steps: int = key(25, "DDIM steps (eta 0)", minimum=1, maximum=1000)
    guidance_scale: float = key(
        4.5,
        "classifier-free guidance in diffusers' sense; the paper's w = guidance_scale - 1; 1 is none",
        minimum=0,
    )
    initial: str = key(
        "noise",
        "what denoising starts from: noise alone, or the portrait's latents, blurred (9 x 9, sigma 18), under the "
        "noise of the first timestep",
        choices=("noise", "blurred_reference"),
    )
    f_rts: str = key(
        "driving",
        "head placement given to the model: the driving head's (dx, dy, s), or for all frames the portrait's own "
        "(0, 0, 1), so that it stays in place",
        choices=("driving", "reference"),
    )
    loop: bool = key(
        False,
        "windows go round from the last frame to the first and are moved by a random offset at every step; all "
        "latents then live at once. Without, memory does not grow with the clip",
    )
    window: int = key(24, "frames denoised together", minimum=1)
    overlap: int = key(4, "frames that neighbouring windows share", minimum=0)
    reference_precision: str | None = key(
        None, "round the reference features to this format; null: not at all", choices=("float16",)
    )
    decode_chunk: int | None = key(
        None, "frames decoded at once; null: 25 where the decoder sees neighbouring frames, else 8", minimum=1
    )
    decode_overlap: int = key(
        4,
        "frames, at most half of a chunk, that neighbouring chunks share and in which one fades into the other, where "
        "the decoder sees neighbouring frames; 0 leaves seams",
        minimum=0,
    )
    pixels: str = key("round", "how levels 0 to 255 are made", choices=("round", "truncate"))
    schedule: NoiseScheduleConfig = key(NoiseScheduleConfig, "noise schedule")


@dataclass
class SamplingConfig:
    """A sampler by itself, without a command around it."""

    sampler: SamplerConfig = key(SamplerConfig, "how a clip is sampled")


def load_sampler(name: str) -> SamplerConfig:
    """The sampler of `configs/sampler/NAME.yaml`; change it with `dataclasses.replace`.

    Raises:
        XNeMoError: there is none of that name (the message lists them).
    """
    return deepcopy(_load(name))


def choose_sampler(sampler: str | SamplerConfig, **changes: Any) -> SamplerConfig:
    """A sampler by name or as it is, with some values changed.

    Args:
        sampler: "paper", "release", or settings of one's own.
        changes: values by key; None leaves the sampler's.
    Raises:
        XNeMoError: unknown name, or a value that the key does not allow.
    """
    chosen = load_sampler(sampler) if isinstance(sampler, str) else sampler
    chosen = replace(chosen, **{name: value for name, value in changes.items() if value is not None})
    check_values(chosen)
    return chosen


@cache
def _load(name: str) -> SamplerConfig:
    return load_config("sampling", [f"sampler={name}"]).sampler


register_group("sampler", SamplerConfig)
register_root("sampling", SamplingConfig)
