"""Help texts, made from the documentation of the keys."""

from __future__ import annotations

import shutil
import textwrap
from typing import Any

from animator.config_loader import KeyInfo, describe
from apps.verb import Verb


def verb_help(verb: Verb, about: str) -> str:
    """Usage, what it does, options, and every key with its default."""
    width = max(60, min(110, shutil.get_terminal_size((100, 24)).columns))
    sentence = about[0].upper() + about[1:] + "."
    lines = [f"usage: {verb.usage}", "", *textwrap.wrap(sentence, width), "", "options:"]
    for option in verb.options:
        label = ", ".join(option.names) + (f" {option.value}" if option.value else "")
        lines += _entry(label, option.help, width)
    lines += _entry("--json", "print one JSON object on standard output, and nothing else there", width)
    lines += _entry("--debug", "show the whole traceback of an error", width)
    lines += ["", "settings (key=value):"]
    for info in describe(verb.config):
        lines += _entry(f"{info.name}={_shown(info.default)}", _explained(info), width)
    return "\n".join(lines)


def _explained(info: KeyInfo) -> str:
    allowed = f"; one of {', '.join(info.choices)}" if info.choices else f" ({info.kind})"
    return info.help + allowed


def _entry(label: str, text: str, width: int, indent: int = 30) -> list[str]:
    lines = textwrap.wrap(text, width - indent, initial_indent=" " * indent, subsequent_indent=" " * indent)
    if len(label) + 3 < indent:
        return [f"  {label}".ljust(indent) + lines[0].strip(), *lines[1:]]
    return [f"  {label}", *lines]


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(map(_shown, value)) + "]"
    return str(value)
