"""`xnemo outpaint`: a driving clip goes on by itself."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from apps.verb import Context, Option, Verb
from motion_gpt.command_config import OutpaintConfig

SECONDS = 10.0


def run(files: list[str], config: OutpaintConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Read the driving, continue it as often as asked for, draw or write each, and report."""
    import time
    from contextlib import ExitStack

    from animator.errors import XNeMoError
    from animator.motion_clip import SUFFIX
    from apps.animation import check_output, check_sampler, motion_name
    from apps.comparison import write_continuations
    from apps.generation import MotionDesk, check_writable, motion_path, numbered, produce, seconds_asked, whole_number
    from apps.memory import peak_memory_mb
    from motion_gpt.outpainting import stream_motion

    started = time.monotonic()
    (driving,) = files
    seconds = seconds_asked(options.seconds, SECONDS, config.longest)
    candidates = whole_number(options.candidates, "--candidates", 1, 1)
    seed = whole_number(options.seed, "--seed", config.sampling.seed, 0)
    config = replace(config, sampling=replace(config.sampling, seed=seed))

    named = Path(f"{motion_name(driving)}_outpainted.mp4")
    output = Path(options.output or Path("outputs") / named)
    output = output / named if output.is_dir() else output
    drawn = options.motion_out is None or any((options.output, options.portrait, options.side_by_side))
    videos = numbered(output, candidates) if drawn else []
    motions = [] if options.motion_out is None else numbered(motion_path(options.motion_out), candidates)
    beside = output.with_name(f"{output.stem}_side_by_side.mp4") if options.side_by_side else None
    for path in videos:
        check_output(path, driving, *filter(None, [options.portrait]))
    for path in [*videos, *motions]:
        check_writable(path)
    check_sampler(config)
    if drawn and options.portrait is None and driving.endswith(SUFFIX):
        raise XNeMoError(
            f"{driving}: a motion file holds no picture to draw; name one with --portrait FILE, or write motion only, "
            "with --motion-out FILE"
        )

    with ExitStack() as stack:
        desk = MotionDesk(config, stack, "outpaint")
        given = desk.read(driving)
        pictures = None
        if drawn:
            pictures = desk.own_portrait(given) if options.portrait is None else desk.portrait(options.portrait)
        frames = max(1, round(seconds * given.motion.fps))
        for number in range(candidates):
            context.kept = f"{number} of {candidates} continuations are whole"
            made = stream_motion(
                desk.decoder,
                desk.tokenizer,
                given.named,
                frames,
                config.sampling,
                candidate=number,
                seam=config.seam,
            )
            produce(
                desk,
                made,
                frames,
                given,
                pictures,
                videos[number] if drawn else None,
                motions[number] if motions else None,
                in_place=options.portrait is None,
            )
        if beside is not None and pictures is not None:
            context.kept = f"{candidates} of {candidates} continuations are whole, {beside} was not written"
            write_continuations(desk, given, pictures.image, videos, beside)
        return {
            "videos": [str(path) for path in videos],
            "motions": [str(path) for path in motions],
            "side_by_side": None if beside is None else str(beside),
            "frames": len(given.motion) + frames,
            "t0": len(given.motion),
            "fps": float(given.rate),
            "seed": seed,
            "seconds": round(time.monotonic() - started, 2),
            "peak_memory_mb": round(peak_memory_mb(), 1),
        }


def summary(result: dict[str, Any]) -> str:
    """Where everything is."""
    made = [*result["videos"], *result["motions"], *filter(None, [result["side_by_side"]])]
    length = (result["frames"] - result["t0"]) / result["fps"]
    return "\n".join([*made, f"{length:g} s made up from frame {result['t0']} on, in {result['seconds']:.0f} s"])


VERB = Verb(
    usage="xnemo outpaint DRIVING [--seconds 10] [--portrait P] [-o OUT] [--motion-out FILE] [key=value ...] [--json]",
    config="outpaint",
    run=run,
    summary=summary,
    least_inputs=1,
    most_inputs=1,
    options=(
        Option(("--seconds",), f"length of the continuation (default {SECONDS:g})", "S"),
        Option(("--portrait",), "picture to animate (default: the last one of the driving video)", "FILE"),
        Option(("--seed",), "seed of the motion, same as sampling.seed=N", "N"),
        Option(("--candidates",), "different continuations, each in a file of its own: OUT_1, OUT_2, ...", "N"),
        Option(("-o", "--output"), "the mp4, or a folder for it (default outputs/DRIVING_outpainted.mp4)", "OUT"),
        Option(
            ("--motion-out",),
            "write driving and continuation as one .motion.safetensors file with t0; alone it renders nothing",
            "FILE",
        ),
        Option(
            ("--side-by-side",),
            "also write OUT_side_by_side.mp4: the driving beside all continuations, with a mark where they begin",
        ),
    ),
)
