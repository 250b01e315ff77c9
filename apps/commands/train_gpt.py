"""`xnemo train gpt`: the training recipe of `motion_gpt.training`, resumable."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from apps.verb import Context, Verb
from motion_gpt.training.config import TrainGptConfig


def run(files: list[str], config: TrainGptConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Train until the steps are done or nothing improves; the same command goes on with an interrupted run."""
    from motion_gpt.training.recipe import train_gpt

    context.kept = f"{config.output} holds the last checkpoint, and the same command goes on from it"
    if files:
        config.dataset = files[0]
    return {"weights": str(train_gpt(config))}


def summary(result: dict[str, Any]) -> str:
    """Where the weights are, and how to use them."""
    return f"{result['weights']}: use them with {shlex.quote('gpt_weights=' + result['weights'])}"


VERB = Verb(
    usage="xnemo train gpt [DATASET] [gpt=SIZE] [key=value ...] [--json]",
    config="train_gpt",
    run=run,
    summary=summary,
    most_inputs=1,
)
