"""`xnemo evaluate latent`: what the motion latent holds, on synthetic heads whose identity and motion are known."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from animator.evaluation.config import LatentConfig
from apps.evaluation import OUTPUT, report_folder, reported
from apps.verb import Context, Verb


def run(files: list[str], config: LatentConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Draw heads, encode them, ask; write the report."""
    from animator.evaluation.latent import evaluate_latent
    from animator.evaluation.networks import find_network

    folder = report_folder(options, context)
    model = find_network("head", [] if config.models is None else [Path(config.models).expanduser()])
    return reported(config, {"head": model.plain()}, folder, lambda: {"latent": evaluate_latent(config, model, folder)})


def summary(result: dict[str, Any]) -> str:
    """The figures in a few lines, and where the report is."""
    latent = result["latent"]
    lines = []
    for order, identity in zip(latent["ordering"], latent["identity"], strict=True):
        lines.append(
            f"{order['representation']}: same motion closer than same head {order['closer']:.2f} (0.5 by chance), "
            f"nearest other head shows the motion {order['nearest']:.2f} ({order['nearest_by_chance']:.2f}), "
            f"person named {identity['named']:.2f} ({identity['by_chance']:.2f})"
        )
    for row in latent["probes"][-2:]:
        shown = ", ".join(f"{name} {value:.2f}" for name, value in row.items() if name != "coefficient")
        lines.append(f"R2, {row['coefficient']}: {shown}")
    return "\n".join([*lines, f"report: {result['report']['html']}"])


VERB = Verb(
    usage="xnemo evaluate latent [-o DIR] [key=value ...] [--json]",
    config="evaluate_latent",
    run=run,
    summary=summary,
    options=(OUTPUT,),
)
