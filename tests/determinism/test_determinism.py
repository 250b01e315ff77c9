"""The same inputs, seed and version give the same bytes in another process, for every command that makes something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from animator.provenance.verify import verify
from tests.determinism.__main__ import COMMANDS, LONG_JOBS, make_all, prepare
from tests.faults.jobs import JOBS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands read, and will write into."""
    folder = tmp_path_factory.mktemp("same")
    prepare(folder)
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> list[dict[str, str]]:
    """What all commands made, in this process and in a fresh one with a hash seed of its own."""
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.determinism", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return [make_all(folder), json.loads(done.stdout)]


@pytest.mark.slow
@pytest.mark.parametrize("command", [*COMMANDS, *LONG_JOBS])
def test_another_process_makes_the_same_bytes(runs: list[dict[str, str]], command: str) -> None:
    if command not in runs[0] and JOBS[command].needs is not None:
        pytest.skip(f"{JOBS[command].needs} is not on this machine")
    assert runs[0][command] == runs[1][command]


@pytest.mark.slow
def test_every_video_says_which_command_drew_it(runs: list[dict[str, str]], folder: Path) -> None:
    drew = {}
    for number, (command, *_) in enumerate(COMMANDS.values()):
        for video in folder.glob(f"out-{number}-{os.getpid()}/*.mp4"):
            found = verify(video)
            assert found.statement is not None and found.xmp and found.credentials is not None, command
            assert (found.credentials.state, found.credentials.action) == ("trusted", command)
            drew[command] = found.credentials.sources
    assert set(drew) == {"animate", "detokenize", "outpaint", "emote", "interpolate"}
    assert all(drew.values()), "each names what it was made from"
