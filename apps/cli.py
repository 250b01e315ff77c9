"""The `xnemo` command: finds the verb, reads its settings, runs it and says how it ended.

Exit codes: 0 done, 1 failed with a one-line reason, 2 wrong usage, 130 interrupted. With `--json` standard output
carries exactly one object; progress and log always go to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TextIO

from animator.errors import XNeMoError
from animator.memory import keep_freed_memory
from apps.verb import Context, Inputs, PartlyFailed, UsageError, Verb

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

# Verb -> module in apps.commands, and what it does. A verb of two words has both in its name.
VERBS = {
    "animate": ("animate", "animate a portrait with a video or a .motion.safetensors file, length and sound kept"),
    "extract": ("extract", "write the motion of each video to a .motion.safetensors file"),
    "manifest mead": ("manifest_mead", "list the clips of MEAD with their labels, for extract and prepare"),
    "tokenize": ("tokenize", "turn the motion of videos or motion files into tokens"),
    "detokenize": ("detokenize", "turn tokens back into motion"),
    "replay": ("replay", "make the edits of a history file again, on the clips that they were made on"),
    "outpaint": ("outpaint", "continue a driving video or motion file with motion made up, and draw both"),
    "emote": ("emote", "let a portrait speak with an emotion, from nothing or going on from a clip"),
    "interpolate": ("interpolate", "let a portrait pass smoothly through key frames of pictures, videos, motion files"),
    "view": ("view", "see, edit and make motion tokens in a browser"),
    "prepare": ("prepare", "cut face clips out of videos and label them, for training"),
    "train autoencoder": ("train_autoencoder", "train the autoencoder that the diffusion model works in"),
    "train animator": ("train_animator", "train motion encoder, GAN head and diffusion model on face clips"),
    "train tokenizer": ("train_tokenizer", "train the motion tokenizer on a motion dataset"),
    "train gpt": ("train_gpt", "train the motion generator on the tokens of a motion dataset"),
    "train all": ("train_all", "train everything in a row, from clips to weights that belong together"),
    "evaluate self": ("evaluate_self", "measure weights on clips that drive their own first frames (Table 1, left)"),
    "evaluate cross": ("evaluate_cross", "measure weights on clips that drive others' portraits (Table 1, right)"),
    "evaluate latent": ("evaluate_latent", "measure what the motion latent holds, on synthetic heads"),
    "evaluate ablation": ("evaluate_ablation", "measure several weights on the same pairs (Table 2)"),
    "evaluate all": ("evaluate_all", "every evaluation in one report"),
    "evaluate gate": ("evaluate_gate", "tell whether candidate weights may replace the shipped ones"),
    "evaluate sheets": ("evaluate_sheets", "pictures of the best and the worst clips of a report, before and after"),
    "evaluate tokenizer": ("evaluate_tokenizer", "measure a motion tokenizer on held-out people, beside baselines"),
    "evaluate generation": ("evaluate_generation", "measure continuations and emotions of a motion generator"),
    "convert xnemo-release": ("convert_release", "make the released X-NeMo files a folder that weights= takes"),
    "convert xportrait-release": ("convert_xportrait", "make X-Portrait's released file a folder that weights= takes"),
    "convert to-release": ("convert_to_release", "write the files that the official X-NeMo code loads"),
    "convert base": ("convert_base", "make a Stable Diffusion folder one that training starts from"),
    "verify": ("verify", "say which marks of synthetic media a video carries, and whether they are intact"),
    "fetch": ("fetch", "bring base models from the Hugging Face hub; `xnemo doctor --weights` names them"),
    "doctor": ("doctor", "show versions, device, weights, and what will fit into memory"),
    "demo": ("demo", "animate a real portrait with a real clip, and show both beside the result"),
}

# Packages that only some verbs need -> the extra of this project that brings them.
EXTRAS = {"tensorboard": "train", "ray": "ray", "streamlit": "viewer", "altair": "viewer"}

QUIET = {
    "GLOG_minloglevel": "3",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}


@dataclass(frozen=True)
class _Flags:
    """What the words before any parsing already tell: errors of the parsing itself have to honour them."""

    json: bool
    debug: bool


class _Parser(argparse.ArgumentParser):
    """argparse, but a usage error is raised, so that `--json` can report it too."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: the words after `xnemo`; those of this process if None.
    Returns:
        The exit code.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    flags = _Flags(json="--json" in words, debug="--debug" in words)
    # Libraries chat on standard error unless told early; --debug lets them.
    if not flags.debug:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        warnings.simplefilter("ignore")
    logging.basicConfig(
        level=logging.DEBUG if flags.debug else logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr
    )
    keep_freed_memory()
    output = sys.stdout
    context = Context()
    if threading.current_thread() is threading.main_thread():
        # A container or a scheduler stops a process so; what is half written goes as it does with Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # Nothing that a library prints may reach standard output.
        with contextlib.redirect_stdout(sys.stderr):
            verb, parsed = _parse(words, output)
            if verb is None:
                return DONE
            result = _run(verb, parsed, context)
    except UsageError as error:
        return _fail(error, flags, output, WRONG_USAGE)
    except PartlyFailed as error:
        return _fail(error, flags, output, FAILED, **error.result)
    except XNeMoError as error:
        return _fail(error, flags, output, FAILED)
    except KeyboardInterrupt:
        # If the interrupt met text that a library was executing, CPython notes it, and `python -m` would end by the
        # signal instead of by our exit code; executing any other text clears the note.
        exec("")
        return _fail(f"interrupted; {context.kept}", flags, output, INTERRUPTED)
    except Exception as error:
        return _fail(_unexpected(error), flags, output, FAILED)
    # Of several processes that train together (`accelerate launch`) one speaks.
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps(result) if flags.json else verb.summary(result), file=output, flush=True)
    return DONE


