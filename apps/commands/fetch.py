"""`xnemo fetch`: base models from the Hugging Face hub into the folder of released weights."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from animator.convert.config import FetchConfig
from apps.verb import Context, Verb


def run(files: list[str], config: FetchConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Bring what is missing; what is there is left alone."""
    from animator.asset_manifest import released_home
    from animator.downloads import fetch, named_sources

    home = released_home()
    context.kept = f"{home} holds the files that were finished, and the same command goes on from there"
    done: list[str] = []
    for source in named_sources(files):
        print(f"{source.name}: {source.about} ({source.licence})", file=sys.stderr)
        done += [str(path) for path in fetch(source, home)]
    return {"folder": str(home), "files": done}


def summary(result: dict[str, Any]) -> str:
    """One line a file, and how to go on."""
    return "\n".join([*result["files"], "xnemo doctor --weights says what is missing"])


VERB = Verb(
    usage="xnemo fetch [NAME ...] [--json]",
    config="fetch",
    run=run,
    summary=summary,
    most_inputs=sys.maxsize,
)
