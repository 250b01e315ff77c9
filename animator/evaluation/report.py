"""What was measured, on disk: report.json for machines, report.md for model cards and report.html for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from animator.evaluation.following import STILL
from animator.evaluation.html_report import TITLES, html_report
from animator.evaluation.provenance import one_line
from animator.evaluation.records import plain
from animator.files import atomic_path

RECORDS = "records"


def write_report(folder: Path, report: dict[str, Any]) -> dict[str, str]:
    """Write the three files of a report.

    Args:
        folder: where; the records are in its subfolder `records`.
        report: `{"provenance": ..., "self": ..., ...}`, whatever parts were run.
    Returns:
        Paths of the files by kind.
    """
    report = plain(report)
    texts = {
        "json": json.dumps(report, indent=1, allow_nan=False) + "\n",
        "md": markdown(report, folder),
        "html": html_report(report, folder, RECORDS),
    }
    paths = {}
    for kind, text in texts.items():
        with atomic_path(folder / f"report.{kind}") as path:
            path.write_text(text, encoding="utf-8")
        paths[kind] = str(folder / f"report.{kind}")
    return paths


def markdown(report: dict[str, Any], folder: Path) -> str:
    """The tables of a report that lies in a folder, and of the parts that have their own in its subfolders."""
    lines = [one_line(report["provenance"])]
    for name, part in report.items():
        if "methods" in part:
            lines += ["", f"## {TITLES.get(name, name)}", "", *_totals(part), "", *_following(part)]
            lines += ["", *_clips(part)]
            if part["skipped"]:
                lines += ["", "Not measured:", "", *(f"- {case}: {why}" for case, why in part["skipped"].items())]
        elif "own_report" in part and (own := folder / part["own_report"] / "report.md").is_file():
            lines += ["", f"## {TITLES.get(name, name)}", *_lower(own.read_text(encoding="utf-8"))]
        elif name != "provenance":
            lines += ["", f"## {TITLES.get(name, name)}", "", *_facts(part)]
    return "\n".join(lines) + "\n"


def _lower(text: str) -> list[str]:
    """A report's Markdown without its title, its other headings one level lower."""
    lines = [line for line in text.splitlines() if not line.startswith("# ")]
    return [f"#{line}" if line.startswith("#") else line for line in lines]


def _facts(part: dict[str, Any]) -> list[str]:
    """Any other part: numbers and words as a list, rows of numbers as tables; what is nested deeper is in the JSON."""
    lines = [f"- {key}: {_shown(value)}" for key, value in part.items() if not isinstance(value, (dict, list))]
    for key, rows in part.items():
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            heads = [head for head, value in rows[0].items() if not isinstance(value, (dict, list))]
            lines += ["", _row(key, *heads), "|---" * (1 + len(heads)) + "|"]
            lines += [_row("", *(_shown(row.get(head)) for head in heads)) for row in rows]
    return lines


def _shown(value: Any) -> str:
    return _number(value, 3) if value is None or isinstance(value, float) else str(value)


def _totals(part: dict[str, Any]) -> list[str]:
    used = [
        column
        for column in part["columns"]
        if not column["key"].startswith("follow_")
        and any(_figure(method, column["key"]) is not None for method in part["methods"].values())
    ]
    lines = [_row("", *(column["label"] for column in used)), "|---" * (1 + len(used)) + "|"]
    for name, method in part["methods"].items():
        cells = []
        for column in used:
            figure = method["figures"].get(column["key"], {})
            text = _number(figure.get("value"), column["digits"])
            if figure.get("low") is not None:
                ends = (_number(figure[end], column["digits"]) for end in ("low", "high"))
                text += " (" + " to ".join(ends) + ")"
            cells.append(text)
        lines.append(_row(f"{name}, {method['clips']} clips", *cells))
    for name, figures in ({"X-NeMo, the paper": part["paper"]} | part["paper_rows"]).items():
        if figures:
            cells = [_number(figures.get(column["key"]), column["digits"]) for column in used]
            lines.append(_row(f"{name} (other data)", *cells))
    return [*lines, "", "In parentheses: 95 % bootstrap intervals over clips."]


def _following(part: dict[str, Any]) -> list[str]:
    lines = [_row("correlation with the driver (extent of the movement)", *STILL), "|---" * (1 + len(STILL)) + "|"]
    for name, method in part["methods"].items():
        cells = []
        for signal in STILL:
            mean = method["following"][signal]
            cells.append(f"{_number(mean['correlation'], 2)} ({_number(mean['extent'], 2)})")
        lines.append(_row(name, *cells))
    clips = next(iter(part["methods"].values()))["following"]
    lines.append(_row("clips whose driver moves", *(str(clips[signal]["clips"]) for signal in STILL)))
    return lines


def _clips(part: dict[str, Any]) -> list[str]:
    """One line a clip of the first method, the weights under test."""
    first = next(iter(part["methods"]), None)
    keys = [column for column in part["columns"] if column["key"] in ("l1", "ssim", "lpips", "identity", "aed", "apd")]
    lines = [_row("clip", "frames", *(column["label"] for column in keys), *STILL)]
    lines.append("|---" * (2 + len(keys) + len(STILL)) + "|")
    for entry in part["records"]:
        if entry["method"] != first:
            continue
        name = entry["clip"] if entry["portrait"] is None else f"{entry['clip']} on {entry['portrait']}"
        numbers = [_number(entry["metrics"].get(column["key"]), column["digits"]) for column in keys]
        signals = [_correlation(entry["following"][signal]) for signal in STILL]
        lines.append(_row(name, str(entry["frames"]), *numbers, *signals))
    lines += [
        "",
        "In parentheses: the driver hardly moves in this signal, so the number says nothing and is in no mean.",
    ]
    return lines


def _correlation(found: dict[str, Any]) -> str:
    number = _number(found["correlation"], 2)
    return number if found["moves"] else f"({number})"


def _figure(method: dict[str, Any], key: str) -> float | None:
    return method["figures"].get(key, {}).get("value")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
