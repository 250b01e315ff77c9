"""How a clip is sampled, as a configuration with a name: `sampler=paper`, `sampler=release` and `sampler=fast`.

A sampler is a file in `configs/sampler/`. The first two differ in nearly everything that the paper leaves open or that
the published inference code does in its own way; docs/samplers.md lays them side by side, and says what `fast` saves.
What the network predicts (noise, or velocity) belongs to its weights, so no sampler says it.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from animator.config_loader import check_values, key, load_config, register_group, register_root
from animator.errors import XNeMoError


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

    steps: int = key(25, "denoising steps", minimum=1, maximum=1000)
    solver: str = key(
        "ddim",
        "what takes a step: DDIM (eta 0), or a multistep solver for fewer steps, dpmpp (DPM-Solver++, second order) or "
        "unipc",
        choices=("ddim", "dpmpp", "unipc"),
    )
    guidance_scale: float = key(
        4.5,
        "classifier-free guidance in diffusers' sense; the paper's w = guidance_scale - 1; 1 is none",
        minimum=0,
    )
    guidance_from: float = key(
        0.0,
        "share of the steps, 0 to 1, before guidance begins; steps without it compute half as much",
        minimum=0,
        maximum=1,
    )
    guidance_until: float = key(1.0, "share of the steps, 0 to 1, after which guidance ends", minimum=0, maximum=1)
    deep_cache_every: int = key(
        1,
        "the denoiser's coarse levels are computed at every such step and kept for the steps between; 1 computes them "
        "at all steps and keeps nothing",
        minimum=1,
    )
    deep_cache_levels: int = key(
        1, "finest levels of the denoiser that are computed at every step, where deep_cache_every is not 1", minimum=1
    )
    initial: str = key(
        "noise",
        "what denoising starts from: noise alone, or the portrait's latents, as they are or blurred (9 x 9, sigma 18), "
        "under the noise of the first timestep",
        choices=("noise", "reference", "blurred_reference"),
    )
    f_rts: str = key(
        "driving",
        "head placement given to the model: the driving head's (dx, dy, s), or for all frames the portrait's own "
        "(0, 0, 1), so that it stays in place; only motion latents have one",
        choices=("driving", "reference"),
    )
    loop: bool = key(
        False,
        "windows go round from the last frame to the first and are moved by a random offset at every step; all "
        "latents then live at once. Without, memory does not grow with the clip",
    )
    window: int = key(24, "frames denoised together", minimum=1)
    overlap: int = key(4, "frames that neighbouring windows share", minimum=0)
    overlap_layers: str = key(
        "all",
        "layers that compute shared frames again in the second window, after which both are averaged; temporal: only "
        "those that let frames see each other, which then know the shared frames by what entered them in the first",
        choices=("all", "temporal"),
    )
    reference_precision: str | None = key(
        None, "round the reference features to this format; null: not at all", choices=("float16",)
    )
    decoder: str = key(
        "full",
        "what makes pictures of latents: the weights' autoencoder, or a tiny one, see the key tiny_vae",
        choices=("full", "tiny"),
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
        sampler: "paper", "release", "fast", or settings of one's own.
        changes: values by key; None leaves the sampler's.
    Raises:
        XNeMoError: unknown name, a value that the key does not allow, or values that make no sense together.
    """
    chosen = load_sampler(sampler) if isinstance(sampler, str) else sampler
    chosen = replace(chosen, **{name: value for name, value in changes.items() if value is not None})
    check_values(chosen)
    guided_steps(chosen)
    if chosen.loop and chosen.deep_cache_every > 1:
        raise XNeMoError(
            f"sampler.deep_cache_every={chosen.deep_cache_every}: the windows of a closed loop are other ones at every "
            "step, so there is nothing to reuse; take sampler.loop=false"
        )
    if chosen.loop and chosen.overlap_layers != "all":
        raise XNeMoError(
            f"sampler.overlap_layers={chosen.overlap_layers}: in a closed loop no window comes before the others; take "
            "sampler.loop=false"
        )
    return chosen


def guided_steps(sampler: SamplerConfig) -> range:
    """The steps at which the negative branch of guidance is computed.

    A step is one of them if the share of the steps before it is at least `guidance_from` and less than
    `guidance_until`.

    Raises:
        XNeMoError: guidance is asked for, but not at any step.
    """
    if sampler.guidance_scale <= 1:
        return range(0)
    # Shares are decimal fractions: 0.6 of 25 steps is 15, and not a little more.
    first, stop = (
        math.ceil(round(share * sampler.steps, 6)) for share in (sampler.guidance_from, sampler.guidance_until)
    )
    if first >= stop:
        raise XNeMoError(
            f"sampler.guidance_from={sampler.guidance_from:g}, sampler.guidance_until={sampler.guidance_until:g}: none "
            f"of the {sampler.steps} steps is guided; to have it so, take guidance_scale=1"
        )
    return range(first, stop)


@cache
def _load(name: str) -> SamplerConfig:
    return load_config("sampling", [f"sampler={name}"]).sampler


register_group("sampler", SamplerConfig)
register_root("sampling", SamplingConfig)
