"""`xnemo replay`: the edits of a history file, made again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from animator.errors import XNeMoError
from apps.verb import Context, Option, UsageError, Verb
from motion_tokenizer.config import ReplayConfig


def run(files: list[str], config: ReplayConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Read the history and its clips, make its edits, write one of the results."""
    from animator.motion_clip import SUFFIX as MOTION_SUFFIX
    from apps.tokens import read_tokens
    from motion_tokenizer.edit_file import SavedHistory
    from motion_tokenizer.edit_history import SUFFIX
    from motion_tokenizer.token_sequence import SUFFIX as TOKEN_SUFFIX
    from motion_tokenizer.tokenizer import MotionTokenizer

    path, *sources = files
    named = Path(path).name.removesuffix(SUFFIX).removesuffix(".json") + f".edited{TOKEN_SUFFIX}"
    output = Path(options.output or Path("outputs") / named)
    output = output / named if output.is_dir() else output
    if not output.name.endswith((MOTION_SUFFIX, TOKEN_SUFFIX)):
        raise XNeMoError(f"{output}: the result is tokens or motion; name a file in {TOKEN_SUFFIX} or {MOTION_SUFFIX}")
    clip = _clip(options.clip)
    for source in files:
        if output.exists() and Path(source).exists() and output.samefile(source):
            raise XNeMoError(f"{output}: is one of the inputs; name another output with -o")
    context.kept = f"{output} was not written"
    saved = SavedHistory.load(path)
    history = saved.open(read_tokens(sources, config, saved.kind.tokenizer_id))
    tokens = history.result(clip - 1)
    if output.name.endswith(TOKEN_SUFFIX):
        tokens.save(output)
    else:
        MotionTokenizer.from_pretrained(config.tokenizer_weights).decode(tokens).save(output)
    return {"output": str(output), "edits": history.done, "tokens": len(tokens), "frames": tokens.frames}


def summary(result: dict[str, Any]) -> str:
    """What was written."""
    return f"{result['output']}: {result['tokens']} tokens, {result['frames']} frames, after {result['edits']} edits"


def _clip(text: str | None) -> int:
    if text is not None and not (text.isascii() and text.isdigit() and int(text)):
        raise UsageError(f"--clip {text}: must be a whole number from 1 on")
    return 1 if text is None else int(text)


VERB = Verb(
    usage="xnemo replay HISTORY.edits.json SOURCE... [-o OUT] [--clip N] [key=value ...] [--json]",
    config="replay",
    run=run,
    summary=summary,
    least_inputs=2,
    most_inputs=sys.maxsize,
    options=(
        Option(
            ("-o", "--output"),
            "a .tokens.json or .motion.safetensors file, or a folder (default outputs/HISTORY.edited.tokens.json)",
            "OUT",
        ),
        Option(("--clip",), "which of the clips that were edited together, from 1 on (default 1)", "N"),
    ),
)
