"""Plots as SVG text that stands in an HTML page by itself: bars with intervals, and curves over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Number = float | None

WIDTH = 420


@dataclass(frozen=True)
class Bar:
    """One bar: a value and its interval, any of which may be unknown."""

    label: str
    value: Number
    low: Number = None
    high: Number = None
    text: str = ""


def bars(title: str, entries: Sequence[Bar], mark: Number = None) -> str:
    """Horizontal bars from 0.

    Args:
        title: above the bars.
        entries: from top to bottom; those without a value are left out.
        mark: a value to draw a line at, such as the paper's.
    """
    entries = [entry for entry in entries if entry.value is not None]
    numbers = [n for entry in entries for n in (entry.value, entry.low, entry.high) if n is not None]
    numbers += [] if mark is None else [mark]
    least, most = min([0.0, *numbers]), max([1e-9, *numbers])
    left, right, row = 150, 70, 22
    height = 26 + row * len(entries) + 6

    def x(value: float) -> float:
        return left + (WIDTH - left - right) * (value - least) / (most - least)

    parts = [_open(height, title)]
    for n, entry in enumerate(entries):
        assert entry.value is not None
        top = 26 + n * row
        start, end = sorted((x(0), x(entry.value)))
        parts.append(_text(left - 6, top + 12, entry.label, "end"))
        parts.append(f'<rect class="bar" x="{start:.1f}" y="{top}" width="{max(end - start, 0.5):.1f}" height="14"/>')
        if entry.low is not None and entry.high is not None:
            low, high = x(entry.low), x(entry.high)
            ends = "".join(f"M{at:.1f} {top + 3}v8" for at in (low, high))
            parts.append(f'<path class="whisker" d="M{low:.1f} {top + 7}H{high:.1f}{ends}"/>')
        parts.append(_text(WIDTH - right + 8, top + 12, entry.text or f"{entry.value:.3g}", "start"))
    if mark is not None:
        parts.append(f'<path class="mark" d="M{x(mark):.1f} 22V{height - 4}"/>')
    return "".join([*parts, "</svg>"])


def curves(title: str, lines: Sequence[tuple[str, Sequence[Number]]], height: int = 110) -> str:
    """Curves over frames in one frame of axes.

    Args:
        title: above the curves.
        lines: name and values of each, None where there is none; the first is drawn as the reference.
        height: in pixels.
    """
    known = [value for _, values in lines for value in values if value is not None]
    least, most = (min(known), max(known)) if known else (0.0, 1.0)
    span = (most - least) or 1.0
    longest = max(2, *(len(values) for _, values in lines))
    left, top, bottom = 44, 24, 6

    def point(n: int, value: float) -> str:
        across = left + (WIDTH - left - 6) * n / (longest - 1)
        return f"{across:.1f} {top + (height - top - bottom) * (most - value) / span:.1f}"

    parts = [_open(height, title)]
    parts += [_text(left - 4, top + 8, f"{most:.3g}", "end"), _text(left - 4, height - bottom, f"{least:.3g}", "end")]
    for number, (name, values) in enumerate(lines):
        path, pen = [], "M"
        for n, value in enumerate(values):
            if value is None or math.isnan(value):
                pen = "M"
                continue
            path.append(pen + point(n, value))
            pen = "L"
        parts.append(f'<path class="line{min(number, 1)}" d="{"".join(path)}"><title>{escape(name)}</title></path>')
    return "".join([*parts, "</svg>"])


def _open(height: int, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">{_text(4, 14, title, "start", "title")}'
    )


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
