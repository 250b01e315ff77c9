"""An experiment of the paper in HTML: what it measures, what that hides, who follows, the worst clips, every clip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from animator.evaluation.baselines import BASELINES
from animator.evaluation.following import STILL
from animator.evaluation.html_pieces import embedded, number, table, words
from animator.evaluation.plots import Bar, bars, curves
from animator.evaluation.records import Record, load_record
from animator.evaluation.summary import worst

WORST = 5
AS_THE_PAPER = ("l1", "ssim", "lpips", "identity", "aed", "apd", "emotion")
HIDDEN = ("leakage", "closer", "flicker", "jitter", "jitter_driver", "failures", "video_distance")
OF_A_CLIP = ("l1", "ssim", "lpips", "identity", "aed", "apd", "leakage", "flicker", "jitter", "failures")

Part = dict[str, Any]
Column = dict[str, Any]


def experiment(part: Part, records: Path) -> list[str]:
    """Everything about one experiment.

    Args:
        part: as `summary.experiment_report` gives it.
        records: folder of the records.
    """
    used = [column for column in part["columns"] if _known(part, column["key"])]
    html = ["<h3>As in the paper</h3>", _main_table(part, _chosen(used, AS_THE_PAPER))]
    html += ["<h3>What that hides</h3>", _main_table(part, _chosen(used, HIDDEN))]
    html.append("<p><small>Small: 95 % bootstrap intervals over clips.")
    html.append(" Bold: the best, baselines aside.</small></p>" if len(_rivals(part)) > 1 else "</small></p>")
    html += ["<h3>Does it follow the driver?</h3>", _following(part)]
    html.append("<details><summary>What the columns mean</summary><dl>")
    html += [f"<dt>{escape(column['label'])}</dt><dd>{escape(column['about'])}</dd>" for column in used]
    html.append("</dl></details><h3>The same, drawn</h3>")
    if part["paper"]:
        html.append(
            "<p><small>Dashed: the paper's figure, on its own data; for flicker: 1, the driver's own.</small></p>"
        )
    html.append(f'<div class="plots">{"".join(_bars(part, column) for column in used if column["better"])}</div>')
    if part["skipped"]:
        html.append(f"<h3>Not measured: {len(part['skipped'])}</h3><ul>")
        html += [f"<li>{escape(name)}: {escape(why)}</li>" for name, why in part["skipped"].items()]
        html.append("</ul>")
    shown = worst([record for record in _records(part, records) if record.method == _main_method(part)], WORST)
    if shown:
        html.append(f"<h3>The worst {len(shown)} clips</h3>")
        for record in shown:
            html += _clip(record, _chosen(used, AS_THE_PAPER), records)
    return [*html, "<h3>Every clip</h3>", _clip_table(part, _chosen(used, OF_A_CLIP), records)]


def _chosen(columns: Sequence[Column], keys: Sequence[str]) -> list[Column]:
    return [column for column in columns if column["key"] in keys]


def _main_method(part: Part) -> str:
    """The weights under test, which come first."""
    return next(iter(part["methods"]))


def _rivals(part: Part) -> list[str]:
    return [name for name in part["methods"] if name not in BASELINES]


def _known(part: Part, key: str) -> bool:
    return any(method["figures"].get(key, {}).get("value") is not None for method in part["methods"].values())


def _name(method: str) -> str:
    return f"<span class=soft>{escape(method)}</span>" if method in BASELINES else f"<b>{escape(method)}</b>"


def _main_table(part: Part, columns: Sequence[Column]) -> str:
    best = {column["key"]: _best(part, column) for column in columns}
    rows = [["", *(_head(column) for column in columns)]]
    for name, method in part["methods"].items():
        cells = [f"{_name(name)} <small>{method['clips']} clips</small>"]
        for column in columns:
            figure = method["figures"].get(column["key"], {})
            text = number(figure.get("value"), column["digits"])
            if name in _rivals(part) and figure.get("value") is not None and figure["value"] == best[column["key"]]:
                text = f"<b>{text}</b>"
            if figure.get("low") is not None:
                low, high = (number(figure[end], column["digits"]) for end in ("low", "high"))
                text += f"<br><small>{low} to {high}</small>"
            cells.append(text)
        rows.append(cells)
    for name, figures in _of_the_paper(part).items():
        if any(column["key"] in figures for column in columns):
            cells = [number(figures.get(column["key"]), column["digits"]) for column in columns]
            rows.append([f"<span class=soft>{escape(name)}</span> <small>other data</small>", *cells])
    return table(rows)


def _of_the_paper(part: Part) -> dict[str, dict[str, float]]:
    return {"X-NeMo, the paper": part["paper"]} | part["paper_rows"]


def _head(column: Column) -> str:
    return f'<span title="{escape(column["about"])}">{escape(column["label"])}{_arrow(column)}</span>'


def _arrow(column: Column) -> str:
    return {"low": " ↓", "high": " ↑", "one": " → 1", "": ""}[column["better"]]


def _best(part: Part, column: Column) -> float | None:
    """The best figure of all that are no baselines; None where there is nothing to compare."""
    figures = [part["methods"][name]["figures"].get(column["key"], {}).get("value") for name in _rivals(part)]
    values = [value for value in figures if value is not None]
    if len(values) < 2 or not column["better"]:
        return None
    if column["better"] == "one":
        return min(values, key=lambda value: abs(value - 1))
    return min(values) if column["better"] == "low" else max(values)


def _following(part: Part) -> str:
    rows = [["correlation (extent of the movement, 1 is the driver's)", *(escape(words(signal)) for signal in STILL)]]
    for name, method in part["methods"].items():
        means = [method["following"][signal] for signal in STILL]
        cells = [f"{number(mean['correlation'], 2)} <small>({number(mean['extent'], 2)})</small>" for mean in means]
        rows.append([_name(name), *cells])
    clips = part["methods"][_main_method(part)]["following"]
    rows.append(["<span class=soft>clips whose driver moves</span>", *(str(clips[name]["clips"]) for name in STILL)])
    return table(rows)


def _bars(part: Part, column: Column) -> str:
    entries = []
    for name, method in part["methods"].items():
        figure = method["figures"].get(column["key"])
        if figure is not None:
            text = number(figure["value"], column["digits"])
            entries.append(Bar(name, figure["value"], figure["low"], figure["high"], text))
    mark = 1.0 if column["better"] == "one" else part["paper"].get(column["key"])
    return bars(words(column["label"]) + _arrow(column), entries, mark)


def _records(part: Part, folder: Path) -> list[Record]:
    found = (load_record(folder, entry["stem"]) for entry in part["records"])
    return [record for record in found if record is not None]


def _clip(record: Record, columns: Sequence[Column], folder: Path) -> Iterable[str]:
    known = [column for column in columns if record.metrics.get(column["key"]) is not None]
    numbers = ", ".join(
        f"{column['label']} {number(record.metrics[column['key']], column['digits'])}" for column in known
    )
    yield f"<h4>{escape(record.case)}</h4><p class=soft>{escape(numbers)}</p>"
    sheet, video = folder / f"{record.stem}.jpg", folder / f"{record.stem}.mp4"
    if sheet.is_file():
        yield f'<img alt="portrait, driver and result" src="{embedded(sheet, "image/jpeg")}">'
    plots = []
    for signal in ("mouth", "blink", "yaw", "pitch"):
        lines = [(who, record.series[f"{signal}_{who}"]) for who in ("driver", "result")]
        plots.append(curves(f"{signal}: driver grey, result blue", lines))
    yield f'<div class="plots pair">{"".join(plots)}</div>'
    if video.is_file():
        yield "<p class=soft>Portrait, driver, result:</p>"
        yield f'<video controls loop muted src="{embedded(video, "video/mp4")}"></video>'


def _clip_table(part: Part, columns: Sequence[Column], folder: Path) -> str:
    rows = [["clip", "method", "frames", *(escape(column["label"]) for column in columns)]]
    for entry in part["records"]:
        name = escape(entry["clip"] if entry["portrait"] is None else f"{entry['clip']} on {entry['portrait']}")
        for word, kind in (("frames", "jpg"), ("video", "mp4")):
            if (folder / f"{entry['stem']}.{kind}").is_file():
                name += f' <small><a href="{escape(folder.name)}/{escape(entry["stem"])}.{kind}">{word}</a></small>'
        numbers = [number(entry["metrics"].get(column["key"]), column["digits"]) for column in columns]
        rows.append([name, _name(entry["method"]), str(entry["frames"]), *numbers])
    return table(rows)
