"""Table 1 and Table 2 of the paper, whole: inputs, cases, measuring, figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from animator.builders import find_weights, load_pipeline
from animator.errors import XNeMoError
from animator.evaluation.baselines import BASELINES, Results
from animator.evaluation.config import ReenactmentConfig
from animator.evaluation.measuring import Case, Method, Plan
from animator.evaluation.networks import NetworkFiles, find_networks
from animator.evaluation.provenance import weight_hashes
from animator.evaluation.report import RECORDS
from animator.evaluation.running import run_plan
from animator.evaluation.sources import Item, find_items, models_beside
from animator.evaluation.summary import experiment_report, paper_ablation
from animator.face import FaceDetector
from animator.portrait import portrait_pictures


def locate_networks(config: ReenactmentConfig, inputs: Sequence[Path]) -> NetworkFiles:
    """Find the measuring networks by the settings, or beside the inputs."""
    folders = [Path(config.models).expanduser()] if config.models is not None else models_beside(inputs)
    arcface, emonet = (None if file is None else Path(file).expanduser() for file in (config.arcface, config.emonet))
    return find_networks(folders, arcface, emonet)


def reenact(
    config: ReenactmentConfig,
    clips: Sequence[Path],
    portraits: Sequence[Path] | None,
    networks: NetworkFiles,
    output: Path,
    own: bool = True,
    limit: int | None = None,
    results: Sequence[Path] = (),
) -> dict[str, Any]:
    """Run self-reenactment, cross-reenactment or both.

    Args:
        config: the settings.
        clips: files, folders or manifests of driving clips.
        portraits: the same of portraits; None for no cross-reenactment.
        networks: what to measure with.
        output: folder of the evaluation; records go to its subfolder.
        own: run self-reenactment.
        limit: use only so many clips, the first by name.
        results: folders with another program's videos.
    Returns:
        `{"self": ..., "cross": ...}`, whichever was run, see `summary.experiment_report`.
    Raises:
        XNeMoError: bad inputs, or not one case could be measured.
    """
    found = find_items(clips, "clip", config.split)[:limit]
    cases = [Case("self", clip) for clip in found] if own else []
    unusable: dict[str, str] = {}
    if portraits is not None:
        usable, unusable = usable_portraits(config, find_items(portraits, "portrait", config.split))
        cases += pair(found, usable, config.pairs)
    plan = Plan(
        tuple(cases),
        methods(config, results),
        config,
        networks,
        weight_hashes(find_weights(config.weights)),
        output / RECORDS,
    )
    outcome = run_plan(plan)
    if not outcome.records:
        raise XNeMoError(f"nothing could be measured; {'; '.join(dict.fromkeys(outcome.skipped.values()))[:500]}")
    skipped = outcome.skipped | {f"{name}, cross, as a portrait": why for name, why in unusable.items()}
    experiments = [name for name, wanted in (("self", own), ("cross", portraits is not None)) if wanted]
    return {
        name: experiment_report(name, outcome.records, skipped, networks, plan.folder, config.resamples, config.seed)
        for name in experiments
    }


def ablate(
    config: ReenactmentConfig,
    weights: Sequence[str],
    clips: Sequence[Path],
    portraits: Sequence[Path],
    networks: NetworkFiles,
    output: Path,
    limit: int | None = None,
) -> dict[str, Any]:
    """Run cross-reenactment of the same pairs with several weights (Table 2).

    Args:
        weights: folders, one a row; their names must differ.
        config, clips, portraits, networks, output, limit: see `reenact`.
    Returns:
        One experiment's report, in which every weights folder is a method; then come the baselines.
    """
    names = [find_weights(folder).resolve().name for folder in weights] + list(BASELINES)
    if len(set(names)) < len(names):
        raise XNeMoError(f"two rows of the table would have one name: {', '.join(names)}; rename a weights folder")
    parts: list[dict[str, Any]] = []
    for folder in weights:
        # Baselines do not depend on the weights, but for the frames in which a face can be followed.
        one = replace(config, weights=folder, baselines=config.baselines and not parts)
        parts.append(reenact(one, clips, portraits, networks, output, own=False, limit=limit)["cross"])
    rows = {name: method for part in parts for name, method in part["methods"].items()}
    return parts[0] | {
        "experiment": "ablation",
        "methods": {name: rows[name] for name in sorted(rows, key=BASELINES.__contains__)},
        "records": [record for part in parts for record in part["records"]],
        "skipped": {case: why for part in parts for case, why in part["skipped"].items()},
        "paper_rows": paper_ablation(networks),
    }


def methods(config: ReenactmentConfig, results: Sequence[Path]) -> tuple[Method, ...]:
    """The rows of the tables: the weights under test first, then other programs, then baselines."""
    for folder in results:
        if not folder.is_dir():
            raise XNeMoError(f"{folder}: no such folder of results")
    rows = [Method(find_weights(config.weights).resolve().name, "weights")]
    rows += [Method(Results(folder).name, "results", Results(folder)) for folder in results]
    rows += [Method(name, name) for name in BASELINES] if config.baselines else []
    names = [row.name for row in rows]
    if len(set(names)) < len(names):
        raise XNeMoError(f"two rows of the table would have one name: {', '.join(names)}; rename a folder")
    return tuple(rows)


def pair(clips: Sequence[Item], portraits: Sequence[Item], pairs: str) -> list[Case]:
    """Which clip drives which portrait: clip n portrait n ("one"), or every one ("all")."""
    if pairs == "all":
        return [Case("cross", clip, portrait) for clip in clips for portrait in portraits]
    return [Case("cross", clip, portraits[n % len(portraits)]) for n, clip in enumerate(clips)]


def usable_portraits(config: ReenactmentConfig, portraits: Sequence[Item]) -> tuple[list[Item], dict[str, str]]:
    """Portraits whose face the pipeline finds, and, by name, why others cannot be used.

    Raises:
        XNeMoError: there is not one.
    """
    pipeline = load_pipeline(config)
    side, face_side = pipeline.config.image_size, pipeline.face_size
    usable, unusable = [], {}
    with FaceDetector() as detector:
        for portrait in portraits:
            try:
                portrait_pictures(portrait.path, (side, side), face_side, detector=detector)
                usable.append(portrait)
            except XNeMoError as error:
                unusable[portrait.path.name] = str(error)
    if not usable:
        raise XNeMoError(f"none of the {len(portraits)} portraits shows a face that is found")
    return usable, unusable
