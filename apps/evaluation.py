"""What the `xnemo evaluate` commands share: their options, and a report in a folder and in a few lines."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from animator.evaluation.config import MeasureConfig, ReenactmentConfig
from apps.verb import Context, Option, UsageError

OUTPUT = Option(("-o", "--output"), "folder for the report and its records (default outputs/evaluation)", "DIR")
LIMIT = Option(("--limit",), "use only the first N clips, for a quick look", "N")
RESULTS = Option(
    ("--results",),
    "folder with another program's videos of the same clips: CLIP.mp4 (self) or PORTRAIT_CLIP.mp4 (cross); may be "
    "given several times",
    "DIR",
    many=True,
)

# The figures that a summary on the terminal shows.
SHOWN = ("l1", "ssim", "lpips", "identity", "aed", "apd", "emotion", "leakage", "failures")


def report_folder(options: argparse.Namespace, context: Context) -> Path:
    """Where the report goes; tells the context what an interruption leaves there."""
    folder = Path(options.output or "outputs/evaluation")
    context.kept = f"{folder} holds what was measured, and the same command goes on from there"
    return folder


def limit_of(options: argparse.Namespace) -> int | None:
    """The value of `--limit`.

    Raises:
        UsageError: it is not a whole number above 0.
    """
    if options.limit is None:
        return None
    if not options.limit.isdigit() or int(options.limit) < 1:
        raise UsageError(f"--limit {options.limit}: must be a whole number above 0")
    return int(options.limit)


def result_folders(options: argparse.Namespace) -> list[Path]:
    """The values of `--results`."""
    return [Path(folder) for folder in options.results or ()]


def reported(
    config: MeasureConfig,
    networks: dict[str, Any],
    folder: Path,
    parts: Callable[[], dict[str, Any]],
    weights: Sequence[str] = (),
) -> dict[str, Any]:
    """Run the parts of an evaluation and write the report.

    Args:
        config: the settings.
        networks: role -> what was measured with, for JSON; parts may add to it.
        folder: of the report.
        parts: runs them and gives them by name.
        weights: the weights under test, where they are not those of the settings.
    Returns:
        What `--json` prints: paths of the report and the figures without the clips.
    """
    from animator.evaluation.provenance import provenance
    from animator.evaluation.report import write_report

    started = time.monotonic()
    found = parts()
    about = provenance(config, networks, weights or [config.weights], time.monotonic() - started)
    paths = write_report(folder, {"provenance": about} | found)
    figures = {name: {key: value for key, value in part.items() if key != "records"} for name, part in found.items()}
    return {"report": paths, "provenance": about} | figures


def run_reenactment(
    config: ReenactmentConfig,
    options: argparse.Namespace,
    context: Context,
    clips: Sequence[str],
    portraits: str | None,
) -> dict[str, Any]:
    """Run `evaluate self` (no portraits) or `evaluate cross`."""
    from animator.evaluation.reenactment import locate_networks, reenact

    folder, limit, results = report_folder(options, context), limit_of(options), result_folders(options)
    driving = [Path(clip) for clip in clips]
    stills = None if portraits is None else [Path(portraits)]
    networks = locate_networks(config, [*driving, *(stills or [])])
    return reported(
        config,
        networks.plain(),
        folder,
        lambda: reenact(config, driving, stills, networks, folder, portraits is None, limit, results),
    )


def summary(result: dict[str, Any]) -> str:
    """The figures of all methods in a few lines, and where the report is."""
    lines: list[str] = []
    for name, part in result.items():
        if isinstance(part, dict) and "methods" in part:
            lines += _table(name, part)
        elif isinstance(part, dict) and "not_measured" in part:
            lines += [f"{name} is not measured: {part['not_measured']}", ""]
    lines.append(f"report: {result['report']['html']}")
    return "\n".join(lines)


def _table(name: str, part: dict[str, Any]) -> list[str]:
    columns = [
        column
        for column in part["columns"]
        if column["key"] in SHOWN and any(column["key"] in method["figures"] for method in part["methods"].values())
    ]
    rows = [[name, *(column["label"] for column in columns)]]
    for method, found in part["methods"].items():
        rows.append([method, *(_cell(found["figures"].get(column["key"]), column) for column in columns)])
    first, *widths = (max(map(len, cells)) for cells in zip(*rows, strict=True))
    lines = [
        "  ".join([f"{head:<{first}}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))])
        for head, *cells in rows
    ]
    skipped = len(part["skipped"])
    return [*lines, *([f"{skipped} could not be measured; the report says why"] if skipped else []), ""]


def _cell(figure: dict[str, Any] | None, column: dict[str, Any]) -> str:
    value = None if figure is None else figure["value"]
    return "–" if value is None else f"{value:.{column['digits']}f}"
