"""The typed settings of the commands that make motion up: one dataclass for each file in `configs/`."""

from __future__ import annotations

from dataclasses import dataclass

from animator.config import RenderConfig
from animator.config_loader import key, register_root
from motion_gpt.seam import SeamSettings
from motion_gpt.settings import Sampling


@dataclass
class GenerateConfig(RenderConfig):
    """What `xnemo outpaint` and `xnemo emote` share."""

    tokenizer_weights: str | None = key(
        None, "folder with a motion tokenizer, as its training writes it; null: the packaged one"
    )
    gpt_weights: str | None = key(
        None, "folder with a motion generator, as its training writes it; null: the packaged one"
    )
    sampling: Sampling = key(Sampling, "how motion is drawn")
    seam: SeamSettings = key(SeamSettings, "how made-up motion is joined to given motion")
    start: float = key(
        0.0, "where the given clip begins, in seconds of its file; its sound is mono if not 0", minimum=0
    )
    stop: float | None = key(
        None, "where the given clip ends and made-up motion begins, in seconds of its file; null: its end", minimum=0
    )
    sound: bool = key(True, "keep the given clip's sound for as long as the clip lasts")
    longest: float = key(
        600.0,
        "most seconds that may be asked for; memory does not grow with them (with the diffusion model by 4 kB a "
        "frame), time does",
        minimum=0,
    )


@dataclass
class OutpaintConfig(GenerateConfig):
    """Settings of `xnemo outpaint`."""


@dataclass
class EmoteConfig(GenerateConfig):
    """Settings of `xnemo emote`."""


@dataclass
class InterpolateConfig(RenderConfig):
    """Settings of `xnemo interpolate`."""

    fps: float = key(25.0, "frames a second of the result", minimum=1, maximum=240)
    mode: str = key(
        "slerp",
        "linear: latents are mixed; slerp: their directions turn at constant speed while their lengths are mixed",
        choices=("linear", "slerp"),
    )
    easing: str = key(
        "smooth",
        "smooth: each transition begins and ends at rest; in, out: only begins, only ends so; linear: constant speed",
        choices=("smooth", "in", "out", "linear"),
    )
    hold: float = key(0.0, "seconds that each key is held", minimum=0, maximum=60)
    longest: float = key(600.0, "most seconds between two keys that may be asked for", minimum=0)
    loop: bool = key(False, "end with a transition back to the first key, so that the video can be repeated")


def register() -> None:
    """Make this module's types known to the loader; calling it again changes nothing."""
    register_root("outpaint", OutpaintConfig)
    register_root("emote", EmoteConfig)
    register_root("interpolate", InterpolateConfig)


register()
