"""`xnemo convert xportrait-release`: X-Portrait's released file -> a folder that `weights=` takes."""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path
from typing import Any

from animator.convert.config import ConvertXPortraitConfig
from apps.verb import Context, Verb


def run(
    files: list[str], config: ConvertXPortraitConfig, options: argparse.Namespace, context: Context
) -> dict[str, Any]:
    """Check everything, then convert; nothing is left of an attempt that fails."""
    from animator.convert.shards import format_of
    from animator.convert.xportrait import convert_xportrait

    source, target = map(Path, files)
    context.kept = f"{target} was not written"
    start = time.monotonic()
    done = convert_xportrait(
        source,
        target,
        config.animator,
        vae=None if config.vae is None else Path(config.vae),
        text_encoder=None if config.text_encoder is None else Path(config.text_encoder),
        dtype=format_of(config.dtype),
        shard_bytes=config.shard_mb * 10**6,
    )
    return {
        "weights": str(done.folder),
        "bytes": done.size,
        "keys": done.keys,
        "seconds": round(time.monotonic() - start, 1),
    }


def summary(result: dict[str, Any]) -> str:
    """Where the folder is, what of the file is in it, and how to use it."""
    keys = ", ".join(f"{name} {count:,}" for name, count in result["keys"].items())
    return (
        f"{result['weights']}: {result['bytes'] / 1e9:.1f} GB, in {result['seconds']:.0f} s\nentries: {keys}\n"
        f"use it with: xnemo animate PORTRAIT VIDEO {shlex.quote('weights=' + result['weights'])} sampler=xportrait"
    )


VERB = Verb(
    usage="xnemo convert xportrait-release SRC.th DST [key=value ...] [--json]",
    config="convert_xportrait_release",
    run=run,
    summary=summary,
    least_inputs=2,
    most_inputs=2,
)
