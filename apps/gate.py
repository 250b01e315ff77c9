"""What `xnemo evaluate gate` measures: candidate weights and those they would replace, in the same way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animator.builders import DEFAULT_WEIGHTS
from animator.errors import XNeMoError
from animator.evaluation.gate import DECISIVE, Comparison, compare_figure, compare_videos
from motion_gpt.weights import DEFAULT_GPT
from motion_tokenizer.tokenizer import DEFAULT_TOKENIZER


@dataclass(frozen=True)
class Part:
    """One of the weights that hang together.

    Attributes:
        setting: which names its folder.
        packaged: its folder in this package.
    """

    setting: str
    packaged: Path


PARTS = {
    "animator": Part("weights", DEFAULT_WEIGHTS),
    "motion_tokenizer": Part("tokenizer_weights", DEFAULT_TOKENIZER),
    "motion_gpt": Part("gpt_weights", DEFAULT_GPT),
}
"""By name of the folder that holds them among candidates."""

# Figures that exist once for all clips: evaluation, way to them in its report, label, which way is better.
_SINGLE: tuple[tuple[str, tuple[str | int, ...], str, str], ...] = (
    ("latent", ("ordering", 0, "nearest"), "same motion, other head: the nearest", "high"),
    ("latent", ("identity", 0, "named"), "heads told apart by the latent", "low"),
    ("tokenizer", ("ways", "tokens", "normalised", "latents", "r2"), "R2 of latents", "high"),
    ("tokenizer", ("ways", "tokens", "normalised", "boxes", "r2"), "R2 of boxes", "high"),
    ("tokenizer", ("ways", "tokens", "normalised", "latents", "velocity_nmse"), "velocity error", "low"),
    ("generation", ("ways", "generator", "frechet"), "Fréchet distance", "low"),
    ("generation", ("ways", "generator", "frechet_change"), "Fréchet distance of change", "low"),
    ("generation", ("ways", "generator", "bits"), "bits a token", "low"),
    ("generation", ("emotion", "methods", "generator", "accuracy"), "emotions recognised", "high"),
)


def candidates_in(folder: Path) -> dict[str, Path]:
    """The weights in a folder of candidates, by part; the rest stays as it is.

    Raises:
        XNeMoError: it holds none.
    """
    found = {name: folder / name for name in PARTS if (folder / name).is_dir()}
    if not found:
        raise XNeMoError(
            f"{folder}: holds no weights; they lie in folders called {', '.join(PARTS)}, one or all of them"
        )
    return found


def compare_reports(
    shipped: Mapping[str, Any], candidate: Mapping[str, Any], resamples: int, seed: int, tolerance: float
) -> list[Comparison]:
    """Compare two reports of `xnemo evaluate all`, figure by figure.

    Args:
        shipped, candidate: the reports as plain objects.
        resamples, seed: of the bootstrap over videos.
        tolerance: relative change of other figures that counts as none.
    """
    found = []
    for part in DECISIVE:
        records = [_own_records(report, part) for report in (shipped, candidate)]
        found += compare_videos(part, records[0], records[1], resamples, seed)
    for part, way, label, better in _SINGLE:
        before, after = (_figure(report[part], way) for report in (shipped, candidate))
        found.append(compare_figure(part, label, better, before, after, tolerance))
    return found


def _own_records(report: Mapping[str, Any], part: str) -> list[Mapping[str, Any]]:
    """Records of the weights themselves: the first method, before the baselines."""
    name = next(iter(report[part]["methods"]), None)
    return [record for record in report[part]["records"] if record["method"] == name]


def _figure(part: Any, way: tuple[str | int, ...]) -> float:
    """A number in a report; NaN where that part was not measured."""
    for step in way:
        try:
            part = part[step]
        except (KeyError, IndexError, TypeError):
            return math.nan
    return math.nan if part is None else float(part)
