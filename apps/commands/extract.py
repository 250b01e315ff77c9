"""`xnemo extract`: the motion of videos, one `.motion.safetensors` file each."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from animator.config import ExtractConfig
from animator.errors import XNeMoError
from apps.verb import Context, Option, PartlyFailed, UsageError, Verb


def run(files: list[str], config: ExtractConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Extract one file after the other; a bad one is skipped and reported at the end.

    Raises:
        PartlyFailed: at least one file failed; the others are done.
    """
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


def summary(result: dict[str, Any]) -> str:
    """One line a file."""
    return "\n".join(result["files"])


VERB = Verb(
    usage="xnemo extract VIDEO... [-o DIR] [key=value ...] [--json]",
    config="extract",
    run=run,
    summary=summary,
    least_inputs=1,
    most_inputs=sys.maxsize,
    options=(Option(("-o", "--output"), "folder for the motion files (default outputs)", "DIR"),),
)
