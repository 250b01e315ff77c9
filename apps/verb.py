"""What a verb of the `xnemo` command is made of."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from animator.errors import XNeMoError

_SETTING = re.compile(r"[+~]*[A-Za-z_][\w.]*=")


class UsageError(Exception):
    """The words of the command line do not make sense; exit code 2."""


class PartlyFailed(XNeMoError):
    """A batch ended with some items done and some not; exit code 1.

    Args:
        message: which items failed, and why.
        result: what was done all the same; `--json` reports it beside the error.
    """

    def __init__(self, message: str, result: dict[str, Any]) -> None:
        super().__init__(message)
        self.result = result


@dataclass
class Context:
    """What a running verb tells the command line.

    Attributes:
        kept: what is left on disk if the user interrupts now, in words.
    """

    kept: str = "nothing was written"


@dataclass(frozen=True)
class Option:
    """A flag or a flag with a value, beside `--json` and `--debug` that every verb has.

    With `many` the flag may come several times, and its values are a list.
    """

    names: tuple[str, ...]
    help: str
    value: str | None = None
    many: bool = False

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        if self.value is None:
            parser.add_argument(*self.names, action="store_true", help=self.help)
        else:
            action = "append" if self.many else "store"
            parser.add_argument(*self.names, metavar=self.value, action=action, help=self.help)


@dataclass(frozen=True)
class Verb:
    """One command.

    Attributes:
        usage: the line that shows its words.
        config: name of the root config that types its settings.
        run: (files, config, parsed options, context) -> the object that `--json` prints.
        summary: that object -> the text for people.
        least_inputs, most_inputs: how many file names it takes.
        options: its own options.
    """

    usage: str
    config: str
    run: Callable[[list[str], Any, argparse.Namespace, Context], dict[str, Any]]
    summary: Callable[[dict[str, Any]], str]
    least_inputs: int = 0
    most_inputs: int = 0
    options: tuple[Option, ...] = field(default=())


@dataclass(frozen=True)
class Inputs:
    """The words of a command line, told apart: file names and `key=value` settings."""

    files: list[str]
    settings: list[str]

    @classmethod
    def split(cls, words: Sequence[str]) -> Inputs:
        """A word that looks like a setting is one, unless a file of that very name is there."""
        settings = [word for word in words if _SETTING.match(word) and not Path(word).exists()]
        return cls([word for word in words if word not in settings], settings)
