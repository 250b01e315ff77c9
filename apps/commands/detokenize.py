"""`xnemo detokenize`: tokens to motion; of a video or a motion file, what its tokens keep of it."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from animator.errors import XNeMoError
from apps.verb import Context, Option, Verb
from motion_tokenizer.config import DetokenizeConfig


def run(files: list[str], config: DetokenizeConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Decode one file, and draw the result where a portrait is given."""
    from apps.tokens import TokenDesk, token_name

    (file,) = files
    output = _output(file, options.output)
    video = None if options.portrait is None else output.with_name(f"{token_name(output)}.mp4")
    for target in (output, video):
        if target is not None and target.exists() and Path(file).exists() and target.samefile(file):
            raise XNeMoError(f"{target}: is the input; name another output with -o")
    context.kept = f"{output} was not written"
    with ExitStack() as stack:
        desk = TokenDesk(config, options.portrait, stack)
        motion = desk.detokenize(file)
        motion.save(output)
        context.kept = f"{output} is whole"
        if video is not None:
            desk.draw(motion, video, file)
    return {
        "output": str(output),
        "frames": len(motion),
        "fps": motion.fps,
        "video": None if video is None else str(video),
    }


def summary(result: dict[str, Any]) -> str:
    """What was written."""
    line = f"{result['output']}: {result['frames']} frames, {result['fps']:g} fps"
    return line if result["video"] is None else f"{line}\n{result['video']}"


def _output(file: str, given: str | None) -> Path:
    """The motion file to write: what was given, in the folder that was given, or in `outputs`."""
    from animator.motion_clip import SUFFIX
    from apps.tokens import token_name

    folder = Path("outputs") if given is None else Path(given)
    if given is None or folder.is_dir():
        return folder / f"{token_name(file)}{SUFFIX}"
    if not folder.name.endswith(SUFFIX):
        raise XNeMoError(f"{given}: the result is a motion file; name a file that ends in {SUFFIX}")
    return folder


VERB = Verb(
    usage="xnemo detokenize TOKENS [-o OUT.motion.safetensors] [--portrait PICTURE] [key=value ...] [--json]",
    config="detokenize",
    run=run,
    summary=summary,
    least_inputs=1,
    most_inputs=1,
    options=(
        Option(
            ("-o", "--output"),
            "the motion file, or a folder for it (default outputs/NAME.motion.safetensors)",
            "OUT",
        ),
        Option(("--portrait",), "draw the motion with this picture too, to NAME.mp4 beside it", "PICTURE"),
    ),
)
