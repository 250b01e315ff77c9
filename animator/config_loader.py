"""From YAML groups and `key=value` words to a checked dataclass: the one door through which settings come in.

A package registers its types once (`register_root` for what a command reads, `register_group` for what is chosen by
name, such as `animator=lite`); the values live in the YAML files of the `configs` package. Hydra composes them, and
what comes out is a plain dataclass, so that nothing behind this door knows of Hydra.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from animator.errors import XNeMoError

_ROOTS: dict[str, type] = {}
_GROUPS: set[str] = set()


def key(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """Declare one documented configuration key as a dataclass field.

    Args:
        default: the value when nobody says otherwise; a list or a config class makes a fresh one each time.
        help: one sentence with unit and meaning; `xnemo VERB --help` prints it.
        choices: the values that are allowed, for text keys.
        minimum: smallest allowed number, inclusive.
        maximum: largest allowed number, inclusive.
    """
    metadata = {"help": help, "choices": choices, "minimum": minimum, "maximum": maximum}
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def register_root(name: str, schema: type) -> None:
    """Type the file `configs/NAME.yaml`, which a command reads; the file lists `NAME_schema` first in its defaults."""
    _ROOTS[name] = schema
    ConfigStore.instance().store(name=f"{name}_schema", node=schema)


def register_group(group: str, schema: type | None = None) -> None:
    """Make the files `configs/GROUP/*.yaml` known as a choice.

    Args:
        group: name of the folder and of the setting.
        schema: type of the group's own keys; each file lists `schema` first in its defaults. None for files that set
            keys of the root (`# @package _global_`), which the root's type checks.
    """
    _GROUPS.add(group)
    if schema is not None:
        ConfigStore.instance().store(group=group, name="schema", node=schema)


@dataclass(frozen=True)
class KeyInfo:
    """One key as `--help` shows it: dotted name, type in words, default, help text and what is allowed."""

    name: str
    kind: str
    default: Any
    help: str
    choices: Sequence[str] | None = None
    minimum: float | None = None
    maximum: float | None = None


def describe(name: str) -> list[KeyInfo]:
    """List the keys of the root config `name` with the defaults that its YAML files give, groups first.

    Raises:
        XNeMoError: there is no such root config.
    """
    schema = _root(name)
    defaults = _compose(name, [])
    keys = [
        KeyInfo(group, "group", chosen, f"which file of configs/{group}/ to start from", group_options(group))
        for group, chosen in _chosen_groups(name).items()
    ]
    return keys + list(_walk(schema, defaults))


def group_options(group: str) -> list[str]:
    """Names that `group=NAME` may take: the YAML files in `configs/GROUP/`."""
    with initialize_config_module("configs", version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        return sorted(option for option in loader.get_group_options(group) if option != "schema")


def load_config(name: str, overrides: Sequence[str] = ()) -> Any:
    """Compose the root config `name` with `key=value` overrides.

    Text values are taken as they stand (a path may hold any character); numbers, booleans and lists are read as Hydra
    reads them. `null` empties a key that may be empty.

    Args:
        name: a registered root, such as "animate".
        overrides: `key=value` or `group=option` words, later ones win.
    Returns:
        An instance of the dataclass registered for `name`, nested dataclasses included.
    Raises:
        XNeMoError: an unknown key (near matches are named), group option, or a value of the wrong type or range.
    """
    schema = _root(name)
    groups = _chosen_groups(name)
    kinds = {info.name: info for info in _walk(schema, _compose(name, []))}
    words: list[str] = []
    texts: dict[str, str | None] = {}
    for word in overrides:
        name_of, value = _split(word, kinds, groups)
        if name_of in kinds and _is_text(kinds[name_of].kind):
            # Never through Hydra's grammar, in which brackets, quotes, commas and '${' mean something.
            texts[name_of] = None if value == "null" and "null" in kinds[name_of].kind else value
        else:
            words.append(word)
    config = OmegaConf.to_object(_compose_overrides(name, words, kinds))
    for name_of, text in texts.items():
        *path, last = name_of.split(".")
        setattr(functools.reduce(getattr, path, config), last, text)
    check_values(config)
    return config


def check_values(config: Any) -> None:
    """Refuse values of a configuration dataclass that its keys do not allow, as `load_config` does.

    Raises:
        XNeMoError: a value outside its key's choices or range.
    """
    for info in _walk(type(config), config):
        _check_value(info)


def _root(name: str) -> type:
    try:
        return _ROOTS[name]
    except KeyError:
        raise XNeMoError(f"no configuration named {name!r}; there are {', '.join(sorted(_ROOTS))}") from None


def _compose(name: str, words: list[str]) -> Any:
    with initialize_config_module("configs", version_base="1.3"):
        return compose(name, words)


def _compose_overrides(name: str, words: list[str], keys: dict[str, KeyInfo]) -> Any:
    try:
        return _compose(name, words)
    except (HydraException, OmegaConfBaseException) as error:
        # Hydra's messages run over several lines; which word is wrong is what the user wants to know.
        for word in words:
            try:
                _compose(name, [word])
            except (HydraException, OmegaConfBaseException):
                raise XNeMoError(f"{word}: must be a {keys[word.partition('=')[0]].kind}") from error
        raise XNeMoError(f"{' '.join(words)}: {str(error).splitlines()[0]}") from error


def _chosen_groups(name: str) -> dict[str, str]:
    """Which option of each group the root config starts from."""
    with initialize_config_module("configs", version_base="1.3"):
        config = compose(name, [], return_hydra_config=True)
        choices = config.hydra.runtime.choices
        return {group: choices[group] for group in sorted(_GROUPS) if group in choices}


def _split(word: str, keys: dict[str, KeyInfo], groups: dict[str, str]) -> tuple[str, str]:
    """Take `name=value` apart and check the name, and the option if it names a group."""
    name, equals, value = word.partition("=")
    if not equals:
        raise XNeMoError(f"{word}: not understood; settings are written key=value, without spaces around '='")
    if name in groups:
        options = group_options(name)
        if value not in options:
            raise XNeMoError(f"{word}: no such option; {name} may be {', '.join(options)}")
    elif name not in keys:
        near = difflib.get_close_matches(name, [*keys, *groups], n=3, cutoff=0.5)
        near = near or [key for key in keys if key.split(".")[-1] == name.split(".")[-1]][:3]
        hint = f"did you mean {' or '.join(near)}?" if near else "--help lists the keys"
        raise XNeMoError(f"unknown key {name!r}; {hint}")
    elif not _is_text(keys[name].kind) and "${" in value:
        raise XNeMoError(f"{word}: a reference to another value is not allowed here; give the value itself")
    return name, value


def _is_text(kind: str) -> bool:
    """Whether a key holds one text (or null), and not, for example, a list of texts."""
    return "text" in kind.split(" or ")


def _check_value(info: KeyInfo) -> None:
    value = info.default
    if info.choices is not None and value not in info.choices and not (value is None and "null" in info.kind):
        raise XNeMoError(f"{info.name}={value}: not one of {', '.join(info.choices)}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise XNeMoError(f"{info.name}={value}: must be a finite number")
        if info.minimum is not None and not value >= info.minimum:
            raise XNeMoError(f"{info.name}={value}: must be at least {info.minimum:g}")
        if info.maximum is not None and not value <= info.maximum:
            raise XNeMoError(f"{info.name}={value}: must be at most {info.maximum:g}")


def _walk(schema: type, values: Any, prefix: str = "") -> Iterator[KeyInfo]:
    """Every leaf of a config class, depth first, with the value that it has in `values`."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        hint, value = hints[field.name], getattr(values, field.name)
        name = prefix + field.name
        if dataclasses.is_dataclass(hint):
            yield from _walk(typing.cast(type, hint), value, name + ".")
            continue
        shown = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        yield KeyInfo(name, _in_words(hint), shown, **field.metadata)


def _in_words(hint: Any) -> str:
    """A type as a person would say it: "number", "text or null", "list of whole numbers"."""
    words = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}
    if hint in words:
        return words[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_in_words(argument) for argument in arguments)
    if origin is list:
        return f"list of {_in_words(arguments[0])}s"
    raise TypeError(f"no configuration key can have the type {hint}")
