"""The list of licences is of what is installed, and complete."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from apps.cli import main
from apps.licences import dependency_licences


def test_every_dependency_is_listed_with_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--licences", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["licences"]}
    # Asked for directly, needed by another package, and by an extra.
    for name in ("torch", "hydra-core", "antlr4-python3-runtime", "pytest"):
        assert rows[name]["version"] == version(name)
    assert "MIT" in rows["einops"]["licence"]
    assert "xnemo-motion-suite" not in rows


def test_a_package_alone_lists_what_it_needs() -> None:
    assert "numpy" in {row["name"] for row in dependency_licences("scipy")}
