"""`xnemo evaluate gate`: may these weights replace those?"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from animator.errors import XNeMoError
from animator.evaluation.config import AllConfig, GateConfig, SheetsConfig
from apps.evaluation import LIMIT, OUTPUT, report_folder
from apps.verb import Context, Option, PartlyFailed, Verb

CARD = Option(
    ("--card",),
    "model card to whose end the table is added where the candidates pass; may be given several times",
    "FILE",
    many=True,
)


def run(files: list[str], config: GateConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Measure both by `xnemo evaluate all`, and compare.

    Raises:
        PartlyFailed: the candidates are refused.
    """
    from animator.evaluation.gate import as_markdown, reasons_against
    from animator.evaluation.sheets import write_sheets
    from animator.files import atomic_path
    from apps.gate import PARTS, candidates_in, compare_reports

    candidates = candidates_in(Path(files[0]))
    cards = [Path(card) for card in options.card or ()]
    for card in cards:
        if not card.is_file():
            raise XNeMoError(f"{card}: no such model card")
    folder = report_folder(options, context)
    named = {PARTS[name].setting: str(path) for name, path in candidates.items()}
    reports = {}
    for name, settings in (("shipped", {}), ("candidate", named)):
        print(f"measuring the {name} weights", file=sys.stderr)
        reports[name] = _measure(files[1:], config, settings, folder / name, options, context)
    found = compare_reports(reports["shipped"], reports["candidate"], config.resamples, config.seed, config.tolerance)
    table, reasons = as_markdown(found), reasons_against(found)
    result = {
        "passed": not reasons,
        "reasons": reasons,
        "comparisons": [
            {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in asdict(c).items()}
            for c in found
        ],
        "candidates": {name: str(path) for name, path in candidates.items()},
        "table": table,
        "report": str(folder / "gate.json"),
    }
    with atomic_path(folder / "gate.json") as path:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    with atomic_path(folder / "gate.md") as path:
        path.write_text(f"# {_heading(reasons)}\n\n{table}", encoding="utf-8")
    sheets = write_sheets(folder / "candidate", folder / "shipped", folder, SheetsConfig())
    result["sheets"] = {name: str(path) for name, path in sheets.items()}
    if reasons:
        raise PartlyFailed(f"the candidates are refused: {'; '.join(reasons)} ({folder / 'gate.md'})", result)
    for card in cards:
        _add_to(card, reports["candidate"], table)
    return result


def summary(result: dict[str, Any]) -> str:
    """The table and the verdict."""
    return f"{result['table']}\n{_heading(result['reasons'])}\nreport: {result['report']}"


def _heading(reasons: list[str]) -> str:
    return f"The candidates are refused: {'; '.join(reasons)}" if reasons else "The candidates may take their place"


def _measure(
    files: list[str],
    config: GateConfig,
    named: dict[str, str],
    folder: Path,
    options: argparse.Namespace,
    context: Context,
) -> dict[str, Any]:
    """The report of `xnemo evaluate all`; what lies there already is not measured again."""
    from apps.commands import evaluate_all

    settings = {field.name: getattr(config, field.name) for field in fields(AllConfig)} | named
    given = argparse.Namespace(output=str(folder), limit=options.limit, results=None)
    kept = context.kept
    evaluate_all.run(files, AllConfig(**settings), given, context)
    context.kept = kept
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


def _add_to(card: Path, report: dict[str, Any], table: str) -> None:
    """Add the table to the card's history."""
    from animator.files import atomic_path

    about = report["provenance"]
    text = card.read_text(encoding="utf-8").rstrip("\n")
    if "\n## History\n" not in text:
        text += "\n\n## History"
    text += f"\n\n{about['finished'][:10]}, encoder {about['encoder_id']}, before and after:\n\n{table}"
    with atomic_path(card) as path:
        path.write_text(text, encoding="utf-8")


VERB = Verb(
    usage="xnemo evaluate gate CANDIDATES DATA | PORTRAITS CLIPS... [-o DIR] [--limit N] [--card FILE] [key=value ...] "
    "[--json]",
    config="evaluate_gate",
    run=run,
    summary=summary,
    least_inputs=2,
    most_inputs=sys.maxsize,
    options=(OUTPUT, LIMIT, CARD),
)
