"""`xnemo train tokenizer`: the training recipe of `motion_tokenizer.training`, resumable."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from apps.verb import Context, Verb
from motion_tokenizer.training.config import TrainTokenizerConfig


def run(
    files: list[str], config: TrainTokenizerConfig, options: argparse.Namespace, context: Context
) -> dict[str, Any]:
    """Train until the steps are done or the held-out error stops falling; the same command goes on where it stopped."""
    from motion_tokenizer.training.recipe import train_tokenizer

    context.kept = f"{config.output} holds the last checkpoint, and the same command goes on from it"
    if files:
        config.dataset = files[0]
    return {"weights": str(train_tokenizer(config))}


def summary(result: dict[str, Any]) -> str:
    """Where the weights are, and how to use them."""
    return f"{result['weights']}: use them with {shlex.quote('tokenizer_weights=' + result['weights'])}"


VERB = Verb(
    usage="xnemo train tokenizer [DATASET] [tokenizer=SIZE] [key=value ...] [--json]",
    config="train_tokenizer",
    run=run,
    summary=summary,
    most_inputs=1,
)
