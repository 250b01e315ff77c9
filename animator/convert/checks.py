"""Whether a checkpoint holds what it must: every way in which it may not is one line with keys and file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from animator.convert.checkpoints import few
from animator.convert.expected import COUNTER, Expected
from animator.errors import XNeMoError

# How far a stored position table may be from the exact one: its number format's rounding of values up to 1.
_TABLE_TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-3, torch.bfloat16: 8e-3}


def check_entries(path: Path, state: Mapping[str, Tensor], expected: Expected, remedy: str) -> None:
    """Compare what is in a file with what may be in it; `check_complete` is the other half.

    Args:
        path: the file, for messages.
        state: its entries.
        expected: what the network takes.
        remedy: what to do, for messages.
    Raises:
        XNeMoError: keys with a prefix, keys that do not belong, another shape, another number format, or a position
            table with other values.
    """
    unexpected = [key for key in state if key not in expected.shapes]
    _check_prefix(path, unexpected, expected)
    if 2 * len(unexpected) > len(state):
        raise XNeMoError(
            f"{path}: only {len(state) - len(unexpected)} of its {len(state):,} keys belong to {expected.what} (not "
            f"{few(unexpected)}); is it another file under this name?"
        )
    known = [(key, value) for key, value in state.items() if key in expected.shapes]
    shapes = [
        f"{key} {tuple(value.shape)} instead of {expected.shapes[key]}"
        for key, value in known
        if tuple(value.shape) != expected.shapes[key]
    ]
    formats = [f"{key} {_name(value.dtype)}" for key, value in known if not _right_format(key, value)]
    tables = [key for key, value in known if is_wrong_table(value, expected.tables.get(key))]
    problems = [
        (f"keys that do not belong to {expected.what}", unexpected),
        ("another shape than animator= says", shapes),
        ("another number format than 16 or 32 bit floating point", formats),
        ("position tables with other values than the network's", tables),
    ]
    told = [f"{problem} ({len(keys):,}): {few(keys)}" for problem, keys in problems if keys]
    if told:
        raise XNeMoError(f"{path}: {'; '.join(told)}; {remedy}")


def check_complete(where: str, keys: Iterable[str], expected: Expected, remedy: str) -> None:
    """Demand every key that cannot be computed.

    Args:
        where: the file or files, for the message.
        keys: what they hold together.
        expected: what the network takes.
        remedy: what to do, for the message.
    Raises:
        XNeMoError: some are missing.
    """
    missing = missing_keys(keys, expected)
    if missing:
        raise XNeMoError(
            f"{where}: {len(missing):,} of the {len(expected.shapes):,} keys of {expected.what} missing: "
            f"{few(missing)}; {remedy}"
        )


def missing_keys(keys: Iterable[str], expected: Expected) -> list[str]:
    """Required keys that are not there."""
    held = set(keys)
    return [key for key in expected.required if key not in held]


def _check_prefix(path: Path, unexpected: list[str], expected: Expected) -> None:
    prefixes = Counter(
        head for head, _, rest in (key.partition(".") for key in unexpected) if rest in expected.shapes
    ).most_common(1)
    if not prefixes:
        return
    prefix, count = prefixes[0]
    examples = few(key for key in unexpected if key.startswith(f"{prefix}."))
    raise XNeMoError(
        f"{path}: keys begin with '{prefix}.' ({count:,}: {examples}), "
        "as a wrapper around the network leaves them; save the state dict again with "
        f"{{key.removeprefix('{prefix}.'): value for key, value in state.items()}}"
    )


def _right_format(key: str, value: Tensor) -> bool:
    return value.dtype == torch.int64 if key.endswith(COUNTER) else value.dtype in _TABLE_TOLERANCE


def is_wrong_table(stored: Tensor, exact: Tensor | None) -> bool:
    """Whether a stored position table has other values than the exact one, by more than its rounding."""
    if exact is None or stored.shape != exact.shape or stored.dtype not in _TABLE_TOLERANCE:
        return False
    # Not allclose: a NaN is wrong too.
    return not bool((stored.float() - exact).abs().max() <= _TABLE_TOLERANCE[stored.dtype])


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
