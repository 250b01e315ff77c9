"""`xnemo convert to-release`: a folder of this project -> the four files that the official code loads."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from animator.convert.config import ConvertToReleaseConfig
from apps.verb import Context, Verb


def run(
    files: list[str], config: ConvertToReleaseConfig, options: argparse.Namespace, context: Context
) -> dict[str, Any]:
    """Write the four files; what was converted from a release comes back bit for bit."""
    from animator.convert.shards import format_of
    from animator.convert.to_release import convert_to_release

    source, target = map(Path, files)
    context.kept = f"{target} was not written"
    return {"files": [str(path) for path in convert_to_release(source, target, format_of(config.dtype))]}


def summary(result: dict[str, Any]) -> str:
    """One line a file."""
    return "\n".join(result["files"])


VERB = Verb(
    usage="xnemo convert to-release SRC DST [key=value ...] [--json]",
    config="convert_to_release",
    run=run,
    summary=summary,
    least_inputs=2,
    most_inputs=2,
)
