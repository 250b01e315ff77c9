"""The optimisers of a run."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from animator.errors import XNeMoError
from animator.training.config import TrainAnimatorConfig


def build_optimizer(config: TrainAnimatorConfig, modules: Iterable[nn.Module]) -> torch.optim.Optimizer:
    """AdamW for the parameters of some modules that are to be trained.

    Raises:
        XNeMoError: bitsandbytes is asked for and not there.
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    settings = {"lr": config.learning_rate, "betas": (0.9, config.beta2), "weight_decay": config.weight_decay}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, **settings)  # type: ignore[arg-type]
    try:
        from bitsandbytes.optim import AdamW8bit  # type: ignore[import-not-found]
    except ImportError as error:
        raise XNeMoError(
            "optimizer=adamw8bit needs bitsandbytes (pip install bitsandbytes, on a machine with a GPU); or set "
            "optimizer=adamw"
        ) from error
    return AdamW8bit(parameters, **settings)
