"""The typed settings of `xnemo evaluate self`, `cross`, `ablation`, `latent`, `all` and `gate`."""

from __future__ import annotations

from dataclasses import dataclass

from animator.config import RuntimeConfig
from animator.config_loader import key, register_root
from animator.provenance.config import MarksConfig
from animator.sampler import SamplerConfig


@dataclass
class MeasureConfig(RuntimeConfig):
    """What every evaluation has."""

    models: str | None = key(
        None,
        "folder with the measuring networks; null: `models` beside a manifest, else `evaluation` in $XNEMO_HOME; "
        "docs/evaluation.md lists the files",
    )
    seed: int = key(0, "of rendering, of the bootstrap and of synthetic heads", minimum=0)
    workers: int | None = key(
        None, "processes that measure at the same time; null: one for each CPU core, up to 8, and 1 on a GPU", minimum=1
    )


@dataclass
class ReenactmentConfig(MeasureConfig):
    """Settings of `xnemo evaluate self`, `cross` and `ablation`."""

    renderer: str = key(
        "auto",
        "diffusion: the full model; gan: the instant preview; auto: what the weights recommend",
        choices=("auto", "diffusion", "gan"),
    )
    sampler: SamplerConfig = key(SamplerConfig, "how a clip is sampled (diffusion only)")
    split: str = key("validation", "which rows of a manifest are used, by their column split; all: every row")
    frames: int | None = key(None, "use only so many frames of each clip's beginning; null: all", minimum=2)
    pairs: str = key(
        "one",
        "cross-reenactment: one: clip n drives portrait n, both by name; all: every clip drives every portrait",
        choices=("one", "all"),
    )
    arcface: str | None = key(None, "weights of ArcFace, the paper's network for ID-SIM; null: the stand-in")
    emonet: str | None = key(None, "weights of EmoNet, the paper's network for EMO-SIM; null: the stand-in")
    baselines: bool = key(
        True, "measure copying the reference, copying the driver and pasting the driving face as well"
    )
    videos: bool = key(True, "write portrait, driver and result side by side for every clip")
    marks: MarksConfig = key(MarksConfig, "marks of these videos")
    resamples: int = key(1000, "bootstrap samples behind the 95 % intervals", minimum=100)


@dataclass
class LatentConfig(MeasureConfig):
    """Settings of `xnemo evaluate latent`."""

    heads: int = key(16, "synthetic heads; a quarter of them is kept from the probes", minimum=4)
    motions: int = key(24, "expressions and poses that every head shows", minimum=4)
    own: int = key(48, "expressions and poses that each head shows beside those, and no other head", minimum=4)
    side: int = key(192, "side of the rendered pictures in pixels", minimum=96, maximum=1024)
    identity_spread: float = key(
        1.0, "standard deviation of the heads' shapes in the model's units; 1 is its population", minimum=0
    )


@dataclass
class AllConfig(ReenactmentConfig):
    """Settings of `xnemo evaluate all`."""

    heads: int = key(12, "synthetic heads, see `xnemo evaluate latent`", minimum=4)
    dataset: str | None = key(
        None,
        "motion dataset for tokenizer and generation; null: one is extracted from the manifest that names the clips, "
        "of at most --limit clips of each split",
    )
    tokenizer_weights: str | None = key(None, "folder with the motion tokenizer; null: the packaged one")
    gpt_weights: str | None = key(None, "folder with the motion generator; null: the packaged one")


@dataclass
class SheetsConfig:
    """Settings of `xnemo evaluate sheets`."""

    experiment: str = key("self", "which part of the reports is shown", choices=("self", "cross"))
    clips: int = key(5, "how many of the best, and of the worst", minimum=1)
    by: str = key("l1", "the figure that decides: l1, ssim, lpips, identity, aed, apd, ...")
    kilobytes: int = key(300, "size of a picture at most, in thousands of bytes", minimum=20)


@dataclass
class GateConfig(AllConfig):
    """Settings of `xnemo evaluate gate`; weights= and the like name what the candidates would replace."""

    tolerance: float = key(
        0.02, "relative change that counts as none, of figures that exist once for all clips", minimum=0, maximum=1
    )


def register() -> None:
    """Make this module's types known to the loader; calling it again changes nothing."""
    register_root("evaluate_self", ReenactmentConfig)
    register_root("evaluate_cross", ReenactmentConfig)
    register_root("evaluate_ablation", ReenactmentConfig)
    register_root("evaluate_latent", LatentConfig)
    register_root("evaluate_all", AllConfig)
    register_root("evaluate_gate", GateConfig)
    register_root("evaluate_sheets", SheetsConfig)


register()
