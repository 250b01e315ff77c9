"""`xnemo evaluate sheets`: the best and the worst clips of a report as pictures, and what they were before."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from animator.evaluation.config import SheetsConfig
from apps.verb import Context, Option, Verb


def run(files: list[str], config: SheetsConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Write the sheets of a report, with those of an earlier one beside them where it is named."""
    from animator.evaluation.sheets import write_sheets

    report, before = Path(files[0]), Path(files[1]) if len(files) > 1 else None
    paths = write_sheets(report, before, Path(options.output or report), config)
    return {name: str(path) for name, path in paths.items()}


def summary(result: dict[str, Any]) -> str:
    """Where they are."""
    return "\n".join(f"{name}: {path}" for name, path in result.items())


VERB = Verb(
    usage="xnemo evaluate sheets REPORT [BEFORE] [-o DIR] [key=value ...] [--json]",
    config="evaluate_sheets",
    run=run,
    summary=summary,
    least_inputs=1,
    most_inputs=2,
    options=(Option(("-o", "--output"), "folder for the pictures (default: that of the report)", "DIR"),),
)
