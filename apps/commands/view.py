"""`xnemo view`: the viewer, in a browser."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from animator.errors import XNeMoError
from apps.verb import Context, Option, UsageError, Verb
from apps.viewer.config import ViewConfig


def run(files: list[str], config: ViewConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Serve the viewer until it is interrupted."""
    from apps.viewer.server import configure, serve

    if options.port is not None:
        config = replace(config, port=_port(options.port))
    path = Path(files[0]) if files else None
    if path is not None and not path.exists():
        raise XNeMoError(f"{path}: no such file or folder; name a video, a motion or token file, or a motion dataset")
    context.kept = "the viewer is closed and its temporary files are removed"
    configure(config, path)
    serve(config, browser=not options.no_browser)
    return {"address": config.address, "port": config.port}


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise UsageError(f"--port {text}: must be a whole number from 1 to 65535")
    return int(text)


def summary(result: dict[str, Any]) -> str:
    """What is said when it ends."""
    return "the viewer is closed"


VERB = Verb(
    usage="xnemo view [PATH] [--port N] [--no-browser] [key=value ...]",
    config="view",
    run=run,
    summary=summary,
    most_inputs=1,
    options=(
        Option(("--port",), "where the viewer listens (default 8501)", "N"),
        Option(("--no-browser",), "do not open a browser; the address is printed"),
    ),
)
