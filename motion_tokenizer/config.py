"""The typed settings of the tokenizer: its architecture, and the commands that use it.

A size (`tokenizer=paper|lite|tiny`) is a file in `configs/tokenizer/`; the defaults here are the paper's size.
"""

from __future__ import annotations

from dataclasses import dataclass

from animator.config import AnimateConfig
from animator.config_loader import key, register_group, register_root

KINDS = ("ema", "rotation", "simvq", "fsq", "cosine", "none")


@dataclass
class QuantizerConfig:
    """How vectors become tokens: `motion_tokenizer.quantizers`."""

    kind: str = key(
        "ema",
        "ema: codes follow the means of their vectors (van den Oord 2017, as T2M-GPT); rotation: the same with the "
        "rotation trick for gradients (Fifty 2024); cosine: the same on the unit sphere; simvq: a learned linear map "
        "of fixed codes (Zhu 2024); fsq: rounding, without a codebook to learn (Mentzer 2023); none: no tokens, the "
        "continuous baseline",
        choices=KINDS,
    )
    decay: float = key(
        0.99, "of the running means, a step (ema, rotation, cosine); 0.99 forgets in 100 steps", minimum=0, maximum=1
    )
    commitment: float = key(0.02, "weight of the pull of vectors towards their codes; T2M-GPT's (not fsq)", minimum=0)
    reset_threshold: float = key(
        0.1,
        "a code used less than this share of what uniform use would give is replaced by a vector drawn from the batch; "
        "0: never (ema, rotation, cosine)",
        minimum=0,
        maximum=1,
    )
    reset_count: float = key(
        1.0,
        "the use that a replaced code starts with, as a share of uniform use; at the threshold it would be replaced "
        "again in the next step",
        minimum=0,
    )
    kmeans_iterations: int = key(10, "rounds of the k-means that the codebook starts from", minimum=1)
    fsq_levels: list[int] = key(
        [4, 4, 4, 4, 2, 2, 2, 2], "steps of each dimension; their product is the number of codes (fsq)"
    )
    seed: int = key(0, "of the draws that replace codes", minimum=0)


@dataclass
class TokenizerConfig:
    """`motion_tokenizer.models.vqvae.MotionVQVAE`, and the frame rate that it is trained for."""

    fps: float = key(25.0, "frames a second of the motion that is tokenised; other motion is resampled", minimum=1)
    width: int = key(512, "channels of the hidden layers", minimum=1)
    depth: int = key(3, "residual blocks at each frame rate", minimum=1)
    dilation_growth: int = key(3, "factor between the dilations of neighbouring blocks", minimum=1)
    stride: int = key(4, "frames a token, a power of 2; 4 at 25 frames a second is 160 ms", minimum=2)
    code_dim: int = key(8, "length of a code", minimum=1)
    codes: int = key(4096, "codes of a codebook; 4096 are 12 bits", minimum=2)
    levels: int = key(
        1, "tokens for each step of time: further ones quantise what the ones before left (ema, rotation)", minimum=1
    )
    causal: bool = key(
        True,
        "look back only: a token is known when its frames are over (and search_delay more), and decodes at once; "
        "false: the paper's form, which looks 22 tokens ahead",
    )
    search: int = key(
        1,
        "codes that are tried for each token; the one whose decoded frames are nearest to the true ones is taken, "
        "given the tokens before. 1: the nearest code untried, as T2M-GPT; more needs causal",
        minimum=1,
    )
    search_predicted: bool = key(
        False,
        "which codes are tried: those nearest to what the encoder says, or those that promise the smallest error where "
        "the decoder is taken for linear",
    )
    search_paths: int = key(
        1, "ways that a search follows side by side; costs as many times as much, and needs search_delay", minimum=1
    )
    search_delay: int = key(
        0,
        "tokens after which one of those ways is taken: a token then depends on the frames of so many after its own, "
        "and streams tell it so much later",
        minimum=0,
    )
    search_boxes: float = key(0.25, "of the 3 box dimensions in that error, beside 1 for the latents", minimum=0)
    quantizer: QuantizerConfig = key(QuantizerConfig, "quantiser")


@dataclass
class TokenizerArchitectureConfig:
    """A tokenizer's architecture by itself, without a command around it."""

    tokenizer: TokenizerConfig = key(TokenizerConfig, "architecture")


@dataclass
class TokenizeConfig(AnimateConfig):
    """Settings of `xnemo tokenize`."""

    tokenizer_weights: str | None = key(
        None, "folder with a motion tokenizer, as its training writes it; null: the packaged one"
    )


@dataclass
class DetokenizeConfig(TokenizeConfig):
    """Settings of `xnemo detokenize`."""


@dataclass
class ReplayConfig(TokenizeConfig):
    """Settings of `xnemo replay`; they are for videos or motion files as sources, and motion as the result."""


def register() -> None:
    """Make this module's types known to the loader; calling it again changes nothing."""
    register_group("tokenizer", TokenizerConfig)
    register_root("tokenizer_architecture", TokenizerArchitectureConfig)
    register_root("tokenize", TokenizeConfig)
    register_root("detokenize", DetokenizeConfig)
    register_root("replay", ReplayConfig)


register()
