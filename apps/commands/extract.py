"""`xnemo extract`: videos to `.motion.safetensors` files, or a folder or manifest of them to a motion dataset."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from animator.config import ExtractConfig
from animator.config_loader import load_config
from animator.errors import XNeMoError
from apps.verb import Context, Option, PartlyFailed, UsageError, Verb

FRAMES_PER_TOKEN = 4  # of the motion tokenizer
ONLY_DATASETS = ("audio", "engine", "fps", "mirror", "split_seed", "validation_share")


def run(files: list[str], config: ExtractConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Extract files, or a dataset where a folder or manifest is named; a bad clip is skipped and reported at the end.

    Raises:
        PartlyFailed: at least one clip failed; the others are done.
    """
    if any(_is_source(file) for file in files):
        if len(files) > 1:
            raise UsageError(f"usage: {VERB.usage} (a motion dataset is made of one folder or manifest)")
        return _dataset(Path(files[0]), config, options, context)
    defaults = load_config("extract")
    given = [name for name in ONLY_DATASETS if getattr(config, name) != getattr(defaults, name)]
    if given:
        raise UsageError(f"{' and '.join(given)}: for motion datasets, which are made of one folder or manifest.csv")
    return _files(files, config, options, context)


def summary(result: dict[str, Any]) -> str:
    """What there is now: one line a file, or what the dataset holds."""
    if "files" in result:
        return "\n".join(result["files"])
    lines = [f"{result['dataset']}: {result['hours']:.2f} hours, {result['tokens']} tokens of 4 frames"]
    for name, split in result["splits"].items():
        mirrored = f", and {split['mirrored']} mirrored copies" if split["mirrored"] else ""
        lines.append(
            f"  {name}: {split['clips']} clips of {split['identities']} people, {split['frames']} frames{mirrored}"
        )
    return "\n".join(lines)


def _is_source(file: str) -> bool:
    return Path(file).is_dir() or file.lower().endswith(".csv")


def _dataset(source: Path, config: ExtractConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    from animator.extraction.recipe import extract_dataset

    if options.output is None:
        raise UsageError(f"usage: {VERB.usage} (-o DATASET is missing)")
    folder = Path(options.output)
    context.kept = f"the clips that were finished are kept in {folder}, and the same command goes on from there"
    done = extract_dataset(source, folder, config)
    frames = sum(split.frames for split in done.splits.values())
    result = {
        "dataset": str(done.folder),
        "extracted": done.extracted,
        "frames": frames,
        "hours": sum(split.hours for split in done.splits.values()),
        "tokens": frames // FRAMES_PER_TOKEN,
        "splits": {name: asdict(split) for name, split in done.splits.items()},
    }
    if done.failed:
        reasons = "; ".join(done.failed.values())
        raise PartlyFailed(f"{len(done.failed)} clips failed: {reasons}", result | {"failed": done.failed})
    return result


def _files(files: list[str], config: ExtractConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    from animator.builders import load_pipeline
    from animator.face import FaceDetector
    from animator.motion_clip import SUFFIX
    from apps.animation import motion_name, open_video, read_motion

    folder = Path(options.output or "outputs")
    targets = [folder / f"{motion_name(file)}{SUFFIX}" for file in files]
    twice = [str(path) for path, count in Counter(targets).items() if count > 1]
    if twice:
        raise UsageError(f"two inputs would both be written to {twice[0]}; extract them into different folders")

    done: list[str] = []
    failed: dict[str, str] = {}
    pipeline = load_pipeline(config)
    with ExitStack() as stack:
        detector = stack.enter_context(FaceDetector(min_score=config.face.min_score))
        for number, (file, target) in enumerate(zip(files, targets, strict=True), 1):
            context.kept = f"{len(done)} of {len(files)} motion files are whole, in {folder}"
            print(f"[{number}/{len(files)}] {file}", file=sys.stderr)
            try:
                with open_video(file, config) as reader:
                    motion = read_motion(pipeline, reader, config.face, detector)
                done.append(str(motion.save(target)))
            except XNeMoError as error:
                failed[file] = str(error)
                print(f"skipped: {error}", file=sys.stderr)
    if failed:
        reasons = "; ".join(failed.values())
        raise PartlyFailed(f"{len(failed)} of {len(files)} failed: {reasons}", {"files": done, "failed": failed})
    return {"files": done}


VERB = Verb(
    usage="xnemo extract VIDEO... [-o DIR] | FOLDER|MANIFEST.csv -o DATASET [key=value ...] [--json]",
    config="extract",
    run=run,
    summary=summary,
    least_inputs=1,
    most_inputs=sys.maxsize,
    options=(
        Option(
            ("-o", "--output"),
            "folder for the motion files (default outputs); of a folder of videos or a manifest, the motion dataset",
            "DIR",
        ),
    ),
)
