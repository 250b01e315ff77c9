"""From records to tables: what each metric is called, which way is better, and its figure over all clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from animator.evaluation.agreement import Moments, emotion_similarity
from animator.evaluation.bootstrap import Interval, draws, interval, mean_interval
from animator.evaluation.following import STILL, mean_following
from animator.evaluation.networks import NetworkFiles
from animator.evaluation.records import Record, load_runs, moments, plain, with_stem
from animator.evaluation.video_distance import LEAST_CLIPS, NAME, video_distance


@dataclass(frozen=True)
class Metric:
    """A column of the tables.

    Attributes:
        key: in records and in JSON.
        label: in tables; "{identity}" and "{emotion}" become the name of the figure under the network that was used.
        better: "low", "high", "one" (the nearer to 1 the better) or "" where neither is.
        digits: after the point.
        about: what it is, in one sentence.
        own_only: only self-reenactment has it.
    """

    key: str
    label: str
    better: str
    digits: int
    about: str
    own_only: bool = False


METRICS = (
    Metric("l1", "L1", "low", 3, "mean |difference| of RGB in [0, 1] at 256 x 256, first frame left out", True),
    Metric("ssim", "SSIM", "high", 3, "structural similarity, 11 x 11 Gaussian window, mean over RGB", True),
    Metric(
        "lpips",
        "LPIPS (AlexNet)",
        "low",
        3,
        "learned perceptual distance v0.1; the paper does not name its network",
        True,
    ),
    Metric(
        "identity",
        "{identity}",
        "high",
        3,
        "cosine of face descriptors of result and portrait, 16 frames a clip; a lost face is 0",
    ),
    Metric(
        "aed",
        "AED",
        "low",
        4,
        "mean |difference| of the 52 MediaPipe blendshapes of driver and result; a lost face is at rest",
    ),
    Metric(
        "apd",
        "APD",
        "low",
        2,
        "mean |difference| of yaw, pitch and roll, degrees, mean over the three; a lost face looks ahead",
    ),
    Metric(
        "emotion",
        "{emotion}",
        "high",
        3,
        "mean of concordance and Pearson correlation of valence and arousal over all frames of all clips",
    ),
    Metric(
        "leakage", "leakage", "low", 3, "likeness to the driver minus likeness to the portrait, by the same descriptors"
    ),
    Metric(
        "closer",
        "closer to portrait",
        "high",
        3,
        "share of frames nearer to the portrait than to the driver (Euclidean)",
    ),
    Metric(
        "flicker",
        "flicker",
        "one",
        2,
        "second difference of the pictures in time over the driver's: 1 is the driver's own",
    ),
    Metric(
        "jitter",
        "jitter",
        "low",
        2,
        "trembling of rigid landmarks on the driver's still head, thousandths of the face's height",
    ),
    Metric("jitter_driver", "jitter of the driver", "", 2, "the same of the driver: what camera and landmarker give"),
    Metric("failures", "no face", "low", 4, "share of result frames in which no face is found"),
    *(
        Metric(
            f"follow_{name}",
            f"follows: {name}",
            "high",
            2,
            f"correlation of {name} over frames with the driver's, clips whose driver moves",
        )
        for name in STILL
    ),
)
VIDEO_DISTANCE = Metric(
    "video_distance",
    NAME,
    "low",
    1,
    "squared MMD of AlexNet features of 16-frame runs of different clips, x 1000; no FVD",
)

# Tables 1 and 2 of the paper: its own data, its own weights at 512 px, ArcFace and EmoNet.
PAPER = {
    "self": {"l1": 0.055, "ssim": 0.826, "lpips": 0.168},
    "cross": {"identity": 0.787, "aed": 0.039, "apd": 3.42, "emotion": 0.65},
}
# Table 2 of the paper: what its ablations leave out.
PAPER_ABLATION = {
    "without the GAN head": {"identity": 0.789, "aed": 0.045, "apd": 4.64, "emotion": 0.43},
    "not end to end": {"identity": 0.782, "aed": 0.040, "apd": 3.49, "emotion": 0.52},
    "without reference feature masking": {"identity": 0.791, "aed": 0.039, "apd": 3.41, "emotion": 0.62},
    "without augmentation": {"identity": 0.724, "aed": 0.042, "apd": 3.63, "emotion": 0.50},
    "without cross-attention": {"identity": 0.697, "aed": 0.040, "apd": 3.55, "emotion": 0.48},
}


def columns(experiment: str, networks: NetworkFiles) -> list[Metric]:
    """The metrics of an experiment, under the names of the networks that were used."""
    names = {"identity": networks.identity.figure, "emotion": networks.emotion.figure}
    chosen = [metric for metric in (*METRICS, VIDEO_DISTANCE) if experiment == "self" or not metric.own_only]
    return [Metric(**asdict(metric) | {"label": metric.label.format(**names)}) for metric in chosen]


def paper_figures(experiment: str, networks: NetworkFiles) -> dict[str, float]:
    """What the paper reports, for the columns that mean the same: none for a stand-in's."""
    return _comparable(PAPER[experiment], networks)


