"""`xnemo manifest mead`: a table of MEAD's clips with their labels, for `xnemo extract` and `xnemo prepare`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from animator.config_loader import key, register_root
from apps.verb import Context, Option, UsageError, Verb

_SHOWN = 20


@dataclass
class ManifestMeadConfig:
    """Settings of `xnemo manifest mead`."""

    cameras: list[str] = key(
        ["front"], "views that are taken: front, down, left_30, left_60, right_30, right_60, top; each is a clip"
    )
    validation: float = key(
        0.1, "share of the people, of men and of women alike, in the validation split", minimum=0, maximum=1
    )
    seed: int = key(0, "of the choice of these people", minimum=0)


register_root("manifest_mead", ManifestMeadConfig)


def run(files: list[str], config: ManifestMeadConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Read the folder as far as it goes and write the table."""
    from animator.mead import read_mead, write_manifest

    if options.output is None:
        raise UsageError(f"usage: {VERB.usage} (-o is missing)")
    mead = read_mead(files[0], config.cameras)
    path = write_manifest(mead, options.output, config.validation, config.seed)
    return {
        "manifest": str(path),
        "clips": len(mead.clips),
        "subjects": len({clip.subject for clip in mead.clips}),
        "missing": list(mead.missing),
        "ignored": list(mead.ignored),
    }


def summary(result: dict[str, Any]) -> str:
    """What there is, what there is not, and how to go on."""
    lines = [f"{result['clips']} clips of {result['subjects']} people: xnemo extract {result['manifest']} -o DATASET"]
    for kind in ("missing", "ignored"):
        found = result[kind]
        lines += [f"{kind}: {line}" for line in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"{kind}: {len(found) - _SHOWN} more; --json lists all")
    return "\n".join(lines)


VERB = Verb(
    usage="xnemo manifest mead FOLDER -o MANIFEST.csv [key=value ...] [--json]",
    config="manifest_mead",
    run=run,
    summary=summary,
    least_inputs=1,
    most_inputs=1,
    options=(Option(("-o", "--output"), "the table to write; its paths are relative to it", "FILE"),),
)
