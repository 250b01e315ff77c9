"""What was measured, as files: `report.json` for machines, `report.md` and `report.png` for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from animator.evaluation.report import plain
from animator.files import atomic_path
from motion_tokenizer.evaluation.protocol import TOKENS, Evaluation

FILES = ("report.json", "report.md", "report.png")


def write_report(evaluation: Evaluation, folder: Path) -> dict[str, str]:
    """Write the three files; each appears when it is whole.

    Returns:
        Name of each -> its path.
    Raises:
        XNeMoError: one cannot be written.
    """
    report = plain(evaluation.report)
    paths = [folder / name for name in FILES]
    with atomic_path(paths[0]) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    with atomic_path(paths[1]) as temporary:
        temporary.write_text(markdown(report), encoding="utf-8")
    with atomic_path(paths[2]) as temporary:
        figure(evaluation).savefig(temporary, dpi=110)
    return {path.name: str(path) for path in paths}


def markdown(report: dict[str, Any]) -> str:
    """The report as tables."""
    lines = ["# Motion tokenizer", "", *_data(report), ""]
    lines += ["## Reconstruction of held-out people", "", *_methods(report["ways"]), ""]
    emotions = report["ways"][TOKENS]["r2_by_emotion"]
    lines += ["| emotion | clips | frames | R2 | R2 within clips |", "|---|---|---|---|---|"]
    for name, row in emotions.items():
        figures = f"{_number(row['r2'])} | {_number(row['r2_within_clips'])}"
        lines.append(f"| {name} | {row['clips']} | {row['frames']} | {figures} |")
    splits = zip(report["usage"], report["usage_on_training_split"], strict=True)
    for level, (held_out, seen) in enumerate(splits, 1):
        title = "## Use of the codebook" + (f", level {level}" if len(report["usage"]) > 1 else "")
        lines += ["", title, "", *_usage(held_out, seen), "", _resets(report["training"]["reset_rate_last_quarter"])]
    if report["pixels"] is not None:
        lines += ["", "## In pictures", "", *_pixels(report["pixels"])]
    return "\n".join(lines) + "\n"


def _data(report: dict[str, Any]) -> list[str]:
    tokenizer = report["tokenizer"]
    lines = [
        f"- {tokenizer['folder']}: {tokenizer['about']}, {tokenizer['parameters']:,} parameters, "
        + (
            f"{tokenizer['levels']} x {tokenizer['codes']} codes, {tokenizer['bits_per_second']:.0f} bits a second"
            if tokenizer["levels"]
            else "no tokens"
        )
    ]
    for name, split in report["data"].items():
        lines.append(
            f"- {name}: {split['clips']} clips of {split['identities']} people, {split['hours']:.3f} hours, "
            f"{split['frames']} frames, {split['tokens']} tokens"
        )
    return lines


def _methods(methods: dict[str, Any]) -> list[str]:
    lines = [
        "| | numbers a token | MSE | R2 | R2 within clips | velocity NMSE | acceleration NMSE | R2 boxes | raw MSE | "
        "raw R2 | raw R2 boxes |",
        "|---" * 11 + "|",
    ]
    for name, row in methods.items():
        latents, raw = row["normalised"]["latents"], row["raw"]
        figures = [
            *(latents[key] for key in ("mse", "r2", "r2_within_clips", "velocity_nmse", "acceleration_nmse")),
            row["normalised"]["boxes"]["r2"],
            *(raw["latents"][key] for key in ("mse", "r2")),
            raw["boxes"]["r2"],
        ]
        lines.append(f"| {name} | {row['numbers_per_token']} | " + " | ".join(map(_number, figures)) + " |")
    return [*lines, "", *(f"- {name}: {row['about']}" for name, row in methods.items())]


def _usage(*splits: dict[str, Any]) -> list[str]:
    lines = ["| | held-out people | training split |", "|---|---|---|"]
    for label, cell in _USAGE_ROWS.items():
        lines.append(f"| {label} | " + " | ".join(cell(usage) for usage in splits) + " |")
    return lines


def _used(usage: dict[str, Any]) -> str:
    share = "" if usage["used_share"] is None else f" ({100 * usage['used_share']:.0f} % of all)"
    return f"{usage['used']}{share}"


_USAGE_ROWS: dict[str, Callable[[dict[str, Any]], str]] = {
    "tokens": lambda usage: f"{usage['tokens']}, {usage['tokens_per_code']:.2f} a code",
    "used codes": _used,
    "used if every code were as likely": lambda usage: f"{usage['used_if_uniform']:.0f}",
    "used over that": lambda usage: _number(usage["used_over_uniform"]),
    "perplexity": lambda usage: _number(usage["perplexity"], 0),
    "perplexity if every code were as likely": lambda usage: _number(usage["perplexity_if_uniform"], 0),
    "perplexity over codes": lambda usage: _number(usage["perplexity_over_codes"]),
    "share of the 10 commonest codes": lambda usage: _number(usage["top_10_mass"]),
    "Gini coefficient": lambda usage: _number(usage["gini"]),
    "tokens that repeat the one before": lambda usage: _number(usage["self_transition_rate"]),
    "entropy of a token, bits": lambda usage: _number(usage["unigram_entropy"]),
    "the same a second": lambda usage: _number(usage["unigram_bits_per_second"], 1),
    "entropy given the one before, bits": lambda usage: _number(usage["bigram_entropy"]),
}


def _resets(rate: float | None) -> str:
    share = "not known" if rate is None else f"{100 * rate:.3f} % of the codes a step"
    return f"Replaced in the last quarter of the training: {share}."


def _pixels(pixels: dict[str, Any]) -> list[str]:
    signals = ("mouth", "yaw")
    lines = ["| renderer | clips | frames | motion | L1 | LPIPS | mouth | yaw |", "|---" * 8 + "|"]
    for renderer, row in pixels.items():
        for kind, label in (("tokens", "reconstructed"), ("first_frame_held", "first frame held")):
            following = row[kind]["following"] or {}
            followed = [_number(following.get(name, {}).get("correlation")) for name in signals]
            figures = [_number(row[kind]["l1"], 4), _number(row[kind]["lpips"], 4), *followed]
            lines.append(
                f"| {renderer} | {len(row['pairs'])} | {row['frames']} | {label} | " + " | ".join(figures) + " |"
            )
    return [
        *lines,
        "",
        "Against what the animator draws from the original motion on the same portraits; mouth and yaw are "
        "correlations over frames, means over the clips that move in them.",
    ]


def figure(evaluation: Evaluation) -> Figure:
    """Four panels: R2 beside the baselines, the codes' shares, the training, and a held-out clip."""
    report = plain(evaluation.report)
    drawing = Figure(figsize=(12, 8), layout="constrained")
    axes = drawing.subplots(2, 2)
    _draw_methods(axes[0, 0], report["ways"])
    _draw_usage(axes[0, 1], evaluation)
    _draw_training(axes[1, 0], report["training"]["history"])
    _draw_example(axes[1, 1], evaluation)
    return drawing


