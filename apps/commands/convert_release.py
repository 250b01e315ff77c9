"""`xnemo convert xnemo-release`: the released X-NeMo files -> a folder that `weights=` takes."""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path
from typing import Any

from animator.convert.config import ConvertReleaseConfig
from apps.verb import Context, Option, Verb

NAMED_AT_MOST = 20  # keys from the base UNet that are shown; the manifest has them all


def run(
    files: list[str], config: ConvertReleaseConfig, options: argparse.Namespace, context: Context
) -> dict[str, Any]:
    """Check everything, then convert; nothing is left of an attempt that fails."""
    from animator.convert.release import convert_release
    from animator.convert.shards import format_of
    from apps.memory import peak_memory_mb

    source, target = map(Path, files)
    context.kept = f"{target} was not written"
    start = time.monotonic()
    done = convert_release(
        source,
        target,
        config.animator,
        allow_base=options.allow_base,
        dtype=format_of(config.dtype),
        shard_bytes=config.shard_mb * 10**6,
    )
    return {
        "weights": str(done.folder),
        "bytes": done.size,
        "from_base": done.from_base,
        "computed": len(done.computed),
        "seconds": round(time.monotonic() - start, 1),
        "peak_memory_mb": round(peak_memory_mb()),
    }


def summary(result: dict[str, Any]) -> str:
    """Where the folder is, what is not the release's in it, and how to use it."""
    folder = result["weights"]
    lines = [
        f"{folder}: {result['bytes'] / 1e9:.1f} GB, in {result['seconds']:.0f} s with at most "
        f"{result['peak_memory_mb']} MiB of memory"
    ]
    for network, keys in result["from_base"].items():
        lines.append(f"{network}, from the base UNet ({len(keys):,}):")
        lines += [f"  {key}" for key in keys[:NAMED_AT_MOST]]
        if len(keys) > NAMED_AT_MOST:
            lines.append(f"  and {len(keys) - NAMED_AT_MOST:,} more, which {folder}/manifest.json lists")
    lines.append("licence CC BY-NC 4.0: academic research only")
    lines.append(f"use it with: xnemo animate PORTRAIT DRIVING {shlex.quote(f'weights={folder}')}")
    return "\n".join(lines)


VERB = Verb(
    usage="xnemo convert xnemo-release SRC DST [--allow-base] [key=value ...] [--json]",
    config="convert_xnemo_release",
    run=run,
    summary=summary,
    least_inputs=2,
    most_inputs=2,
    options=(
        Option(
            ("--allow-base",),
            "take UNet keys that the released files lack from the base UNet (SRC/sd-image-variations-diffusers/unet), "
            "and name them; without it they are an error",
        ),
    ),
)
