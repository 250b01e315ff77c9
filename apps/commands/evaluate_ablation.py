"""`xnemo evaluate ablation`: the same pairs by several weights (Table 2 of the paper)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from animator.evaluation.config import ReenactmentConfig
from apps.evaluation import LIMIT, OUTPUT, limit_of, report_folder, reported, summary
from apps.verb import Context, UsageError, Verb


def run(files: list[str], config: ReenactmentConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Measure every weights folder on every pair."""
    from animator.evaluation.reenactment import ablate, locate_networks

    if config.weights is not None:
        raise UsageError("evaluate ablation takes its weights as file names behind PORTRAITS and CLIPS, not weights=")
    portraits, clips, *weights = files
    folder, limit = report_folder(options, context), limit_of(options)
    networks = locate_networks(config, [Path(clips), Path(portraits)])
    return reported(
        config,
        networks.plain(),
        folder,
        lambda: {"ablation": ablate(config, weights, [Path(clips)], [Path(portraits)], networks, folder, limit)},
        weights,
    )


VERB = Verb(
    usage="xnemo evaluate ablation PORTRAITS CLIPS WEIGHTS... [-o DIR] [--limit N] [key=value ...] [--json]",
    config="evaluate_ablation",
    run=run,
    summary=summary,
    least_inputs=3,
    most_inputs=sys.maxsize,
    options=(OUTPUT, LIMIT),
)
