"""An interrupted pool of processes ends at once, leaves nothing half written, and prints nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from animator.errors import XNeMoError
from animator.evaluation.processes import ending, processes
from animator.files import atomic_path

SPAWN = multiprocessing.get_context("spawn")


def write_slowly(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        time.sleep(120)


def die(_: int) -> None:
    os._exit(1)


def test_interrupted_work_ends_at_once_and_cleans_up(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), processes(2, SPAWN) as pool:
        for number in range(6):  # more than there are processes: none may go on with the next
            pool.submit(ending(write_slowly), tmp_path / f"{number}.txt")
        while len(list(tmp_path.iterdir())) < 2:
            assert time.monotonic() - begun < 90
            time.sleep(0.05)
        raise KeyboardInterrupt
    begun = time.monotonic()
    while multiprocessing.active_children():
        assert time.monotonic() - begun < 30
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_a_process_that_dies_is_one_clear_line() -> None:
    with pytest.raises(XNeMoError, match="process died.*workers=1"), processes(1, SPAWN) as pool:
        pool.submit(ending(die), 0).result()


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_process_that_still_imports_does_not_answer_ctrl_c(capfd: pytest.CaptureFixture[str]) -> None:
    before = set(multiprocessing.active_children())
    with processes(1, SPAWN) as pool:
        known = pool.submit(ending(os.getpid))
        (child,) = set(multiprocessing.active_children()) - before
        while not known.done():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGINT)
            time.sleep(0.02)
        assert known.result() == child.pid
    assert capfd.readouterr().err == ""
