"""`xnemo evaluate self`: clips drive their own first frames (Table 1 of the paper, left)."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from animator.evaluation.config import ReenactmentConfig
from apps.evaluation import LIMIT, OUTPUT, RESULTS, run_reenactment, summary
from apps.verb import Context, Verb


def run(files: list[str], config: ReenactmentConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Measure every clip against itself."""
    return run_reenactment(config, options, context, files, None)


VERB = Verb(
    usage="xnemo evaluate self CLIPS... [-o DIR] [--limit N] [--results DIR] [key=value ...] [--json]",
    config="evaluate_self",
    run=run,
    summary=summary,
    least_inputs=1,
    most_inputs=sys.maxsize,
    options=(OUTPUT, LIMIT, RESULTS),
)
