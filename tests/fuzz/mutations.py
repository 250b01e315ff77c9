"""Broken files out of whole ones, as hypothesis strategies, so that a failing one is made as small as can be."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st

# Numbers at which parsers slip: nothing, one, signs, the ends of each width, and the fill of erased memory.
EDGES = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 10**6, 10**9]
LONG = [
    "",
    "../../../etc/passwd",
    "/etc/passwd",
    "\x00",
    "\x1b[2J",
    "<script>alert(1)</script>",
    "${oc.env:HOME}",
    "é" * 300,
]
ODD: list[Any] = [None, True, False, 0, -1, 1, 0.5, -0.0, 1e308, 2**31, 2**63, 10**30, [], {}, [[]], [None], *LONG]

Change = Callable[[bytearray], None]


def _at(share: float, data: bytearray) -> int:
    return min(int(share * len(data)), max(len(data) - 1, 0))


@st.composite
def _changes(draw: st.DrawFn) -> Change:
    """One change; places are shares of the length, for earlier changes move it."""
    kind = draw(st.sampled_from(["flip", "edge", "cut", "drop", "repeat", "insert", "erase"]))
    # Headers are where parsers decide, so that half of the changes go there.
    share = draw(st.one_of(st.floats(0, 1), st.floats(0, 0.05)))
    length = draw(st.integers(1, 64))
    value = draw(st.integers(0, 255))
    edge = draw(st.sampled_from(EDGES)).to_bytes(8, "big")[-draw(st.sampled_from([1, 2, 4, 8])) :]
    little = draw(st.booleans())

    def change(data: bytearray) -> None:
        place = _at(share, data)
        if not data:
            return
        if kind == "flip":
            data[place] ^= value or 1
        elif kind == "edge":
            data[place : place + len(edge)] = edge[::-1] if little else edge
        elif kind == "cut":
            del data[place:]
        elif kind == "drop":
            del data[place : place + length]
        elif kind == "repeat":
            data[place:place] = data[place : place + length]
        elif kind == "insert":
            data[place:place] = bytes([value]) * length
        else:
            data[place : place + length] = bytes(length)

    return change


def broken(whole: list[bytes]) -> st.SearchStrategy[bytes]:
    """One of some files with one to six changes."""

    def apply(parts: tuple[bytes, list[Change]]) -> bytes:
        data = bytearray(parts[0])
        for change in parts[1]:
            change(data)
        return bytes(data)

    return st.tuples(st.sampled_from(whole), st.lists(_changes(), min_size=1, max_size=6)).map(apply)


@st.composite
def broken_json(draw: st.DrawFn, whole: bytes) -> bytes:
    """A JSON file in which values are of another type or size, keys are gone, or stand twice; or that is no JSON."""
    if draw(st.integers(0, 4)) == 0:
        return draw(broken([whole]))
    tree = json.loads(whole)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(tree))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        if isinstance(holder, dict) and draw(st.integers(0, 3)) == 0:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(draw(st.sampled_from(ODD)))  # or a list could come to hold itself
    return json.dumps(tree).encode()


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every value in a JSON tree, as what holds it and the key or number there; of long lists the first few."""
    keys = list(tree) if isinstance(tree, dict) else list(range(min(len(tree), 3))) if isinstance(tree, list) else []
    for key in keys:
        yield tree, key
        yield from _places(tree[key])
