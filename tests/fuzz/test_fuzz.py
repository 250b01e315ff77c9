"""Five hundred broken files: every reader ends in a result or in one line, in bounded time and memory."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_broken_files_end_in_a_result_or_in_one_line() -> None:
    # A process of its own: what takes an interpreter down shall not take the tests along.
    command = [sys.executable, "-m", "tests.fuzz", "--cases", "500"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \|", done.stdout, flags=re.MULTILINE)
    assert sum(int(cases) for _, cases, _, _ in rows) >= 500
    for reader, _, read, refused in rows:
        assert int(refused) > 0, f"{reader}: nothing was broken enough"
        if reader in ("video", "image", "motion", "tokens", "dataset"):
            assert int(read) > 0, f"{reader}: everything was broken beyond reading"
