"""Whether candidate weights may replace others: the figures that decide, and what their difference amounts to.

Videos are compared in pairs, a clip with itself: clips differ from each other far more than weights do. A figure is
better or worse where the 95 % bootstrap interval of the mean difference leaves out zero. Figures that exist once for
all clips are better or worse beyond a tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from animator.evaluation.bootstrap import mean_interval
from animator.evaluation.summary import METRICS

BETTER, SAME, WORSE, UNKNOWN = "better", "same", "worse", "not measured"

DECISIVE = {
    "self": ("l1", "ssim", "lpips", "follow_mouth", "follow_blink", "follow_yaw", "follow_pitch"),
    "cross": ("identity", "aed", "apd", "closer", "follow_mouth", "follow_yaw"),
}
"""The columns of `evaluate self` and `cross` that decide."""


@dataclass(frozen=True)
class Comparison:
    """One figure of both weights.

    Attributes:
        part: which evaluation it is from.
        label: what it is called.
        better: "low" or "high".
        shipped, candidate: the figure; NaN where it was not measured.
        low, high: 95 % interval of the candidate's figure minus the other's; NaN for figures that exist once.
        clips: videos in pairs; 0 for figures that exist once.
        verdict: of the candidate.
    """

    part: str
    label: str
    better: str
    shipped: float
    candidate: float
    low: float
    high: float
    clips: int
    verdict: str


def compare_videos(
    part: str,
    shipped: Sequence[Mapping[str, Any]],
    candidate: Sequence[Mapping[str, Any]],
    resamples: int,
    seed: int,
) -> list[Comparison]:
    """Compare the records of one experiment, "self" or "cross", as they stand in its report.

    Args:
        part: the experiment.
        shipped, candidate: records of the two weights alone, without baselines.
        resamples, seed: of the bootstrap.
    """
    pairs = _pairs(shipped, candidate)
    labels = {metric.key: metric for metric in METRICS}
    found = []
    for key in DECISIVE[part]:
        values = np.array([[_number(record["metrics"].get(key)) for record in pair] for pair in pairs]).reshape(-1, 2)
        known = values[~np.isnan(values).any(axis=1)]
        difference = mean_interval(known[:, 1] - known[:, 0], resamples, seed)
        ours, theirs = known.mean(axis=0) if len(known) else (math.nan, math.nan)
        better = labels[key].better
        verdict = _judged(difference.low, difference.high, better) if len(known) else UNKNOWN
        name = {"identity": "likeness to the portrait"}.get(key, labels[key].label)
        found.append(
            Comparison(
                part, name, better, float(ours), float(theirs), difference.low, difference.high, len(known), verdict
            )
        )
    return found


def compare_figure(
    part: str, label: str, better: str, shipped: float, candidate: float, tolerance: float
) -> Comparison:
    """Compare a figure that exists once.

    Args:
        part, label, better: as in `Comparison`.
        shipped, candidate: NaN where it was not measured.
        tolerance: change that counts as none, relative to the figure of the shipped weights.
    """
    change = candidate - shipped
    slack = tolerance * abs(shipped)
    verdict = UNKNOWN if math.isnan(change) else _judged(change - slack, change + slack, better)
    return Comparison(part, label, better, shipped, candidate, math.nan, math.nan, 0, verdict)


def reasons_against(comparisons: Sequence[Comparison]) -> list[str]:
    """Why candidate weights may not take the place of the others; empty where they may."""
    worse = [f"{found.part} {found.label}" for found in comparisons if found.verdict == WORSE]
    if worse:
        return [f"worse in {', '.join(worse)}"]
    lost = [
        f"{found.part} {found.label}"
        for found in comparisons
        if math.isnan(found.candidate) and not math.isnan(found.shipped)
    ]
    if lost:
        return [f"no longer measured: {', '.join(lost)}"]
    if not any(found.verdict == BETTER for found in comparisons):
        return ["better in nothing"]
    return []


def as_markdown(comparisons: Sequence[Comparison]) -> str:
    """The table, as it stands in model cards."""
    lines = ["| | figure | before | after | difference, 95 % | videos | |", "|---|---|---|---|---|---|---|"]
    for found in comparisons:
        arrow = {"low": "↓", "high": "↑"}[found.better]
        interval = "" if math.isnan(found.low) else f"{found.low:+.3f} to {found.high:+.3f}"
        cells = [found.part, f"{found.label} {arrow}", _cell(found.shipped), _cell(found.candidate), interval]
        lines.append(f"| {' | '.join(cells)} | {found.clips or ''} | {found.verdict} |")
    return "\n".join(lines) + "\n"


def _pairs(
    shipped: Sequence[Mapping[str, Any]], candidate: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    after = {(record["clip"], record["portrait"]): record for record in candidate}
    return [(record, after[place]) for record in shipped if (place := (record["clip"], record["portrait"])) in after]


def _judged(low: float, high: float, better: str) -> str:
    """The verdict on a difference that lies between two numbers; NaN (a single clip) tells nothing apart."""
    if math.isnan(low) or low <= 0 <= high:
        return SAME
    return BETTER if (low > 0) == (better == "high") else WORSE


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _cell(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
