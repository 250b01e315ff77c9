"""`xnemo prepare`: videos of faces -> the folder that the training recipes read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from animator.training.config import PrepareConfig
from apps.verb import Context, Option, PartlyFailed, UsageError, Verb


def run(files: list[str], config: PrepareConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Prepare every clip that the sources name; bad ones are skipped and reported at the end.

    Raises:
        PartlyFailed: at least one clip failed; the others are done.
    """
    from animator.training.prepare import prepare_crops

    if options.output is None:
        raise UsageError(f"usage: {VERB.usage} (-o is missing)")
    context.kept = f"{options.output} holds the clips that were finished, and the same command goes on from there"
    done = prepare_crops([Path(file) for file in files], Path(options.output), config)
    result = {"crops": str(done.folder), "clips": done.clips, "frames": done.frames}
    if done.failed:
        reasons = "; ".join(done.failed.values())
        raise PartlyFailed(f"{len(done.failed)} clips failed: {reasons}", result | {"failed": done.failed})
    return result


def summary(result: dict[str, Any]) -> str:
    """What there is now, and how to use it."""
    return f"{result['frames']} frames of {result['clips']} clips: train with crops={result['crops']}"


VERB = Verb(
    usage="xnemo prepare [SRC...] -o DST [key=value ...] [--json]",
    config="prepare",
    run=run,
    summary=summary,
    most_inputs=sys.maxsize,
    options=(
        Option(
            ("-o", "--output"),
            "folder for the crops; SRC are videos, folders of videos, or manifests (.csv with the columns file, kind, "
            "identity, split); without SRC the clips that lie in DST/parts are put together again",
            "DST",
        ),
    ),
)
