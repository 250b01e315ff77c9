"""`xnemo tokenize`: the tokens of videos and motion files, one `.tokens.json` file each."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from animator.errors import XNeMoError
from apps.verb import Context, Option, PartlyFailed, UsageError, Verb
from motion_tokenizer.config import TokenizeConfig


def run(files: list[str], config: TokenizeConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Tokenise one file after the other; a bad one is skipped and reported at the end.

    Raises:
        PartlyFailed: at least one file failed; the others are done.
    """
    from apps.tokens import TokenDesk, token_name
    from motion_tokenizer.token_sequence import SUFFIX

    folder = Path(options.output or "outputs")
    targets = [folder / f"{token_name(file)}{SUFFIX}" for file in files]
    twice = [str(path) for path, count in Counter(targets).items() if count > 1]
    if twice:
        raise UsageError(f"two inputs would both be written to {twice[0]}; tokenise them into different folders")

    done: list[str] = []
    videos: list[str] = []
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        desk = TokenDesk(config, options.portrait, stack)
        for number, (file, target) in enumerate(zip(files, targets, strict=True), 1):
            context.kept = f"{len(done)} of {len(files)} token files are whole, in {folder}"
            print(f"[{number}/{len(files)}] {file}", file=sys.stderr)
            try:
                tokens = desk.tokenize(file)
                done.append(str(tokens.save(target)))
                if options.portrait is not None:
                    video = folder / f"{token_name(file)}.mp4"
                    videos.append(str(desk.draw(desk.tokenizer.decode(tokens), video, file)))
            except XNeMoError as error:
                failed[file] = str(error)
                print(f"skipped: {error}", file=sys.stderr)
        result: dict[str, Any] = {"files": done, "videos": videos, "tokenizer_id": desk.tokenizer.id}
    if failed:
        reasons = "; ".join(failed.values())
        raise PartlyFailed(f"{len(failed)} of {len(files)} failed: {reasons}", result | {"failed": failed})
    return result


def summary(result: dict[str, Any]) -> str:
    """One line a file."""
    return "\n".join(result["files"] + result["videos"])


VERB = Verb(
    usage="xnemo tokenize CLIP... [-o DIR] [--portrait PICTURE] [key=value ...] [--json]",
    config="tokenize",
    run=run,
    summary=summary,
    least_inputs=1,
    most_inputs=sys.maxsize,
    options=(
        Option(("-o", "--output"), "folder for the token files (default outputs)", "DIR"),
        Option(("--portrait",), "draw what the tokens say with this picture, to NAME.mp4 beside them", "PICTURE"),
    ),
)
