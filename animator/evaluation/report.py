"""What was measured, for machines (plain objects for JSON) and for people (Markdown tables for the model card)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from animator.evaluation.following import STILL, Following, mean_following
from animator.evaluation.protocols import CrossResult, Driver, SelfResult

PICTURE_METRICS = ("l1", "ssim", "lpips")


@dataclass(frozen=True, eq=False)
class SelfEntry:
    """One clip of the self-reenactment table."""

    driver: Driver
    result: SelfResult


@dataclass(frozen=True, eq=False)
class CrossEntry:
    """One clip of the cross-reenactment table; `portrait` is the portrait's name and `kind` what it shows."""

    driver: Driver
    portrait: str
    kind: str
    result: CrossResult


def self_report(entries: Sequence[SelfEntry]) -> dict[str, Any]:
    """Self-reenactment as plain objects: each clip, and means in which every clip counts the same."""
    clips = [
        {
            "clip": entry.driver.path.name,
            "frames": len(entry.driver.motion),
            "errors": entry.result.errors.means(),
            "copying_first_frame": entry.result.copying.means(),
            "following": _following(entry.result.following),
            "frames_without_face": {"driver": entry.driver.face.missing, "result": entry.result.missing},
        }
        for entry in entries
    ]
    return plain(
        {
            "clips": clips,
            "mean": _mean_errors([entry.result.errors.means() for entry in entries]),
            "mean_copying_first_frame": _mean_errors([entry.result.copying.means() for entry in entries]),
            "following": _mean_following([entry.result.following for entry in entries]),
            "frames": sum(len(entry.driver.motion) for entry in entries),
            "frames_without_face": sum(entry.result.missing for entry in entries),
        }
    )


def cross_report(entries: Sequence[CrossEntry]) -> dict[str, Any]:
    """Cross-reenactment as plain objects: each pair, and means in which every pair counts the same."""
    pairs = [
        {
            "clip": entry.driver.path.name,
            "portrait": entry.portrait,
            "portrait_kind": entry.kind,
            "portrait_face_found": entry.result.portrait_found,
            "frames": len(entry.driver.motion),
            "following": _following(entry.result.following),
            "likeness": asdict(entry.result.likeness),
            "frames_without_face": {"driver": entry.driver.face.missing, "result": entry.result.missing},
        }
        for entry in entries
    ]
    known = [entry.result.likeness for entry in entries if entry.result.likeness.frames]
    names = ("to_portrait", "to_driver", "closer_to_portrait", "apart")
    return plain(
        {
            "pairs": pairs,
            "following": _mean_following([entry.result.following for entry in entries]),
            "likeness": {name: _mean([getattr(found, name) for found in known]) for name in names}
            | {"pairs": len(known)},
            "frames": sum(len(entry.driver.motion) for entry in entries),
            "frames_without_face": sum(entry.result.missing for entry in entries),
        }
    )


def markdown(report: dict[str, Any]) -> str:
    """The tables of a whole report, `{"about": ..., "self": ..., "cross": ...}` with reports as above."""
    lines = [f"- {name}: {value}" for name, value in report["about"].items() if not isinstance(value, dict)]
    lines += ["", "## Self-reenactment", "", *_self_tables(report["self"])]
    lines += ["", "## Cross-reenactment", "", *_cross_tables(report["cross"])]
    if report["skipped"]:
        lines += ["", "## Not measured", "", *(f"- {name}: {why}" for name, why in report["skipped"].items())]
    return "\n".join(lines) + "\n"


