"""`xnemo train animator`: the training recipe of `animator.training`, resumable."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from animator.training.config import TrainAnimatorConfig
from apps.verb import Context, Verb


def run(files: list[str], config: TrainAnimatorConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Train until time or steps are used up; the same command goes on with an interrupted run."""
    from animator.training.recipe import train_animator

    context.kept = f"{config.output} holds the last checkpoint, and the same command goes on from it"
    return {"weights": str(train_animator(config))}


def summary(result: dict[str, Any]) -> str:
    """Where the weights are, and how to use them."""
    # Networks of the image stage are no animator yet: the motion encoder is missing.
    key = "weights" if (Path(result["weights"]) / "model_index.json").is_file() else "start_from"
    return f"{result['weights']}: use them with {shlex.quote(key + '=' + result['weights'])}"


VERB = Verb(
    usage="xnemo train animator [train=STAGE] [ablation=NAME] [animator=SIZE] [key=value ...] [--json]",
    config="train_animator",
    run=run,
    summary=summary,
)
