"""Settings of `xnemo train tokenizer`."""

from __future__ import annotations

from dataclasses import dataclass

from animator.config_loader import key, register_root
from animator.training.config import StepScheduleConfig
from motion_tokenizer.config import TokenizerConfig


@dataclass
class TokenizerLossConfig:
    """Weights of the losses, all in units of each dimension's standard deviation; 0 switches a term off."""

    velocity: float = key(0.5, "smooth L1 of frame-to-frame differences, all dimensions", minimum=0)
    acceleration: float = key(0.0, "smooth L1 of second differences; 0.1 is a mild choice", minimum=0)
    boxes: float = key(0.1, "the 3 box dimensions together, beside 1 for the 512 latent dimensions", minimum=0)


@dataclass
class TokenizerAugmentConfig:
    """Changes of training windows; a window's start is random in any case."""

    mirrored: bool = key(True, "use the dataset's mirrored copies, where it has them")
    speed: float = key(0.0, "play faster or slower by up to this share; 0.1: 0.91 to 1.1 times", minimum=0, maximum=1)
    noise: float = key(
        0.0, "noise on what the encoder sees (not on what it is to give back), in standard deviations", minimum=0
    )
    mix: float = key(0.0, "share of windows that are superposed with another window of the batch", minimum=0, maximum=1)


@dataclass
class TrainTokenizerConfig:
    """Settings of `xnemo train tokenizer`."""

    tokenizer: TokenizerConfig = key(TokenizerConfig, "architecture")
    dataset: str = key("outputs/dataset", "motion dataset, as `xnemo extract FOLDER -o DATASET` writes it")
    output: str = key("outputs/train_tokenizer", "folder for checkpoints, logs and the finished weights")
    start_from: str | None = key(None, "folder of a trained tokenizer that a new run starts from; null: fresh weights")
    seed: int = key(0, "the same seed and data give the same run", minimum=0)
    window: int = key(128, "frames of a training window, a multiple of the tokenizer's frames a token", minimum=4)
    batch: int = key(32, "windows per step", minimum=1)
    balance: float = key(0.5, "0: every frame is drawn as often, 1: every identity", minimum=0, maximum=1)
    learning_rate: float = key(2e-4, "of AdamW", minimum=0)
    weight_decay: float = key(0.0, "of AdamW, on matrices and kernels only", minimum=0)
    gradient_clip: float = key(1.0, "largest norm of the gradient", minimum=0)
    ema_decay: float = key(0.999, "of the averaged weights that are kept", minimum=0, maximum=1)
    unquantised_steps: int = key(
        0, "first steps without the quantiser, so that the codebook starts from codes that mean something", minimum=0
    )
    searched_steps: int = key(
        0,
        "where tokenizer.search is above 1: last steps, in which encoder and codes stay as they are and the decoder "
        "learns to read tokens that are searched for",
        minimum=0,
    )
    searched_windows: int = key(
        1, "of these steps, so many have their windows tokenised by the same weights, before the next ones", minimum=1
    )
    searched_passes: int = key(
        1,
        "times that the decoder goes through them; to search takes ten times as long as to learn, on four ways fifty",
        minimum=1,
    )
    pool_vectors_per_code: int = key(16, "vectors a code that k-means starts the codebook from", minimum=1)
    mixed_precision: str = key("no", "format of large matrix products; bf16 for GPUs", choices=("no", "bf16"))
    losses: TokenizerLossConfig = key(TokenizerLossConfig, "losses")
    augment: TokenizerAugmentConfig = key(TokenizerAugmentConfig, "augmentation")
    schedule: StepScheduleConfig = key(StepScheduleConfig, "schedule")


def register() -> None:
    """Make this module's types known to the loader."""
    register_root("train_tokenizer", TrainTokenizerConfig)


register()
