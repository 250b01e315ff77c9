"""`xnemo emote`: a portrait speaks with an emotion, from nothing or going on from a clip."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from animator.errors import XNeMoError
from apps.verb import Context, Option, UsageError, Verb
from motion_gpt.command_config import EmoteConfig

if TYPE_CHECKING:
    from animator.portrait import PortraitPictures
    from apps.generation import Given, MotionDesk
    from motion_gpt.emotion import Scene

SECONDS = 6.0
COLUMNS = 4  # of the sheet of all emotions


def run(files: list[str], config: EmoteConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Make the motion of a script, or of each of the eight emotions, draw or write it, and report."""
    import time
    from contextlib import ExitStack

    from apps.animation import check_output, check_sampler
    from apps.generation import MotionDesk, check_writable, motion_path, whole_number
    from apps.memory import peak_memory_mb

    started = time.monotonic()
    (portrait,) = files
    scripts = chosen_scripts(options, config)
    seed = whole_number(options.seed, "--seed", config.sampling.seed, 0)
    config = replace(config, sampling=replace(config.sampling, seed=seed))
    named = Path(f"{Path(portrait).stem}_{'emotions' if options.all else next(iter(scripts))}.mp4")
    output = Path(options.output or Path("outputs") / named)
    output = output / named if output.is_dir() else output
    motion = None if options.motion_out is None else motion_path(options.motion_out)
    video = output if motion is None or options.output else None
    if video is not None:
        check_output(video, portrait, *filter(None, [options.prefix]))
    for path in filter(None, [video, motion]):
        check_writable(path)
    check_sampler(config)
    context.kept = f"{video or motion} was not written"
    with ExitStack() as stack:
        desk = MotionDesk(config, stack, "emote")
        pictures = None if video is None else desk.portrait(portrait)
        given = None if options.prefix is None else desk.read(options.prefix)
        if options.all and pictures is not None and video is not None:
            frames = draw_all(desk, scripts, given, pictures, video)
        else:
            frames = act(desk, next(iter(scripts.values())), given, pictures, video, motion)
        fps = desk.tokenizer.fps if given is None else float(given.rate)
        t0 = 0 if given is None else len(given.motion)
    return {
        "video": None if video is None else str(video),
        "motion": None if motion is None else str(motion),
        "emotions": [scene.condition.emotion for scenes in scripts.values() for scene in scenes],
        "frames": frames,
        "t0": t0,
        "fps": fps,
        "seed": seed,
        "seconds": round(time.monotonic() - started, 2),
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }


def chosen_scripts(options: argparse.Namespace, config: EmoteConfig) -> dict[str, list[Scene]]:
    """What is to be acted, by name: one script, or one for each emotion.

    Raises:
        UsageError: options that do not go together, or words that are not understood.
    """
    from apps.generation import check_length, seconds_asked, whole_number
    from motion_gpt.emotion import Scene, every_feeling, feeling, parse_script

    ways = {"--emotion": options.emotion, "--script": options.script, "--all": options.all or None}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) != 1:
        raise UsageError(f"say what to express by one of {', '.join(ways)} (got {' and '.join(given) or 'none'})")
    if options.blend is not None and options.emotion is None:
        raise UsageError("--blend: goes with --emotion only")
    if options.script is not None and options.seconds is not None:
        raise UsageError("--seconds: a script has its own")
    if options.all and options.motion_out is not None:
        raise UsageError("--motion-out: holds one clip, but --all makes eight; name one --emotion")
    intensity = None if options.intensity is None else whole_number(options.intensity, "--intensity", 0, 1)
    try:
        if options.script is not None:
            scenes = parse_script(options.script, intensity)
            check_length(sum(scene.seconds for scene in scenes), config.longest)
            return {"script": scenes}
        seconds = seconds_asked(options.seconds, SECONDS, config.longest)
        if options.all:
            return {str(each.emotion): [Scene(each, seconds)] for each in every_feeling(intensity)}
        return {options.emotion: [Scene(feeling(options.emotion, intensity, options.blend), seconds)]}
    except XNeMoError as error:
        raise UsageError(str(error)) from error


def act(
    desk: MotionDesk,
    scenes: list[Scene],
    given: Given | None,
    pictures: PortraitPictures | None,
    video: Path | None,
    motion: Path | None,
    marked: bool = True,
) -> int:
    """Make one clip; the number of its frames, the given ones included."""
    from apps.generation import produce
    from motion_gpt.emotion import plan_passages
    from motion_gpt.outpainting import stream_motion

    fps = desk.tokenizer.fps if given is None else given.motion.fps
    passages, frames = plan_passages(scenes, desk.tokenizer, fps)
    made = stream_motion(
        desk.decoder,
        desk.tokenizer,
        None if given is None else given.named,
        frames,
        desk.config.sampling,
        passages,
        seam=desk.config.seam,
    )
    produce(desk, made, frames, given, pictures, video, motion, marked=marked)
    return frames + (0 if given is None else len(given.motion))


def draw_all(
    desk: MotionDesk, scripts: dict[str, list[Scene]], given: Given | None, pictures: PortraitPictures, output: Path
) -> int:
    """Draw one clip after the other, then lay all of them out as a table; the number of its frames."""
    from apps.comparison import write_grid

    quality = desk.config.crf
    with TemporaryDirectory(prefix="xnemo-") as folder:
        desk.config = replace(desk.config, crf=0)  # lossless, for they are compressed again
        videos = []
        for name, scenes in scripts.items():
            path = Path(folder) / f"{name}.mp4"
            frames = act(desk, scenes, given, pictures, path, None, marked=False)
            videos.append((label_of(scenes[0]), path))
        desk.config = replace(desk.config, crf=quality)
        write_grid(videos, COLUMNS, output, desk, given)
    return frames


def label_of(scene: Scene) -> str:
    """An emotion and its level in words."""
    level = scene.condition.intensity
    return str(scene.condition.emotion) + ("" if level is None else f", level {level}")


def summary(result: dict[str, Any]) -> str:
    """Where everything is."""
    made = list(filter(None, [result["video"], result["motion"]]))
    length = (result["frames"] - result["t0"]) / result["fps"]
    return "\n".join([*made, f"{length:g} s of {', '.join(result['emotions'])}, in {result['seconds']:.0f} s"])


VERB = Verb(
    usage="xnemo emote PORTRAIT --emotion E|--script TEXT|--all [--seconds 6] [-o OUT] [key=value ...] [--json]",
    config="emote",
    run=run,
    summary=summary,
    least_inputs=1,
    most_inputs=1,
    options=(
        Option(("--emotion",), "angry, contempt, disgusted, fear, happy, neutral, sad or surprised", "E"),
        Option(("--intensity",), "1, 2 or 3; neutral has 1 only (default: no wish)", "LEVEL"),
        Option(("--blend",), "a second emotion and its share, such as sad:0.3", "E:SHARE"),
        Option(("--script",), 'instead of --emotion: several, such as "neutral:2s happy@3:3s surprised:2s"', "TEXT"),
        Option(("--all",), "instead of --emotion: all eight in one video, side by side under their names"),
        Option(("--seconds",), f"length of what is made up (default {SECONDS:g})", "S"),
        Option(("--prefix",), "video or motion file to go on from, with its sound; the result begins with it", "CLIP"),
        Option(("--seed",), "seed of the motion, same as sampling.seed=N", "N"),
        Option(("-o", "--output"), "the mp4, or a folder for it (default outputs/PORTRAIT_EMOTION.mp4)", "OUT"),
        Option(("--motion-out",), "write the motion as a .motion.safetensors file; alone it renders nothing", "FILE"),
    ),
)
