"""`xnemo evaluate generation`: continuations and emotions of a motion generator, beside real motion and baselines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from apps.verb import Context, Option, Verb
from motion_gpt.evaluation.config import EvaluateGenerationConfig

DEFAULT_FOLDER = "outputs/evaluate_generation"


def run(
    files: list[str], config: EvaluateGenerationConfig, options: argparse.Namespace, context: Context
) -> dict[str, Any]:
    """Measure a generator on the validation split of a dataset, draw examples and write the report."""
    from animator.dataset import MotionDataset
    from animator.evaluation.report import plain
    from apps.commands.demo import demo_portrait
    from apps.evaluation import limit_of
    from motion_gpt.evaluation.examples import Stage, draw_examples
    from motion_gpt.evaluation.protocol import evaluate_generation
    from motion_gpt.evaluation.report import write_report

    limit = limit_of(options)
    stage = None
    if config.examples.clips:
        # First, because measuring takes minutes, and a wrong portrait shall be told at once.
        encoder_id = MotionDataset.open(files[0]).encoder_id
        stage = Stage.set_up(config, config.examples.portrait or demo_portrait(), encoder_id)
    evaluation = evaluate_generation(config, Path(files[0]), limit)
    examples = [] if stage is None else draw_examples(config, evaluation, stage)
    written = write_report(evaluation.report, examples, Path(options.output or DEFAULT_FOLDER))
    return {"files": written, "report": plain(evaluation.report)}


def summary(result: dict[str, Any]) -> str:
    """The tables, and where they are."""
    from motion_gpt.evaluation.report import markdown

    return markdown(result["report"]) + "\n" + "\n".join(result["files"].values())


VERB = Verb(
    usage="xnemo evaluate generation DATASET [-o REPORT_DIR] [--limit N] [key=value ...] [--json]",
    config="evaluate_generation",
    run=run,
    summary=summary,
    least_inputs=1,
    most_inputs=1,
    options=(
        Option(("-o", "--output"), f"folder for the report (default {DEFAULT_FOLDER})", "REPORT_DIR"),
        Option(("--limit",), "measure at most N prefixes and rollouts, and N clips an emotion, for a quick look", "N"),
    ),
)
