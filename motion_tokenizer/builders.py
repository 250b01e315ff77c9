"""The one place that turns the tokenizer's settings into objects."""

from __future__ import annotations

from dataclasses import asdict

import torch

from animator.config_loader import load_config
from animator.errors import XNeMoError
from motion_tokenizer.config import TokenizerConfig
from motion_tokenizer.features import FEATURES
from motion_tokenizer.models.vqvae import MotionVQVAE


def tokenizer_config(size: str, *overrides: str) -> TokenizerConfig:
    """The architecture called `size` ("paper", "lite", "tiny"), with `tokenizer.KEY=VALUE` overrides."""
    return load_config("tokenizer_architecture", [f"tokenizer={size}", *overrides]).tokenizer


def build_model(config: TokenizerConfig, seed: int = 0) -> MotionVQVAE:
    """Build the networks with fresh weights, in evaluation mode, float32, on the CPU.

    Args:
        config: the architecture.
        seed: of the random weights; the global random state is left as it was.
    Raises:
        XNeMoError: settings that do not go together.
    """
    settings = asdict(config)
    del settings["fps"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return MotionVQVAE(features=FEATURES, **settings).eval()
        except ValueError as error:
            raise XNeMoError(f"tokenizer: {error}") from error
