"""Golden outputs of the official modules and the rule that generates their weights, where the machine has them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def reference_folder(shared_data: Path) -> Path:
    folder = shared_data.parent / "reference"
    if not (folder / "parity").is_dir():
        pytest.skip("the golden outputs of the official modules are not on this machine")
    return folder


@pytest.fixture(scope="session")
def parity_folder(reference_folder: Path) -> Path:
    return reference_folder / "parity"


@pytest.fixture(scope="session")
def parity_weights(parity_folder: Path) -> ModuleType:
    """The module that generates weights and inputs from names and shapes."""
    spec = importlib.util.spec_from_file_location("parity_weights", parity_folder / "weights.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def released_keys(reference_folder: Path) -> dict[str, dict[str, list[int]]]:
    """Module -> key -> shape of everything in the released checkpoint."""
    return json.loads((reference_folder / "xnemo-state-dict.json").read_text())
