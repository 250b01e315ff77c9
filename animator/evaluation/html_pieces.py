"""Pieces of an HTML page: tables, numbers, embedded files, plain objects, and the project's own Markdown."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

STYLE = """
:root{color-scheme:light dark;--ink:#18181b;--paper:#fff;--soft:#71717a;--line:#e4e4e7;--bar:#2563eb;--other:#dc2626}
@media(prefers-color-scheme:dark){:root{--ink:#e4e4e7;--paper:#18181b;--soft:#a1a1aa;--line:#3f3f46;--bar:#60a5fa;
--other:#f87171}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:76rem;margin:2rem auto;
padding:0 1rem}
h1,h2,h3,h4{line-height:1.2}h2{margin-top:3rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}
nav a{margin-right:1rem}a{color:var(--bar)}
.scroll{overflow-x:auto;margin:.6rem 0}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap;vertical-align:top}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--paper)}
small,.soft{color:var(--soft)}b{font-weight:650}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(22rem,1fr));gap:.4rem 1rem}
@media(min-width:56rem){.plots.pair{grid-template-columns:repeat(2,30rem)}}
svg{width:100%;max-width:30rem;height:auto}svg text{font:11px system-ui,sans-serif;fill:var(--ink)}
svg .title{font-weight:600}.bar{fill:var(--bar)}.whisker{stroke:var(--ink);fill:none}
.mark{stroke:var(--other);stroke-dasharray:3 2;fill:none}
.line0{stroke:var(--soft);fill:none}.line1{stroke:var(--bar);fill:none;stroke-width:1.5}
img,video{max-width:100%;display:block;margin:.4rem 0}dt{font-weight:600}dd{margin:0 0 .3rem 1rem}
summary{cursor:pointer;margin:.4rem 0}
"""


def page(title: str, body: Sequence[str]) -> str:
    """A whole page that needs no other file."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body>{''.join(body)}</body></html>\n"
    )


def table(rows: Sequence[Sequence[str]], head: bool = True) -> str:
    """A table of ready HTML cells, which can be moved sideways where it is too wide."""
    html = []
    for number, row in enumerate(rows):
        tag = "th" if head and number == 0 else "td"
        html.append("<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in row) + "</tr>")
    return f'<div class="scroll"><table>{"".join(html)}</table></div>'


def number(value: float | None, digits: int) -> str:
    """A number, or a dash where there is none."""
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def embedded(path: Path, kind: str) -> str:
    """A file as the address of itself."""
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def facts(part: dict[str, Any]) -> list[str]:
    """Any plain objects: numbers and texts as a table, lists of objects as tables of their own, the rest nested."""
    rows: list[list[str]] = []
    rest: list[str] = []
    for name, value in part.items():
        if isinstance(value, dict) and value:
            rest += [f"<h4>{escape(words(name))}</h4>", *facts(value)]
        elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            heads = list(dict.fromkeys(key for entry in value for key in entry))
            cells = [[escape(words(head)) for head in heads]]
            cells += [[shown(entry.get(head)) for head in heads] for entry in value]
            rest += [f"<h4>{escape(words(name))}</h4>", table(cells)]
        else:
            rows.append([escape(words(name)), shown(value)])
    return ([table(rows, head=False)] if rows else []) + rest


def words(key: str) -> str:
    """A key as people write it."""
    return key.replace("_", " ")


def shown(value: Any) -> str:
    """One plain value."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, float):
        return number(value, 3)
    return escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))


def from_markdown(text: str) -> list[str]:
    """What this project writes as Markdown: headings, tables, lists and paragraphs of plain words.

    A heading of the first level is left out, the others become one level smaller.
    """
    return [html for kind, lines in _blocks(text) for html in _block(kind, lines)]


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    marks = (("#", "heading"), ("|", "table"), ("- ", "list"))
    for kind, lines in groupby(
        text.splitlines(), lambda line: next((name for mark, name in marks if line.startswith(mark)), line and "text")
    ):
        if kind:
            yield kind, list(lines)


def _block(kind: str, lines: list[str]) -> Iterator[str]:
    if kind == "heading":
        for line in lines:
            marks, _, title = line.partition(" ")
            if len(marks) > 1:
                yield f"<h{len(marks) + 1}>{escape(title)}</h{len(marks) + 1}>"
    elif kind == "table":
        cells = [[escape(cell.strip()) for cell in line.strip().strip("|").split("|")] for line in lines]
        yield table([row for row in cells if not all(re.fullmatch(r":?-+:?", cell) for cell in row)])
    elif kind == "list":
        yield "<ul>" + "".join(f"<li>{escape(line[2:])}</li>" for line in lines) + "</ul>"
    else:
        yield f"<p>{escape(' '.join(lines))}</p>"
