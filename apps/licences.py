"""The licences of everything that this program is installed with."""

from __future__ import annotations

import re
from collections import deque
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

PROJECT = "xnemo-motion-suite"
UNKNOWN = "unknown"
_CLASSIFIER = "License :: "
_LONG = 60  # characters; some packages put the whole text where its name belongs


def dependency_licences(project: str = PROJECT) -> list[dict[str, str]]:
    """Name, version and licence of every package that a package needs here, extras that are installed included.

    Args:
        project: the package to start from.
    Returns:
        By name. `licence` is what the package says of itself, `UNKNOWN` where it says nothing.
    """
    found: dict[str, Distribution] = {}
    waiting = deque(_needed(distribution(project), set(distribution(project).metadata.get_all("Provides-Extra") or [])))
    while waiting:
        requirement = waiting.popleft()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        try:
            found[name] = distribution(requirement.name)
        except PackageNotFoundError:
            continue  # an extra that is not installed
        waiting.extend(_needed(found[name], requirement.extras))
    return [
        {"name": name, "version": package.version, "licence": licence_of(package)}
        for name, package in sorted(found.items())
    ]


def licence_of(package: Distribution) -> str:
    """What a package says about its licence: the SPDX expression, else the classifiers, else the free text."""
    about: Any = package.metadata
    expression = about.get("License-Expression")
    if expression:
        return str(expression)
    named = [text for text in about.get_all("Classifier") or [] if text.startswith(_CLASSIFIER)]
    names = [text.rpartition(" :: ")[2] for text in named if text != f"{_CLASSIFIER}OSI Approved"]
    if names:
        return ", ".join(sorted(set(names)))
    text = str(about.get("License") or "").strip()
    first = text.splitlines()[0].strip() if text else ""
    return first if 0 < len(first) <= _LONG and first.upper() != "UNKNOWN" else UNKNOWN


def _needed(package: Distribution, extras: set[str]) -> list[Requirement]:
    """What a package requires on this machine, with some of its extras."""
    needed = []
    for text in package.requires or []:
        try:
            requirement = Requirement(re.sub(r"\s+", " ", text))
        except InvalidRequirement:
            continue
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras | {""}):
            needed.append(requirement)
    return needed
