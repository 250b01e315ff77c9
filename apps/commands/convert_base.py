"""`xnemo convert base`: a Stable Diffusion folder -> a folder that training starts from."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from animator.convert.config import ConvertBaseConfig
from apps.verb import Context, Verb


def run(files: list[str], config: ConvertBaseConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Check everything, then convert; nothing is left of an attempt that fails."""
    from animator.convert.base import convert_base
    from animator.convert.shards import format_of

    source, target = map(Path, files)
    context.kept = f"{target} was not written"
    done = convert_base(
        source,
        target,
        config.animator,
        motion_module=None if config.motion_module is None else Path(config.motion_module),
        vae=None if config.vae is None else Path(config.vae),
        dtype=format_of(config.dtype),
        shard_bytes=config.shard_mb * 10**6,
        seed=config.seed,
    )
    return {
        "folder": str(done.folder),
        "networks": done.networks,
        "slots": done.slots,
        "slots_from_motion_module": done.temporal,
        "temporal_autoencoder": done.temporal_autoencoder,
    }


def summary(result: dict[str, Any]) -> str:
    """What is in the folder, and what to type to train from it."""
    folder = result["folder"]
    lines = [
        f"{folder}: {', '.join(result['networks'])}; temporal modules of {result['slots_from_motion_module']} of "
        f"{result['slots']} slots are AnimateDiff's, everything else of the slots is fresh"
    ]
    if result["temporal_autoencoder"] is None:
        lines.append("it has no autoencoder, which diffusion training needs; name one with vae=FOLDER")
        return "\n".join(lines)
    temporal = str(result["temporal_autoencoder"]).lower()
    lines.append(
        f"train from it with: xnemo train animator train_diffusion=true {shlex.quote(f'start_from={folder}')} "
        f"animator.image_encoder=false animator.vae.temporal={temporal}, and animator= as here"
    )
    return "\n".join(lines)


VERB = Verb(
    usage="xnemo convert base SRC DST [motion_module=FILE] [key=value ...] [--json]",
    config="convert_base",
    run=run,
    summary=summary,
    least_inputs=2,
    most_inputs=2,
)
