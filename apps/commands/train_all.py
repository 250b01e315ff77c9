"""`xnemo train all`: from clips to every weight that ships, and the verdict on them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from apps.chain_config import TrainAllConfig
from apps.verb import Context, Option, UsageError, Verb


def run(files: list[str], config: TrainAllConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Run every step that is not done yet.

    Raises:
        UsageError: --minutes is no number above 0.
    """
    from apps.chain import train_all

    if options.minutes is not None:
        config.minutes = _minutes(options.minutes)
    return train_all(Path(files[0]), Path(options.output or "outputs/weights"), config, context)


def summary(result: dict[str, Any]) -> str:
    """Where the weights are, and whether they are better than the packaged ones."""
    lines = [f"{name}: {folder}" for name, folder in result["weights"].items()]
    lines += [f"left out: {line}" for line in result["left_out"]]
    if "gate" in result:
        gate = result["gate"]
        verdict = (
            "better than the packaged weights" if gate["passed"] else f"no step ahead: {'; '.join(gate['reasons'])}"
        )
        lines.append(f"{verdict} ({gate['report']})")
    return "\n".join(lines)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < float("inf"):
        raise UsageError(f"--minutes {text}: must be a number above 0")
    return minutes


VERB = Verb(
    usage="xnemo train all CLIPS|MANIFEST [-o DIR] [--minutes N] [key=value ...] [--json]",
    config="train_all",
    run=run,
    summary=summary,
    least_inputs=1,
    most_inputs=1,
    options=(
        Option(("-o", "--output"), "folder for all that is made (default outputs/weights)", "DIR"),
        Option(("--minutes",), "training time of all networks together; minutes= is the same", "N"),
    ),
)
