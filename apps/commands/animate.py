"""`xnemo animate`: a portrait and a driving video, or its motion file, make a video."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animator.config import AnimateConfig
from apps.verb import Context, Option, Verb

if TYPE_CHECKING:
    from apps.animation import Animation


def run(files: list[str], config: AnimateConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Animate and report."""
    from apps.animation import animate, default_output

    portrait, driving = files
    output = Path(options.output) if options.output else default_output(portrait, driving)
    if output.is_dir():
        output = output / default_output(portrait, driving).name
    if options.preview:
        config = replace(config, renderer="gan")
    context.kept = f"{output} was not written"
    return report(animate(config, portrait, driving, output))


def report(animation: Animation) -> dict[str, Any]:
    """What `--json` says about a finished video; `seconds` is how long it took, not how long it plays.

    `peak_memory_mb` is memory of the machine; `peak_gpu_memory_mb` is there only where CUDA was used.
    """
    from apps.memory import peak_gpu_memory_mb, peak_memory_mb

    on_device = peak_gpu_memory_mb()
    return {
        "output": str(animation.output),
        "frames": animation.frames,
        "fps": animation.fps,
        "width": animation.width,
        "height": animation.height,
        "seconds": round(animation.seconds, 2),
        "peak_memory_mb": round(peak_memory_mb(), 1),
    } | ({} if on_device is None else {"peak_gpu_memory_mb": round(on_device, 1)})


def summary(result: dict[str, Any]) -> str:
    """The same in one line for people."""
    on_device = result.get("peak_gpu_memory_mb")
    gpu = "" if on_device is None else f", {on_device:.0f} MiB on the GPU"
    return (
        f"{result['output']}: {result['frames']} frames, {result['fps']:g} fps, "
        f"{result['width']} x {result['height']}, made in {result['seconds']:.0f} s "
        f"with at most {result['peak_memory_mb']:.0f} MiB{gpu}"
    )


VERB = Verb(
    usage="xnemo animate PORTRAIT DRIVING [-o OUT.mp4] [--preview] [key=value ...] [--json]",
    config="animate",
    run=run,
    summary=summary,
    least_inputs=2,
    most_inputs=2,
    options=(
        Option(("-o", "--output"), "the mp4, or a folder for it (default outputs/PORTRAIT_DRIVING.mp4)", "OUT"),
        Option(("--preview",), "use the GAN head: instant, same as renderer=gan"),
    ),
)
