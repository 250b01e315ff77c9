"""What was measured, as `report.json` for machines, `report.md`, and `report.html`, which needs no other file."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from animator.evaluation.report import plain
from animator.files import atomic_path
from motion_gpt.evaluation.examples import Example

FILES = ("report.json", "report.md", "report.html")
_PLOTTED = (
    "frechet",
    "frechet_slow",
    "frechet_change",
    "mmd",
    "diversity",
    "multimodality",
    "seam_jerk",
    "still",
    "bits",
)
_DRIFT = {"frechet": "Fréchet distance", "variance": "variance over real", "speed": "speed over real"}
_STYLE = """
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.6rem 0}.scroll{overflow-x:auto}
th,td{padding:.25rem .6rem;border-bottom:1px solid #8884;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}img,video{max-width:100%;display:block;margin:.5rem 0;background:#fff}
.soft{opacity:.7}dt{font-weight:600}dd{margin:0 0 .3rem 1rem}
"""


def write_report(report: dict[str, Any], examples: Sequence[Example], folder: Path) -> dict[str, str]:
    """Write the three files; each appears when it is whole.

    Returns:
        Name of each -> its path.
    Raises:
        XNeMoError: one cannot be written.
    """
    report = plain(report)
    texts = {
        "report.json": json.dumps(report, indent=1, allow_nan=False) + "\n",
        "report.md": markdown(report),
        "report.html": html(report, examples),
    }
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return {name: str(folder / name) for name in FILES}


def markdown(report: dict[str, Any]) -> str:
    """The tables of a report."""
    columns = report["columns"]
    lines = ["# Motion generation", "", _about(report), "", *_markdown_table(_continuation_rows(report)), ""]
    lines += [f"- {column['label']}: {column['about']}" for column in columns]
    real = report["seam_of_real_clips"]
    lines += [
        "",
        f"95 % of the frames of real clips have a jerk below {real['jerk_p95']:.2f} medians of their clip, and "
        f"a change of velocity below {real['jump_p95']:.2f}.",
    ]
    for title, rows in (*_drift_tables(report), *_emotion_tables(report)):
        lines += ["", f"## {title}", "", *_markdown_table(rows)]
    return "\n".join(lines) + "\n"


def html(report: dict[str, Any], examples: Sequence[Example]) -> str:
    """The page."""
    body = ["<h1>Motion generation</h1>", f"<p>{escape(_about(report))}</p>", _html_table(_continuation_rows(report))]
    body += ["<details><summary>What the columns mean</summary><dl>"]
    body += [f"<dt>{escape(c['label'])}</dt><dd>{escape(c['about'])}</dd>" for c in report["columns"]]
    body += ["</dl></details>", _picture(_png(_bars(report)), "image/png", "the table as bars")]
    for title, rows in _drift_tables(report):
        body += [f"<h2>{escape(title)}</h2>", _html_table(rows)]
    if report["drift"] is not None:
        body.append(_picture(_png(_drift_curves(report["drift"])), "image/png", "drift over time"))
    for title, rows in _emotion_tables(report):
        body += [f"<h2>{escape(title)}</h2>", _html_table(rows)]
    body += ["<h2>Examples</h2>"] if examples else []
    for example in examples:
        body += [f"<h3>{escape(example.title)}</h3>", _picture(example.sheet, "image/jpeg", example.title)]
        if example.video is not None:
            body.append(f'<video controls loop muted src="{_data(example.video, "video/mp4")}"></video>')
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Motion generation</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>{''.join(body)}</body></html>\n"
    )


def _about(report: dict[str, Any]) -> str:
    generator, data = report["generator"], report["data"]
    sampling = generator["sampling"]
    sampled = ", ".join(f"{name} {sampling[name]}" for name in ("temperature", "top_k", "top_p"))
    return (
        f"Generator {generator['folder']}: {generator['layers']} layers, {generator['width']} wide, "
        f"{generator['parameters']:,} parameters, tokenizer {generator['tokenizer_id']}; {sampled}, "
        f"seed {generator['seed']}. {data['cases']} prefixes of {data['prefix_seconds']:g} s from "
        f"{data['clips_with_cases']} of {data['held_out_clips']} held-out clips, continued for {data['seconds']:g} s. "
        "The row real is the floor: what real continuations have beside those of other seconds of the same clips."
    )


def _continuation_rows(report: dict[str, Any]) -> list[list[str]]:
    columns = report["columns"]
    rows = [["", *(column["label"] for column in columns)]]
    for name, figures in report["ways"].items():
        rows.append([_words(name), *(_number(figures.get(column["key"]), column["digits"]) for column in columns)])
    return rows


def _drift_tables(report: dict[str, Any]) -> list[tuple[str, list[list[str]]]]:
    drift = report["drift"]
    if drift is None:
        return []
    tables = []
    for key, label in _DRIFT.items():
        bins = len(next(iter(drift["methods"].values())))
        heads = [f"{(n + 1) * drift['seconds']:g} s" for n in range(bins)]
        rows = [["", *heads]]
        rows += [[_words(name), *(_number(each[key], 2) for each in found)] for name, found in drift["methods"].items()]
        tables.append((f"Drift of {drift['rollouts']} rollouts: {label}", rows))
    return tables


def _emotion_tables(report: dict[str, Any]) -> list[tuple[str, list[list[str]]]]:
    emotion = report["emotion"]
    if emotion is None:
        return []
    heads = ["", "recognised", "95 %", "balanced", "order of levels", "clips or windows", *emotion["classes"]]
    rows = [heads]
    for name, found in emotion["methods"].items():
        recall = [_number(found["recall"][label], 2) for label in emotion["classes"]]
        interval = f"{_number(found['low'], 2)} to {_number(found['high'], 2)}"
        figures = [_number(found[key], 2) for key in ("balanced", "level_order")]
        rows.append([_words(name), _number(found["accuracy"], 2), interval, *figures, str(found["windows"]), *recall])
    rows.append(["chance", _number(emotion["chance"], 2), *[""] * (len(heads) - 2)])
    about = f"Emotions, judged by probes of {emotion['people']} people ({emotion['clips']} real clips)"
    tables = [(about, rows)]
    for name, found in emotion["methods"].items():
        table = [["shown, taken for", *emotion["classes"]]]
        table += [[label, *map(str, row)] for label, row in zip(emotion["classes"], found["confusion"], strict=True)]
        tables.append((f"What was taken for what: {_words(name)}", table))
    return tables


def _bars(report: dict[str, Any]) -> Figure:
    columns = [column for column in report["columns"] if column["key"] in _PLOTTED]
    figure = Figure(figsize=(14, 3.2 * -(-len(columns) // 3)), layout="constrained")
    for number, column in enumerate(columns, 1):
        axes = figure.add_subplot(-(-len(columns) // 3), 3, number)
        known = {
            _words(name): value
            for name, figures in report["ways"].items()
            if (value := figures.get(column["key"])) is not None
        }
        axes.barh(list(known), list(known.values()), color=["#dc2626" if n == "real" else "#2563eb" for n in known])
        axes.invert_yaxis()
        axes.set_title(column["label"])
    return figure


def _drift_curves(drift: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(14, 4), layout="constrained")
    for number, (key, label) in enumerate(_DRIFT.items(), 1):
        axes = figure.add_subplot(1, len(_DRIFT), number)
        for name, found in drift["methods"].items():
            seconds = [(n + 1) * drift["seconds"] for n in range(len(found))]
            width = 2.5 if name == "generator" else 1.0
            axes.plot(seconds, [each[key] for each in found], label=_words(name), linewidth=width)
        axes.set_title(label)
        axes.set_xlabel("seconds")
    axes.legend(fontsize=8)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()


def _picture(content: bytes, kind: str, about: str) -> str:
    return f'<img alt="{escape(about)}" src="{_data(content, kind)}">'


def _data(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *rest = ("| " + " | ".join(row) + " |" for row in rows)
    return [head, "|---" * len(rows[0]) + "|", *rest]


def _html_table(rows: Sequence[Sequence[str]]) -> str:
    html = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        html.append("<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>")
    return f'<div class="scroll"><table>{"".join(html)}</table></div>'


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or value != value else f"{value:.{digits}f}"