def _parse(words: list[str], output: TextIO) -> tuple[Verb | None, argparse.Namespace]:
    """Find the verb and its words; None where a help text was all that was asked for."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview(), file=output)
        return None, argparse.Namespace()
    if words[0] == "--version":
        from importlib.metadata import version

        print(version("xnemo-motion-suite"), file=output)
        return None, argparse.Namespace()
    name, rest = _find_verb(words)
    verb = _load(name)
    parser = _Parser(prog=f"xnemo {name}", add_help=False, allow_abbrev=False)
    if "-h" in rest or "--help" in rest:
        from apps.help import verb_help

        print(verb_help(verb, VERBS[name][1]), file=output)
        return None, argparse.Namespace()
    parser.add_argument("words", nargs="*")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--debug", action="store_true")
    for option in verb.options:
        option.add_to(parser)
    return verb, parser.parse_intermixed_args(rest)


def _run(verb: Verb, parsed: argparse.Namespace, context: Context) -> dict[str, Any]:
    from animator.config_loader import load_config

    inputs = Inputs.split(parsed.words)
    if not verb.least_inputs <= len(inputs.files) <= verb.most_inputs:
        raise UsageError(f"usage: {verb.usage} (got {len(inputs.files)} of the file names)")
    try:
        config = load_config(verb.config, inputs.settings)
    except XNeMoError as error:
        raise UsageError(str(error)) from error
    return verb.run(inputs.files, config, parsed, context)


def _find_verb(words: list[str]) -> tuple[str, list[str]]:
    for count in (2, 1):
        name = " ".join(words[:count])
        if name in VERBS:
            return name, words[count:]
    longer = [verb for verb in VERBS if verb.split()[0] == words[0]]
    if longer:
        raise UsageError(f"xnemo {words[0]} needs one more word: {' or '.join('xnemo ' + verb for verb in longer)}")
    import difflib

    near = difflib.get_close_matches(words[0], list(VERBS), n=1)
    hint = f"did you mean xnemo {near[0]}?" if near else f"there are {', '.join(VERBS)}"
    raise UsageError(f"unknown command {words[0]!r}; {hint}")


def _load(name: str) -> Verb:
    # Verbs import what they need when they run, so that help and errors come at once.
    return importlib.import_module(f"apps.commands.{VERBS[name][0]}").VERB


def _overview() -> str:
    lines = ["usage: xnemo COMMAND ... [key=value ...] [--json] [--debug]", ""]
    lines += [f"  xnemo {name:<22} {about}" for name, (_, about) in VERBS.items()]
    lines += ["", "`xnemo COMMAND --help` lists the settings of a command with their defaults."]
    return "\n".join(lines)


def _unexpected(error: Exception) -> str:
    """One line for an error that nobody foresaw, with the way to see more of it."""
    text = " ".join(str(error).split()) or "no message"
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return f"not enough memory ({text[:200]}); docs/troubleshooting.md says how to use less"
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        return f"{error.name} is not installed; pip install 'xnemo-motion-suite[{EXTRAS[error.name]}]' brings it"
    return f"{type(error).__name__}: {text[:500]} (unexpected; --debug shows where)"


def _fail(reason: BaseException | str, flags: _Flags, output: TextIO, code: int, **result: Any) -> int:
    if flags.debug and code == FAILED:
        traceback.print_exc()
    print(f"error: {reason}", file=sys.stderr, flush=True)
    if flags.json:
        print(json.dumps({"error": str(reason), **result}), file=output, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
