"""A whole evaluation as one HTML page that needs no other file: tables, plots, contact sheets, the worst clips' videos.

The other clips' videos lie beside it and are linked.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from animator.evaluation.plots import Bar, bars, curves
from animator.evaluation.provenance import one_line
from animator.evaluation.records import Record, load_record
from animator.evaluation.summary import worst

WORST = 5
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
}
STYLE = """
:root{color-scheme:light dark;--ink:#18181b;--paper:#fff;--soft:#71717a;--line:#e4e4e7;--bar:#2563eb;--other:#dc2626}
@media(prefers-color-scheme:dark){:root{--ink:#e4e4e7;--paper:#18181b;--soft:#a1a1aa;--line:#3f3f46;--bar:#60a5fa;
--other:#f87171}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:72rem;margin:2rem auto;
padding:0 1rem}
h1,h2,h3{line-height:1.2}h2{margin-top:3rem;border-bottom:1px solid var(--line)}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}small,.soft{color:var(--soft)}b{font-weight:650}
svg{margin:.4rem .8rem .4rem 0}svg text{font:11px system-ui,sans-serif;fill:var(--ink)}svg .title{font-weight:600}
.bar{fill:var(--bar)}.whisker{stroke:var(--ink);fill:none}.mark{stroke:var(--other);stroke-dasharray:3 2;fill:none}
.line0{stroke:var(--soft);fill:none}.line1{stroke:var(--bar);fill:none;stroke-width:1.5}
img,video{max-width:100%;display:block;margin:.4rem 0}dt{font-weight:600}dd{margin:0 0 .3rem 1rem}
"""


def html_report(report: dict[str, Any], records: Path | None) -> str:
    """The page of a report.

    Args:
        report: `{"provenance": ..., "self": ..., "cross": ..., ...}`, whatever parts were run, as in report.json.
        records: folder of the records, for sheets, curves and videos; None where there are none.
    """
    about = report["provenance"]
    body = [f"<h1>Evaluation of {escape(about['weights'])}</h1>", f"<p class=soft>{escape(one_line(about))}</p>"]
    for name, part in report.items():
        if name == "provenance":
            continue
        body.append(f"<h2>{escape(TITLES.get(name, name))}</h2>")
        if name in INTRODUCTIONS:
            body.append(f"<p>{escape(INTRODUCTIONS[name])}</p>")
        body += _experiment(part, records) if "methods" in part else _facts(part)
    body += ["<h2>Provenance</h2>", *_networks(about), *_facts({k: v for k, v in about.items() if k != "networks"})]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(about["weights"])}: evaluation'
        f'</title><meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body>{''.join(body)}</body></html>\n"
    )


def _experiment(part: dict[str, Any], folder: Path | None) -> list[str]:
    used = [column for column in part["columns"] if _known(part, column["key"])]
    html = ['<div class="scroll">', _main_table(part, used), "</div>", "<p><small>95 % bootstrap intervals over clips."]
    html += [
        " Dashed: the paper's figure, on its own data, with its own networks." if part["paper"] else "",
        "</small></p>",
    ]
    html.append("<details><summary>What the columns mean</summary><dl>")
    html += [f"<dt>{escape(column['label'])}</dt><dd>{escape(column['about'])}</dd>" for column in used]
    html.append("</dl></details>")
    html += [_bars(part, column) for column in used if column["better"]]
    if part["skipped"]:
        html.append(f"<h3>Not measured: {len(part['skipped'])}</h3><ul>")
        html += [f"<li>{escape(name)}: {escape(why)}</li>" for name, why in part["skipped"].items()]
        html.append("</ul>")
    found = [] if folder is None else _records(part, folder)
    shown = worst([record for record in found if record.method == _main_method(part)], WORST)
    if folder is not None and shown:
        html.append(f"<h3>The worst {len(shown)} clips</h3>")
        for record in shown:
            html += _clip(record, folder)
    html += ["<h3>Every clip</h3>", '<div class="scroll">', _clip_table(part, used, folder), "</div>"]
    return html


def _main_method(part: dict[str, Any]) -> str:
    """The weights under test, which come first."""
    return next(iter(part["methods"]))


def _known(part: dict[str, Any], key: str) -> bool:
    return any(method["figures"].get(key, {}).get("value") is not None for method in part["methods"].values())


def _main_table(part: dict[str, Any], used: Sequence[dict[str, Any]]) -> str:
    best = {column["key"]: _best(part, column) for column in used}
    rows = [["", *(_head(column) for column in used)]]
    for name, method in part["methods"].items():
        cells = [f"{escape(name)} <small>{method['clips']} clips</small>"]
        for column in used:
            figure = method["figures"].get(column["key"], {})
            text = _number(figure.get("value"), column["digits"])
            if figure.get("value") is not None and figure["value"] == best[column["key"]]:
                text = f"<b>{text}</b>"
            if figure.get("low") is not None:
                low, high = (_number(figure[end], column["digits"]) for end in ("low", "high"))
                text += f"<br><small>{low} to {high}</small>"
            cells.append(text)
        rows.append(cells)
    if part["paper"]:
        figures = [_number(part["paper"].get(column["key"]), column["digits"]) for column in used]
        rows.append(["X-NeMo, the paper <small>other data</small>", *figures])
    return _table(rows)


def _head(column: dict[str, Any]) -> str:
    arrow = {"low": " ↓", "high": " ↑", "one": " → 1", "": ""}[column["better"]]
    return f'<span title="{escape(column["about"])}">{escape(column["label"])}{arrow}</span>'


def _best(part: dict[str, Any], column: dict[str, Any]) -> float | None:
    values = [
        figure["value"]
        for method in part["methods"].values()
        if (figure := method["figures"].get(column["key"])) and figure["value"] is not None
    ]
    if not values or not column["better"]:
        return None
    if column["better"] == "one":
        return min(values, key=lambda value: abs(value - 1))
    return min(values) if column["better"] == "low" else max(values)


def _bars(part: dict[str, Any], column: dict[str, Any]) -> str:
    entries = []
    for name, method in part["methods"].items():
        figure = method["figures"].get(column["key"])
        if figure is not None:
            text = _number(figure["value"], column["digits"])
            entries.append(Bar(name, figure["value"], figure["low"], figure["high"], text))
    mark = 1.0 if column["better"] == "one" else part["paper"].get(column["key"])
    return bars(column["label"], entries, mark)


def _records(part: dict[str, Any], folder: Path) -> list[Record]:
    found = (load_record(folder, entry["stem"]) for entry in part["records"])
    return [record for record in found if record is not None]


def _clip(record: Record, folder: Path) -> Iterable[str]:
    numbers = ", ".join(
        f"{name} {_number(record.metrics.get(name), 3)}" for name in ("lpips", "aed", "apd", "identity")
    )
    yield f"<h4>{escape(record.case)} <small>{numbers}</small></h4>"
    sheet, video = folder / f"{record.stem}.jpg", folder / f"{record.stem}.mp4"
    if sheet.is_file():
        yield f'<img alt="portrait, driver and result" src="{_data(sheet, "image/jpeg")}">'
    for signal in ("mouth", "blink", "yaw", "pitch"):
        lines = [(who, record.series[f"{signal}_{who}"]) for who in ("driver", "result")]
        yield curves(f"{signal}: driver grey, result blue", lines)
    if video.is_file():
        yield f'<video controls loop muted src="{_data(video, "video/mp4")}"></video>'


def _clip_table(part: dict[str, Any], used: Sequence[dict[str, Any]], folder: Path | None) -> str:
    keys = [column for column in used if column["key"] != "video_distance"]
    rows = [["clip", "method", "frames", *(escape(column["label"]) for column in keys)]]
    for entry in part["records"]:
        name = escape(entry["clip"] if entry["portrait"] is None else f"{entry['clip']} on {entry['portrait']}")
        if folder is not None and (folder / f"{entry['stem']}.mp4").is_file():
            name = f'<a href="{escape(folder.name)}/{escape(entry["stem"])}.mp4">{name}</a>'
        numbers = [_number(entry["metrics"].get(column["key"]), column["digits"]) for column in keys]
        rows.append([name, escape(entry["method"]), str(entry["frames"]), *numbers])
    return _table(rows)


def _networks(about: dict[str, Any]) -> list[str]:
    rows = [["network", "stands for", "file", "sha256"]]
    for network in about["networks"].values():
        file = network["path"] if network["known"] else f"{network['path']} (not the listed file)"
        rows.append([*map(escape, (network["name"], network["stands_for"] or "–", file)), network["sha256"]])
    return ['<div class="scroll">', _table(rows), "</div>"]


def _facts(part: dict[str, Any]) -> list[str]:
    """Any plain objects: numbers and texts as a table, lists of objects as tables of their own, the rest nested."""
    rows: list[list[str]] = []
    rest: list[str] = []
    for name, value in part.items():
        if isinstance(value, dict) and value:
            rest += [f"<h3>{escape(_words(name))}</h3>", *_facts(value)]
        elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            heads = list(dict.fromkeys(key for entry in value for key in entry))
            table = [[escape(_words(head)) for head in heads]]
            table += [[_shown(entry.get(head)) for head in heads] for entry in value]
            rest += [f"<h3>{escape(_words(name))}</h3>", '<div class="scroll">', _table(table), "</div>"]
        else:
            rows.append([escape(_words(name)), _shown(value)])
    return ([_table(rows, head=False)] if rows else []) + rest


def _words(key: str) -> str:
    return key.replace("_", " ")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, float):
        return _number(value, 3)
    return escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def _table(rows: Sequence[Sequence[str]], head: bool = True) -> str:
    """A table of ready HTML cells."""
    html = []
    for number, row in enumerate(rows):
        tag = "th" if head and number == 0 else "td"
        html.append("<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in row) + "</tr>")
    return f"<table>{''.join(html)}</table>"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def _data(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
