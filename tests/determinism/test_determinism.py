"""The same inputs, seed and version give the same bytes in another process, for every command that makes something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.determinism.__main__ import COMMANDS, prepare

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """What all commands made, in two fresh processes with other hash seeds."""
    folder = tmp_path_factory.mktemp("same")
    prepare(folder)
    found = []
    for hash_seed in "12":
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.determinism", str(folder)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads(done.stdout))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_another_process_makes_the_same_bytes(runs: list[dict[str, str]], command: str) -> None:
    assert runs[0][command] == runs[1][command]
