"""Settings of `xnemo evaluate generation`."""

from __future__ import annotations

from dataclasses import dataclass

from animator.config import RuntimeConfig
from animator.config_loader import key, register_root
from animator.provenance.config import MarksConfig
from motion_gpt.seam import SeamSettings
from motion_gpt.settings import Sampling


@dataclass
class EmotionTestConfig:
    """Clips that are made from nothing for every emotion and level, and the probe that judges them."""

    clips: int = key(8, "clips for each emotion and level; 0: emotions are not measured", minimum=0)
    seconds: float = key(4.0, "length of each", minimum=1)
    window: float = key(2.0, "seconds of motion that the probe sees at once", minimum=0.5)
    guidance_scale: float = key(2.0, "guidance towards the emotion, in place of sampling.guidance_scale", minimum=0)
    penalty: float = key(
        1.0, "of the probe: weight of |W|^2 / 2 beside the mean log-likelihood, 0.01 is weak", minimum=0
    )


@dataclass
class ExampleConfig:
    """What is rendered with the GAN preview head."""

    clips: int = key(4, "continuations that are shown, evenly spaced; 0: nothing is rendered", minimum=0)
    videos: int = key(2, "how many of them also move, as videos inside the report", minimum=0)
    portrait: str | None = key(None, "picture that is animated; null: the demo's, which comes with scikit-image")


@dataclass
class EvaluateGenerationConfig(RuntimeConfig):
    """Settings of `xnemo evaluate generation`; `weights` are the animator's, which renders the examples."""

    gpt_weights: str | None = key(None, "folder with the motion generator; null: the packaged one")
    tokenizer_weights: str | None = key(None, "folder with the motion tokenizer; null: the packaged one")
    shuffled_gpt: str | None = key(
        None, "folder with a generator trained with shuffled_labels=true, the baseline of the emotions; null: none"
    )
    seed: int = key(0, "of everything that is drawn", minimum=0)
    prefix_seconds: float = key(2.0, "given motion", minimum=0.4)
    seconds: float = key(4.0, "its continuation", minimum=1)
    stride_seconds: float = key(1.0, "time between two prefixes of one clip", minimum=0.04)
    samples: int = key(4, "continuations of each prefix; figures are means over them", minimum=1)
    dimensions: int = key(8, "principal components of the motion latent that clip features are made of", minimum=2)
    splits: int = key(20, "splits of the prefixes in two halves, of which distances are averages", minimum=1)
    rollout_seconds: float = key(60.0, "length of the rollouts that show drift; 0: none", minimum=0)
    rollouts: int = key(12, "at most so many rollouts, of the first prefixes of the held-out clips", minimum=1)
    sampling: Sampling = key(Sampling, "how tokens are drawn")
    seam: SeamSettings = key(SeamSettings, "how a continuation is joined to its prefix")
    emotion: EmotionTestConfig = key(EmotionTestConfig, "emotions")
    examples: ExampleConfig = key(ExampleConfig, "examples")
    marks: MarksConfig = key(MarksConfig, "marks of their videos")


def register() -> None:
    """Make this module's types known to the loader."""
    register_root("evaluate_generation", EvaluateGenerationConfig)


register()
