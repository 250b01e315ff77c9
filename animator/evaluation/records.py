"""One result's measures as a file, so that an interrupted evaluation goes on and a repeated one reads."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animator.errors import XNeMoError
from animator.evaluation.agreement import Moments, emotion_similarity
from animator.evaluation.following import Following, signals
from animator.evaluation.protocols import Driver, Measured
from animator.files import atomic_path
from animator.image import write_image

# Part of every record's key: raise it when a definition changes, and old records are measured again.
DEFINITIONS = 1

Series = dict[str, list[float | None]]


@dataclass(frozen=True)
class Record:
    """What was measured of one method on one case.

    Attributes:
        experiment: "self" or "cross".
        clip, portrait: names; the portrait is None for self-reenactment.
        note: what the portrait shows, if known.
        method: the row of the table.
        fps: of the clip.
        frames: number of frames.
        metrics: one number each, NaN where there is none to give; see `animator.evaluation.summary.METRICS`.
        following: by signal.
        valence, arousal: moments over frames, from which the correlations over all clips follow.
        counts: frames in which driver, or result, have no face, and frames behind the rarer metrics.
        series: values frame by frame, for plots: errors, and driver and result of some signals.
        stem: of the files beside the record: `STEM.json`, `STEM.jpg` (the sampled frames: portrait, then driver above
            result), `STEM.npz` (runs) and `STEM.mp4` (side by side, where videos are wanted).
    """

    experiment: str
    clip: str
    portrait: str | None
    note: str
    method: str
    fps: float
    frames: int
    metrics: dict[str, float]
    following: dict[str, Following]
    valence: list[float]
    arousal: list[float]
    counts: dict[str, int]
    series: Series = field(repr=False)
    stem: str = ""

    @property
    def case(self) -> str:
        """Clip and portrait in one name."""
        return self.clip if self.portrait is None else f"{self.clip} on {self.portrait}"


def make_record(
    driver: Driver, measured: Measured, experiment: str, portrait: str | None, note: str, method: str, stem: str
) -> Record:
    """Take the numbers out of what was measured."""
    errors, likeness = measured.errors, measured.likeness
    following = {f"follow_{name}": found.correlation for name, found in measured.following.items() if found.moves}
    metrics = {
        **(errors.means() if errors is not None else {}),
        "identity": likeness.similarity,
        "leakage": likeness.leakage,
        "closer": likeness.closer_to_portrait,
        "to_portrait": likeness.to_portrait,
        "to_driver": likeness.to_driver,
        "apart": likeness.apart,
        "aed": measured.motion.aed,
        "apd": measured.motion.apd,
        "yaw": measured.motion.yaw,
        "pitch": measured.motion.pitch,
        "roll": measured.motion.roll,
        "emotion": float(emotion_similarity(measured.valence, measured.arousal)),
        "flicker": measured.flicker,
        "jitter": measured.jitter.result,
        "jitter_driver": measured.jitter.driver,
        "failures": measured.missing / len(driver),
        **following,
    }
    theirs, ours = signals(driver.seen.face), signals(measured.face)
    series: Series = {}
    for name in ("mouth", "blink", "yaw", "pitch"):
        series[f"{name}_driver"], series[f"{name}_result"] = _listed(theirs[name]), _listed(ours[name])
    if errors is not None:
        series |= {"l1": _listed(errors.l1), "ssim": _listed(errors.ssim), "lpips": _listed(errors.lpips)}
    counts = {
        "driver_missing": driver.seen.face.missing,
        "missing": measured.missing,
        "likeness": likeness.frames,
        "jitter": measured.jitter.frames,
    }
    return Record(
        experiment=experiment,
        clip=driver.path.stem,
        portrait=portrait,
        note=note,
        method=method,
        fps=driver.motion.fps,
        frames=len(driver),
        metrics=metrics,
        following=measured.following,
        valence=measured.valence.values.tolist(),
        arousal=measured.arousal.values.tolist(),
        counts=counts,
        series=series,
        stem=stem,
    )


def save_record(folder: Path, record: Record, sheet: NDArray[np.uint8], runs: Sequence[NDArray[np.float64]]) -> None:
    """Write a record and what belongs to it; the record comes last, so that one that is there is whole.

    Args:
        folder: where.
        record: the record.
        sheet: its sampled frames.
        runs: descriptions of the runs of the result and of the driver.
    """
    write_image(folder / f"{record.stem}.jpg", sheet)
    with atomic_path(folder / f"{record.stem}.npz") as path:
        np.savez(path, result=runs[0].astype(np.float32), driver=runs[1].astype(np.float32))
    with atomic_path(folder / f"{record.stem}.json") as path:
        path.write_text(json.dumps(plain(asdict(record)), allow_nan=False), encoding="utf-8")


def load_record(folder: Path, stem: str) -> Record | None:
    """Read a record; None where there is none, or one that is damaged and has to be measured again."""
    path = folder / f"{stem}.json"
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        read["metrics"] = {name: _number(value) for name, value in read["metrics"].items()}
        read["following"] = {name: _following(found) for name, found in read["following"].items()}
        return Record(**read)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def load_runs(folder: Path, record: Record) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Descriptions of the runs of a record's result and of its driver, each (n, 512)."""
    path = folder / f"{record.stem}.npz"
    try:
        with np.load(path, allow_pickle=False) as found:
            return found["result"].astype(np.float64), found["driver"].astype(np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise XNeMoError(f"{path}: cannot be read ({error}); remove {folder} to measure again") from error


def moments(record: Record) -> tuple[Moments, Moments]:
    """The record's moments of valence and arousal."""
    return Moments(np.array(record.valence)), Moments(np.array(record.arousal))


def plain(value: Any) -> Any:
    """The same with NaN and infinity, which JSON does not have, as None."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _listed(values: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else round(float(value), 4) for value in values]


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _following(found: dict[str, Any]) -> Following:
    numbers = {name: _number(found[name]) for name in ("correlation", "driver_deviation", "result_deviation")}
    return Following(**numbers, moves=bool(found["moves"]), frames=int(found["frames"]))


def with_stem(record: Record, stem: str) -> dict[str, Any]:
    """The record for the report's JSON: everything but the series, which its own file has."""
    about = plain(asdict(record))
    del about["series"]
    return about | {"stem": stem}