def paper_ablation(networks: NetworkFiles) -> dict[str, dict[str, float]]:
    """The same of the paper's Table 2, by row."""
    return {f"the paper, {name}": _comparable(figures, networks) for name, figures in PAPER_ABLATION.items()}


def _comparable(figures: dict[str, float], networks: NetworkFiles) -> dict[str, float]:
    used = {"identity": networks.identity, "emotion": networks.emotion}
    return {key: value for key, value in figures.items() if key not in used or used[key].stands_for is None}


def summarise(records: Sequence[Record], folder: Path, resamples: int, seed: int) -> dict[str, Interval]:
    """Every metric over the clips of one method; each clip counts the same, but for the correlations of emotion, in
    which every frame does.

    Args:
        records: of one experiment and one method.
        folder: where they lie.
        resamples, seed: of the bootstrap.
    """
    whole = {}
    for metric in METRICS:
        values = np.array([record.metrics.get(metric.key, float("nan")) for record in records])
        if metric.own_only and np.isnan(values).all():
            continue
        whole[metric.key] = mean_interval(values, resamples, seed)
    whole["emotion"] = _emotion(records, resamples, seed)
    whole["video_distance"] = _video_distance(records, folder)
    return whole


def experiment_report(
    experiment: str,
    records: Sequence[Record],
    skipped: dict[str, str],
    networks: NetworkFiles,
    folder: Path,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """One experiment as plain objects: a figure with its interval for each method and metric, then every record."""
    records = [record for record in records if record.experiment == experiment]
    methods = list(dict.fromkeys(record.method for record in records))
    tables = {}
    for name in methods:
        own = [record for record in records if record.method == name]
        figures = summarise(own, folder, resamples, seed)
        tables[name] = {
            "clips": len(own),
            "frames": sum(record.frames for record in own),
            "frames_without_face": sum(record.counts["missing"] for record in own),
            "driver_frames_without_face": sum(record.counts["driver_missing"] for record in own),
            "figures": {key: asdict(figure) for key, figure in figures.items()},
            "following": {key: asdict(mean) for key, mean in mean_following([r.following for r in own]).items()},
        }
    return plain(
        {
            "experiment": experiment,
            "columns": [asdict(metric) for metric in columns(experiment, networks)],
            "paper": paper_figures(experiment, networks),
            "paper_rows": {},
            "methods": tables,
            "records": [with_stem(record, record.stem) for record in records],
            "skipped": {name: why for name, why in skipped.items() if f", {experiment}, " in name},
        }
    )


def worst(records: Sequence[Record], count: int) -> list[Record]:
    """The worst clips: by LPIPS where it was measured, else by how little the result follows, then by AED."""

    def badness(record: Record) -> tuple[float, float]:
        lpips = record.metrics.get("lpips", float("nan"))
        if not np.isnan(lpips):
            return lpips, 0.0
        moving = [found.correlation for found in record.following.values() if found.moves]
        return (-float(np.mean(moving)) if moving else -1.0), record.metrics["aed"]

    return sorted(records, key=badness, reverse=True)[:count]


def _emotion(records: Sequence[Record], resamples: int, seed: int) -> Interval:
    if not records:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    valence, arousal = (np.stack([moments(record)[n].values for record in records]) for n in range(2))
    value = float(emotion_similarity(Moments(valence.sum(axis=0)), Moments(arousal.sum(axis=0))))
    chosen = draws(len(records), resamples, seed)
    sampled = emotion_similarity(Moments(valence[chosen].sum(axis=1)), Moments(arousal[chosen].sum(axis=1)))
    return interval(value, sampled, len(records))


def _video_distance(records: Sequence[Record], folder: Path) -> Interval:
    # Without an interval: clips drawn twice would make the two sets look closer than they are.
    nan = float("nan")
    if len(records) < LEAST_CLIPS:
        return Interval(nan, nan, nan, len(records))
    pairs = [load_runs(folder, record) for record in records]
    return Interval(video_distance([r for r, _ in pairs], [d for _, d in pairs]), nan, nan, len(records))
