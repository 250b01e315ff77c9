"""`xnemo evaluate tokenizer`: reconstruction of held-out people, use of the codebook, baselines, pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from apps.verb import Context, Option, Verb
from motion_tokenizer.evaluation.config import EvaluateTokenizerConfig

DEFAULT_FOLDER = "outputs/evaluate_tokenizer"


def run(
    files: list[str], config: EvaluateTokenizerConfig, options: argparse.Namespace, context: Context
) -> dict[str, Any]:
    """Measure a tokenizer on the validation split of a dataset and write the report."""
    from animator.evaluation.report import plain
    from motion_tokenizer.evaluation.protocol import evaluate_tokenizer
    from motion_tokenizer.evaluation.report import write_report

    evaluation = evaluate_tokenizer(config, Path(files[0]))
    written = write_report(evaluation, Path(options.output or DEFAULT_FOLDER))
    return {"files": written, "report": plain(evaluation.report)}


def summary(result: dict[str, Any]) -> str:
    """The tables, and where they are."""
    from motion_tokenizer.evaluation.report import markdown

    return markdown(result["report"]) + "\n" + "\n".join(result["files"].values())


VERB = Verb(
    usage="xnemo evaluate tokenizer DATASET [-o REPORT_DIR] [key=value ...] [--json]",
    config="evaluate_tokenizer",
    run=run,
    summary=summary,
    least_inputs=1,
    most_inputs=1,
    options=(Option(("-o", "--output"), f"folder for the report (default {DEFAULT_FOLDER})", "REPORT_DIR"),),
)
