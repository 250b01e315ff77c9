"""`xnemo train autoencoder`: the training recipe of `animator.training`, resumable."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from animator.training.config import TrainAutoencoderConfig
from apps.verb import Context, Verb


def run(
    files: list[str], config: TrainAutoencoderConfig, options: argparse.Namespace, context: Context
) -> dict[str, Any]:
    """Train until time or steps are used up; the same command goes on with an interrupted run."""
    from animator.training.autoencoder import train_autoencoder

    context.kept = f"{config.output} holds the last checkpoint, and the same command goes on from it"
    return {"weights": str(train_autoencoder(config))}


def summary(result: dict[str, Any]) -> str:
    """Where the weights are, and how to use them."""
    return f"{result['weights']}: use it with xnemo train animator {shlex.quote('start_from=' + result['weights'])}"


VERB = Verb(
    usage="xnemo train autoencoder [animator=SIZE] [key=value ...] [--json]",
    config="train_autoencoder",
    run=run,
    summary=summary,
)
