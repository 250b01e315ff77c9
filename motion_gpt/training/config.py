"""Settings of `xnemo train gpt`."""

from __future__ import annotations

from dataclasses import dataclass

from animator.config_loader import key, register_root
from animator.training.config import StepScheduleConfig
from motion_gpt.config import GptConfig


@dataclass
class GptAugmentConfig:
    """How the pool of tokens is made: from latents that are changed first, so that few clips become many."""

    mirrored: bool = key(True, "use the dataset's mirrored copies, where it has them")
    speed: float = key(0.1, "play faster or slower by up to this share; 0.1: 0.91 to 1.1 times", minimum=0, maximum=1)
    mix: float = key(
        0.5,
        "share of clips that are superposed with another one, a x1 + sqrt(1 - a^2) x2 of normalised features, a from 0 "
        "to 1; whose face it is shows in the latents, and sums of two are many faces",
        minimum=0,
        maximum=1,
    )
    same_emotion: float = key(
        0.5,
        "share of labelled clips' partners that have the same emotion, which the sum then keeps",
        minimum=0,
        maximum=1,
    )
    keep_label: float = key(
        0.9,
        "a sum of different emotions keeps the label of the clip that has this share of its variance",
        minimum=0.5,
        maximum=1,
    )
    pool: int = key(128, "clips that are made, and turned into tokens, at once", minimum=1)
    refresh_steps: int = key(64, "steps between two pools", minimum=1)


@dataclass
class CorruptionConfig:
    """Wrong tokens in what the network sees (never in what it is to say, nor in the condition)."""

    most: float = key(0.5, "each clip has a share of wrong tokens, drawn from 0 to this", minimum=0, maximum=1)
    near: float = key(
        0.5, "share of the wrong tokens that are near the right one; the others are any", minimum=0, maximum=1
    )
    neighbours: int = key(32, "codes that count as near", minimum=1)


@dataclass
class ConditionDropoutConfig:
    """How often a labelled clip is shown without its label, so that the network also learns to go without."""

    emotion: float = key(0.1, "share of clips without emotion", minimum=0, maximum=1)
    intensity: float = key(0.15, "share of clips without intensity", minimum=0, maximum=1)
    both: float = key(0.05, "share of clips without both", minimum=0, maximum=1)


@dataclass
class SmoothingConfig:
    """What the network is to say besides the right code."""

    uniform: float = key(0.02, "share of the target that is spread over all codes", minimum=0, maximum=0.5)
    near: float = key(
        0.2,
        "share that is spread over the nearest codes by softmax(-d^2 / s^2), d the distance of two codes and s^2 the "
        "mean squared distance of a code and its nearest",
        minimum=0,
        maximum=0.5,
    )
    neighbours: int = key(32, "codes that count as near", minimum=1)


@dataclass
class TrainGptConfig:
    """Settings of `xnemo train gpt`."""

    gpt: GptConfig = key(GptConfig, "size of the generator")
    tokenizer_weights: str | None = key(
        None, "folder of the motion tokenizer whose tokens it shall speak; null: the packaged one"
    )
    dataset: str = key("outputs/dataset", "motion dataset, as `xnemo extract FOLDER -o DATASET` writes it")
    output: str = key("outputs/train_gpt", "folder for checkpoints, logs and the finished weights")
    start_from: str | None = key(None, "folder of a trained generator that a new run starts from; null: fresh weights")
    seed: int = key(0, "the same seed and data give the same run", minimum=0)
    rows: int | None = key(None, "rows of a sequence that clips are packed into; null: the whole context", minimum=8)
    batch: int = key(2, "sequences a step", minimum=1)
    balance: float = key(0.5, "0: every frame is drawn as often, 1: every identity", minimum=0, maximum=1)
    labelled: float = key(
        0.4,
        "share of draws from clips with an emotion, every emotion as often; the others are drawn from all clips",
        minimum=0,
        maximum=1,
    )
    shuffled_labels: bool = key(
        False, "deal the emotions out at random among the labelled clips: the baseline that a real label must beat"
    )
    code_embedding: str = key(
        "codebook",
        "what the embedding of codes starts from; codebook: a random linear map of the tokenizer's codes, so that near "
        "codes start near; random: GPT-2's",
        choices=("codebook", "random"),
    )
    learning_rate: float = key(3e-4, "of AdamW", minimum=0)
    weight_decay: float = key(0.1, "of AdamW, on matrices only", minimum=0)
    gradient_clip: float = key(1.0, "largest norm of the gradient", minimum=0)
    ema_decay: float = key(0.995, "of the averaged weights that are kept", minimum=0, maximum=1)
    mixed_precision: str = key("no", "format of large matrix products; bf16 for GPUs", choices=("no", "bf16"))
    augment: GptAugmentConfig = key(GptAugmentConfig, "augmentation")
    corruption: CorruptionConfig = key(CorruptionConfig, "corruption of the input")
    condition_dropout: ConditionDropoutConfig = key(ConditionDropoutConfig, "condition dropout")
    smoothing: SmoothingConfig = key(SmoothingConfig, "label smoothing")
    schedule: StepScheduleConfig = key(StepScheduleConfig, "schedule")


def register() -> None:
    """Make this module's types known to the loader."""
    register_root("train_gpt", TrainGptConfig)


register()
