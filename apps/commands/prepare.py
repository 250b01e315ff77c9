"""`xnemo prepare`: videos of faces -> the folder that the training recipes read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from animator.training.config import PrepareConfig
from apps.verb import Context, Option, PartlyFailed, UsageError, Verb

_SHOWN = 20  # lines of what is missing, and of what was ignored


def run(files: list[str], config: PrepareConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Prepare every clip that the sources name; bad ones are skipped and reported at the end.

    Raises:
        PartlyFailed: at least one clip failed; the others are done.
    """
    from animator.training.prepare import prepare_crops

    sources, folder = _split(files, options.output)
    context.kept = f"{folder} holds the clips that were finished, and the same command goes on from there"
    done = prepare_crops(sources, folder, config)
    result = {
        "crops": str(done.folder),
        "clips": done.clips,
        "frames": done.frames,
        "rejected": done.rejected,
        "reasons": done.reasons,
        "missing": list(done.missing),
        "ignored": list(done.ignored),
    }
    if done.failed:
        reasons = "; ".join(done.failed.values())
        raise PartlyFailed(f"{len(done.failed)} clips failed: {reasons}", result | {"failed": done.failed})
    return result


def summary(result: dict[str, Any]) -> str:
    """What there is now, what was left out and why, and how to use it."""
    lines = [f"{result['frames']} frames of {result['clips']} clips: train with crops={result['crops']}"]
    if result["reasons"]:
        listed = ", ".join(f"{count} {reason}" for reason, count in result["reasons"].items())
        lines.append(f"rejected: {listed}; the reasons are in {Path(result['crops']) / 'clips.parquet'}")
    for kind in ("missing", "ignored"):
        found = result[kind]
        lines += [f"{kind}: {line}" for line in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"{kind}: {len(found) - _SHOWN} more; --json lists all")
    return "\n".join(lines)


def _split(files: list[str], output: str | None) -> tuple[list[Path], Path]:
    """Sources and the folder for the crops: what -o says, else the last of the names."""
    if output is not None:
        return [Path(file) for file in files], Path(output)
    if len(files) < 2:
        raise UsageError(f"usage: {VERB.usage} (DST is missing)")
    *sources, folder = (Path(file) for file in files)
    if folder.is_file():
        raise UsageError(f"{folder}: is a file, and the last name is the folder for the crops; name it with -o")
    return sources, folder


VERB = Verb(
    usage="xnemo prepare SRC... DST | [SRC...] -o DST [key=value ...] [--json]",
    config="prepare",
    run=run,
    summary=summary,
    most_inputs=sys.maxsize,
    options=(
        Option(
            ("-o", "--output"),
            "folder for the crops; SRC are videos, folders of videos (HDTF, VFHQ, NeRSemble and MEAD are known), or "
            "manifests (.csv with the columns file and identity, and if wanted kind, split, camera, emotion, "
            "intensity); without SRC the clips that lie in DST/parts are put together again",
            "DST",
        ),
    ),
)