def plain(value: Any) -> Any:
    """The same with NaN and infinity, which JSON does not have, as None."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _self_tables(report: dict[str, Any]) -> list[str]:
    lines = [
        f"The first frame is the portrait, the clip drives; {report['frames']} frames of {len(report['clips'])} clips "
        "at 256 x 256, every clip counts the same.",
        "",
        "| | L1 | SSIM | LPIPS (AlexNet) |",
        "|---|---|---|---|",
        f"| these weights | {_errors(report['mean'])} |",
        f"| copying the first frame | {_errors(report['mean_copying_first_frame'])} |",
        "",
        *_following_means(report["following"]),
        "",
        f"In {report['frames_without_face']} of {report['frames']} result frames no face was found.",
        "",
        "| clip | frames | L1 | SSIM | LPIPS | copying: L1 | SSIM | LPIPS | " + " | ".join(STILL) + " |",
        "|---" * (8 + len(STILL)) + "|",
    ]
    for clip in report["clips"]:
        errors, copying = _errors(clip["errors"]), _errors(clip["copying_first_frame"])
        lines.append(f"| {clip['clip']} | {clip['frames']} | {errors} | {copying} | {_correlations(clip)} |")
    return [*lines, "", _EXPLAINED]


def _cross_tables(report: dict[str, Any]) -> list[str]:
    likeness = report["likeness"]
    lines = [
        f"{len(report['pairs'])} clips each drive a portrait of somebody else, {report['frames']} frames.",
        "",
        *_following_means(report["following"]),
        "",
        f"In {report['frames_without_face']} of {report['frames']} result frames no face was found.",
        "",
        "| identity (dlib face network, Euclidean distance) | |",
        "|---|---|",
        f"| result to portrait | {_number(likeness['to_portrait'])} |",
        f"| result to driver | {_number(likeness['to_driver'])} |",
        f"| driver to portrait | {_number(likeness['apart'])} |",
        f"| frames closer to the portrait than to the driver | {_share(likeness['closer_to_portrait'])} |",
        f"| pairs that it could be measured for | {likeness['pairs']} of {len(report['pairs'])} |",
        "",
        "| clip | portrait | kind | closer to portrait | " + " | ".join(STILL) + " |",
        "|---" * (4 + len(STILL)) + "|",
    ]
    for pair in report["pairs"]:
        closer = _share(pair["likeness"]["closer_to_portrait"])
        lines.append(
            f"| {pair['clip']} | {pair['portrait']} | {pair['portrait_kind']} | {closer} | {_correlations(pair)} |"
        )
    return [*lines, "", _EXPLAINED]


_EXPLAINED = (
    "Signals: correlation over frames between driver and result. In parentheses: the driver hardly moves in this "
    "signal (its standard deviation is not clear of the landmarker's noise), so the number says nothing and is not in "
    "the means."
)


def _following_means(means: dict[str, Any]) -> list[str]:
    return [
        "| correlation with the driver | " + " | ".join(means) + " |",
        "|---" * (1 + len(means)) + "|",
        "| mean over clips | " + " | ".join(_number(mean["correlation"], 2) for mean in means.values()) + " |",
        "| extent of the movement, 1 is the driver's | "
        + " | ".join(_number(mean["extent"], 2) for mean in means.values())
        + " |",
        "| clips whose driver moves | " + " | ".join(str(mean["clips"]) for mean in means.values()) + " |",
    ]


def _following(following: dict[str, Following]) -> dict[str, Any]:
    return {name: asdict(value) for name, value in following.items()}


def _mean_following(clips: list[dict[str, Following]]) -> dict[str, Any]:
    return {name: asdict(mean) for name, mean in mean_following(clips).items()}


def _mean_errors(clips: list[dict[str, float]]) -> dict[str, float]:
    return {name: _mean([clip[name] for clip in clips]) for name in PICTURE_METRICS}


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _errors(errors: dict[str, float | None]) -> str:
    return " | ".join(_number(errors[name]) for name in PICTURE_METRICS)


def _correlations(clip: dict[str, Any]) -> str:
    cells = []
    for name in STILL:
        found = clip["following"][name]
        number = _number(found["correlation"], 2)
        cells.append(number if found["moves"] else f"({number})")
    return " | ".join(cells)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"
