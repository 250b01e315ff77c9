"""One moment of each fault for the quickest jobs; `make faults` tries twenty of each for all of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks, and mounts disks as Linux does"),
]


def test_nothing_that_was_finished_is_lost_and_nothing_is_half_written() -> None:
    jobs = ("--job", "animate", "--job", "train tokenizer")
    command = [sys.executable, "-m", "tests.faults", "--moments", "1", "--others", "1", *jobs]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    rows = re.findall(r"^\| ([\w ]+) \| ([\w -]+) \| (.+) \| .* \|$", done.stdout, flags=re.MULTILINE)[1:]
    assert {job for job, _, _ in rows} == {"animate", "train tokenizer"}
    assert {fault for _, fault, _ in rows} >= {"SIGKILL", "SIGINT", "full disk", "vanished source", "little memory"}
