"""A whole evaluation as one HTML page that needs no other file: tables, plots, contact sheets, the worst clips' videos.

The other clips' sheets and videos lie beside it and are linked.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from animator.evaluation.html_experiment import experiment
from animator.evaluation.html_pieces import embedded, facts, from_markdown, number, page, table
from animator.evaluation.latent import SHEET_NAME
from animator.evaluation.plots import Bar, bars
from animator.evaluation.provenance import one_line

TITLES = {
    "self": "Self-reenactment",
    "cross": "Cross-reenactment",
    "ablation": "Weights side by side",
    "latent": "The motion latent on synthetic heads",
    "tokenizer": "Motion tokenizer",
    "generation": "Motion generation",
}
INTRODUCTIONS = {
    "self": "The first frame of a clip is the portrait and the clip drives it, so the clip itself is the truth.",
    "cross": "A clip drives somebody else's portrait. No truth exists; it is measured whom the result looks like and "
    "whether it does what the driver does.",
    "ablation": "Cross-reenactment of the same pairs by several weights.",
    "latent": "Drawn heads whose identity and motion are known. The motion latent f_mot should hold the motion and not "
    "the person; the grey pixels of the same crops are a yardstick.",
    "tokenizer": "Motion to tokens and back, on people that it was not trained on.",
    "generation": "Continuations and emotions, beside real motion and baselines.",
}


def html_report(report: dict[str, Any], folder: Path, records: str) -> str:
    """The page of a report.

    Args:
        report: `{"provenance": ..., "self": ..., "cross": ..., ...}`, whatever parts were run, as in report.json.
        folder: where the page will lie.
        records: name of its subfolder with the records, for sheets, curves and videos; it may be missing.
    """
    about = report["provenance"]
    parts = [name for name in report if name != "provenance"]
    body = [f"<h1>Evaluation of {escape(about['weights'])}</h1>", f"<p class=soft>{escape(one_line(about))}</p>"]
    if len(parts) > 1:
        body.append(f"<nav>{''.join(f'<a href=#{name}>{escape(_title(name))}</a>' for name in parts)}</nav>")
    for name in parts:
        body.append(f'<h2 id="{escape(name)}">{escape(_title(name))}</h2>')
        body += [f"<p>{escape(INTRODUCTIONS[name])}</p>"] if name in INTRODUCTIONS else []
        body += _part(report[name], folder, records)
    body += ["<h2>Provenance</h2>", *_networks(about), *facts({k: v for k, v in about.items() if k != "networks"})]
    return page(f"{about['weights']}: evaluation", body)


def _title(name: str) -> str:
    return TITLES.get(name, name)


def _part(part: dict[str, Any], folder: Path, records: str) -> Sequence[str]:
    if "not_measured" in part:
        return [f"<p><b>Not measured:</b> {escape(part['not_measured'])}</p>"]
    if "methods" in part:
        return experiment(part, folder / records)
    if "probes" in part:
        return _latent(part, folder / SHEET_NAME)
    if "own_report" in part and (folder / part["own_report"] / "report.md").is_file():
        return _own_report(folder, part["own_report"])
    return facts(part)


def _latent(part: dict[str, Any], sheet: Path) -> list[str]:
    spaces = [row["representation"] for row in part["ordering"]]
    questions = [
        ("one motion on two heads lies closer than two motions on one head", "ordering", "closer", 0.5),
        ("the nearest frame of another head shows the same motion", "ordering", "nearest", "nearest_by_chance"),
        ("a linear map names the person (lower is better)", "identity", "named", "by_chance"),
    ]
    rows = [["share in which", *map(escape, spaces), "by chance"]]
    for question, group, key, chance in questions:
        found = [number(row[key], 2) for row in part[group]]
        by_chance = chance if isinstance(chance, float) else part[group][0][chance]
        rows.append([escape(question), *found, number(by_chance, 2)])
    seen = part["frames"] - part["frames_without_face"]
    plots = [
        bars(
            f"R2 of a linear map, {space}: 1 is all, 0 the mean",
            [Bar(row["coefficient"], row[space], text=number(row[space], 2)) for row in part["probes"]],
            1.0,
        )
        for space in spaces
    ]
    return [
        f"<p class=soft>{part['heads']} heads, {part['motions']} motions that all show, {part['own_motions']} that "
        f"only one shows; a face found in {seen} of {part['frames']} pictures.</p>",
        table(rows),
        f'<img alt="synthetic heads" src="{embedded(sheet, "image/jpeg")}">' if sheet.is_file() else "",
        f'<div class="plots">{"".join(plots)}</div>',
    ]


def _own_report(folder: Path, name: str) -> list[str]:
    """The tables of a part that has a report of its own, and its picture."""
    own, picture = folder / name, folder / name / "report.png"
    links = [file for kind in ("html", "md", "json") if (file := own / f"report.{kind}").is_file()]
    linked = ", ".join(f'<a href="{file.relative_to(folder).as_posix()}">{file.name}</a>' for file in links)
    shown = [f'<img alt="plots" src="{embedded(picture, "image/png")}">'] if picture.is_file() else []
    text = (own / "report.md").read_text(encoding="utf-8")
    return [f"<p class=soft>Its own report: {linked}</p>", *shown, *from_markdown(text)]


def _networks(about: dict[str, Any]) -> list[str]:
    rows = [["network", "stands for", "file", "sha256"]]
    for network in about["networks"].values():
        file = network["path"] if network["known"] else f"{network['path']} (not the listed file)"
        rows.append([*map(escape, (network["name"], network["stands_for"] or "–", file)), network["sha256"]])
    return [table(rows)]