def _draw_methods(axes: Axes, methods: dict[str, Any]) -> None:
    names = list(methods)
    for offset, key, label in ((-0.2, "r2", "R2"), (0.2, "r2_within_clips", "R2 within clips")):
        values = [methods[name]["normalised"]["latents"][key] or 0 for name in names]
        axes.barh([n + offset for n in range(len(names))], values, 0.38, label=label)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(left=max(-1, axes.get_xlim()[0]))
    axes.set_title("Held-out latents, normalised")
    axes.legend()


def _draw_usage(axes: Axes, evaluation: Evaluation) -> None:
    for level, counts in enumerate(evaluation.counts, 1):
        ordered = counts.sort(descending=True).values
        axes.plot(range(1, len(ordered) + 1), ordered.cumsum(0) / max(1, int(ordered.sum())), label=f"level {level}")
    if len(evaluation.counts):
        axes.legend()
    axes.set_xscale("log")
    axes.set_title("Share of held-out tokens that the n commonest codes take")
    axes.set_xlabel("n")


def _draw_training(axes: Axes, history: Sequence[dict[str, float]]) -> None:
    for key, label in (("train_error", "training clips"), ("error", "held-out clips")):
        points = [(figures["step"], figures[key]) for figures in history if figures.get(key) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), label=label)
    if axes.lines:
        axes.set_yscale("log")
        axes.legend()
    axes.set_title("Error while training")
    axes.set_xlabel("step")


def _draw_example(axes: Axes, evaluation: Evaluation) -> None:
    """The clip along its own first three principal components."""
    true, ours = evaluation.example
    centre = true.mean(dim=0)
    axis = torch.linalg.svd(true - centre, full_matrices=False).Vh[:3]
    for number, (a, b) in enumerate(zip(((true - centre) @ axis.T).T, ((ours - centre) @ axis.T).T, strict=True)):
        axes.plot(a, color=f"C{number}", label=f"component {number + 1}")
        axes.plot(b, color=f"C{number}", linestyle="--")
    axes.legend()
    axes.set_title("The longest held-out clip (dashed: from its tokens)")
    axes.set_xlabel("frame")


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
