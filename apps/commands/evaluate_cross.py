"""`xnemo evaluate cross`: clips drive other people's portraits (Table 1 of the paper, right)."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from animator.evaluation.config import ReenactmentConfig
from apps.evaluation import LIMIT, OUTPUT, RESULTS, run_reenactment, summary
from apps.verb import Context, Verb


def run(files: list[str], config: ReenactmentConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Measure every pair of clip and portrait."""
    portraits, *clips = files
    return run_reenactment(config, options, context, clips, portraits)


VERB = Verb(
    usage="xnemo evaluate cross PORTRAITS CLIPS... [-o DIR] [--limit N] [--results DIR] [key=value ...] [--json]",
    config="evaluate_cross",
    run=run,
    summary=summary,
    least_inputs=2,
    most_inputs=sys.maxsize,
    options=(OUTPUT, LIMIT, RESULTS),
)
