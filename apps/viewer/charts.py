"""Charts in the viewer's one visual language, as Altair charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from apps.viewer.code_statistics import UNLABELLED, CodeStatistics
from apps.viewer.theme import ACCENT, SERIES

GREY = 7  # number of the colour that stands for nothing in particular
GREY_NAMES = (UNLABELLED, "other clips")
HEAT = ("rgba(217, 115, 13, 0.18)", "rgba(217, 115, 13, 1)")  # from little to much, on light and on dark ground
LEGEND = 12  # names that a legend has room for

# How often a code is used, in classes that double: first, last, label.
CLASSES = [
    (0, 0, "never"),
    (1, 1, "1"),
    (2, 2, "2"),
    (3, 4, "3–4"),
    (5, 8, "5–8"),
    (9, 16, "9–16"),
    (17, 32, "17–32"),
    (33, None, "33 +"),
]


def usage_classes(statistics: CodeStatistics) -> list[dict[str, Any]]:
    """How many codes are used how often: rows of `used`, `codes` and `dead`."""
    usage = statistics.usage
    rows = []
    for first, last, label in CLASSES:
        inside = (usage >= first) & (usage <= (usage.max() if last is None else last))
        rows.append({"used": label, "codes": int(inside.sum()) if first <= usage.max() else 0, "dead": first == 0})
    return rows


def usage_chart(statistics: CodeStatistics) -> alt.Chart:
    """The usage histogram: how many codes are used how often."""
    rows = usage_classes(statistics)
    colour = alt.condition("datum.dead", alt.value(SERIES[GREY]), alt.value(ACCENT))
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(cornerRadiusEnd=3)
        .encode(
            x=alt.X(
                "used:N",
                sort=[row["used"] for row in rows],
                title="times used",
                axis=alt.Axis(labelAngle=0, labelOverlap=False, labelFontSize=10),
            ),
            y=alt.Y("codes:Q", title="codes"),
            color=colour,
            tooltip=[alt.Tooltip("used:N", title="times used"), alt.Tooltip("codes:Q", title="codes", format=",")],
        )
        .properties(height=230)
    )


def transition_rows(statistics: CodeStatistics, codes: Sequence[int]) -> list[dict[str, Any]]:
    """The transition matrix as rows of `before`, `after` and `share`; pairs that never occur are left out."""
    matrix = statistics.transitions(list(codes))
    return [
        {"before": str(before), "after": str(after), "share": round(float(matrix[i, j]), 4)}
        for i, before in enumerate(codes)
        for j, after in enumerate(codes)
        if matrix[i, j] > 0
    ]


def transition_chart(statistics: CodeStatistics, codes: Sequence[int]) -> alt.Chart:
    """How often a code follows another; a click is the selection `pair`, with `before` and `after`."""
    names = [str(code) for code in codes]
    return (
        alt.Chart(alt.Data(values=transition_rows(statistics, codes)))
        .mark_rect(cornerRadius=2)
        .encode(
            x=alt.X("after:N", title="code after it", sort=names, axis=alt.Axis(labelAngle=-60, labelFontSize=10)),
            y=alt.Y("before:N", title="code", sort=names, axis=alt.Axis(labelOverlap=False, labelFontSize=10)),
            color=alt.Color(
                "share:Q", title="share", scale=alt.Scale(range=list(HEAT)), legend=alt.Legend(format=".0%")
            ),
            tooltip=[
                alt.Tooltip("before:N", title="code"),
                alt.Tooltip("after:N", title="code after it"),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
        .add_params(alt.selection_point(name="pair", fields=["before", "after"]))
        .properties(height=430)
    )


def mix_chart(mix: dict[str, float]) -> alt.Chart:
    """The emotion mix of a code."""
    rows = [{"emotion": name, "share": share} for name, share in mix.items()]
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(cornerRadiusEnd=3, color=ACCENT)
        .encode(
            x=alt.X("share:Q", title=None, axis=alt.Axis(format=".0%", tickCount=4)),
            y=alt.Y("emotion:N", title=None, sort="-x"),
            tooltip=[alt.Tooltip("emotion:N"), alt.Tooltip("share:Q", format=".0%")],
        )
        .properties(height=26 * len(rows) + 30)
    )


def map_chart(rows: list[dict[str, Any]], colour: str, titles: tuple[str, str], categories: bool) -> dict[str, Any]:
    """The map of latents; a click on a point is the selection `point`, with its `place`.

    Args:
        rows: `x`, `y`, the field `colour`, `own` (whether of an open take), `place`, `clip`, `time`, and `image`, a
            picture's address, where there is one.
        colour: the field that colours the points.
        titles: of the axes.
        categories: whether that field has names and not numbers.
    Returns:
        The specification of Vega-Lite: Altair would look at each row by itself, for half a second.
    """
    encoding = _by_name(rows, colour) if categories else _by_number(colour)
    axis = alt.Axis(tickCount=7, gridOpacity=0.35)
    chart = (
        alt.Chart(alt.Data(values=[]))
        .mark_circle(strokeWidth=1.2)
        .encode(
            x=alt.X("x:Q", title=titles[0], axis=axis),
            y=alt.Y("y:Q", title=titles[1], axis=axis),
            color=encoding,
            size=alt.condition("datum.own", alt.value(80), alt.value(16)),
            opacity=alt.condition("datum.own", alt.value(0.95), alt.value(0.4)),
            stroke=alt.condition("datum.own", alt.value("#ffffff"), alt.value(None)),
            order=alt.Order("own:Q"),
            tooltip=[
                alt.Tooltip("image:N"),
                alt.Tooltip("clip:N"),
                alt.Tooltip("identity:N"),
                alt.Tooltip("emotion:N"),
                alt.Tooltip("time:Q", format=".2f", title="seconds"),
            ],
        )
        .add_params(alt.selection_point(name="point", fields=["place"]), alt.selection_interval(bind="scales"))
        .properties(height=540)
    )
    specification: dict[str, Any] = chart.to_dict()
    return specification | {"data": {"values": rows}}


def _by_number(field: str) -> alt.Color:
    return alt.Color(f"{field}:Q", scale=alt.Scale(scheme="viridis"), legend=alt.Legend(orient="bottom"))


def _by_name(rows: list[dict[str, Any]], field: str) -> alt.Color:
    """Colours for names: those of open takes first, and what has no label in grey."""
    own = dict.fromkeys(row[field] for row in rows if row["own"])
    others = sorted({row[field] for row in rows} - own.keys())
    names = [name for name in (*own, *others) if name not in GREY_NAMES]
    grey = [name for name in (*own, *others) if name in GREY_NAMES]
    cycle = SERIES[:GREY] + SERIES[GREY + 1 :]
    colours = [cycle[n % len(cycle)] for n in range(len(names))] + [SERIES[GREY]] * len(grey)
    legend = alt.Legend(symbolLimit=LEGEND, orient="bottom", columns=4) if len(names) <= LEGEND else None
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=names + grey, range=colours), title=field, legend=legend)


def spread_evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of the numbers 0 to count - 1, at even distances."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
