"""`xnemo interpolate`: a portrait passes smoothly from one key frame to the next."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Literal, cast

from apps.verb import Context, Option, Verb
from motion_gpt.command_config import InterpolateConfig

SECONDS = 2.0


def run(files: list[str], config: InterpolateConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Read the keys, pass through them, draw or write that, and report."""
    import time
    from contextlib import ExitStack

    from animator.builders import load_pipeline
    from animator.face import FaceDetector
    from animator.keyframes import parse_key, through
    from animator.provenance.marks import Marks
    from apps.animation import check_output, check_sampler, prepare_portrait
    from apps.generation import check_writable, draw, motion_path, seconds_asked, write_video
    from apps.keys import KeyReader
    from apps.memory import peak_memory_mb

    started = time.monotonic()
    portrait, *keys = files
    sources = [parse_key(text) for text in keys]
    seconds = seconds_asked(options.seconds, SECONDS, config.longest)
    named = Path(f"{Path(portrait).stem}_interpolated.mp4")
    output = Path(options.output or Path("outputs") / named)
    output = output / named if output.is_dir() else output
    motion_file = None if options.motion_out is None else motion_path(options.motion_out)
    video = output if motion_file is None or options.output else None
    if video is not None:
        check_output(video, portrait, *(source.path for source in sources))
    for path in filter(None, [video, motion_file]):
        check_writable(path)
    check_sampler(config)
    context.kept = f"{video or motion_file} was not written"
    with ExitStack() as stack:
        pipeline = load_pipeline(config)
        detector = stack.enter_context(FaceDetector(min_score=config.face.min_score))
        pictures = None if video is None else prepare_portrait(pipeline, portrait, config, detector)
        reader = KeyReader(pipeline, detector, config)
        mode = cast(Literal["linear", "slerp"], config.mode)
        frames = [reader.read(source) for source in sources]
        motion = through(frames, seconds, config.fps, mode, config.easing, config.hold, config.loop)
        if video is not None and pictures is not None:
            keyed = dict.fromkeys(("key", source.path) for source in sources)
            marks = Marks("interpolate", (("portrait", portrait), *keyed), config.marks)
            write_video(video, draw(pipeline, pictures, [motion], len(motion), config), config.fps, config, marks)
        if motion_file is not None:
            motion.save(motion_file)
    return {
        "video": None if video is None else str(video),
        "motion": None if motion_file is None else str(motion_file),
        "keys": len(keys),
        "frames": len(motion),
        "fps": config.fps,
        "seconds": round(time.monotonic() - started, 2),
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }


def summary(result: dict[str, Any]) -> str:
    """Where everything is."""
    made = list(filter(None, [result["video"], result["motion"]]))
    length = result["frames"] / result["fps"]
    return "\n".join([*made, f"{length:g} s through {result['keys']} keys, in {result['seconds']:.0f} s"])


VERB = Verb(
    usage="xnemo interpolate PORTRAIT KEY1 KEY2 ... [--seconds 2] [-o OUT] [key=value ...] [--json]",
    config="interpolate",
    run=run,
    summary=summary,
    least_inputs=3,
    most_inputs=sys.maxsize,
    options=(
        Option(
            ("--seconds",),
            f"from each key to the next (default {SECONDS:g}); a key is IMAGE, VIDEO@TIME (3.2 or "
            "0:03.2) or NAME.motion.safetensors@FRAME",
            "S",
        ),
        Option(("-o", "--output"), "the mp4, or a folder for it (default outputs/PORTRAIT_interpolated.mp4)", "OUT"),
        Option(("--motion-out",), "write the motion as a .motion.safetensors file; alone it renders nothing", "FILE"),
    ),
)
