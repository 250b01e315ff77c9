"""What the C library gives back to the system, counted in pages that the system has to clear again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PIECE = 16 * 2**20

COUNT = f"""
import resource, sys
import numpy as np
from animator.memory import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
def work():
    first, second = np.full({PIECE}, 1, np.uint8), np.full({PIECE}, 2, np.uint8)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives memory back so soon")
def test_freed_memory_is_used_again_without_asking_the_system() -> None:
    def cleared(mode: str) -> int:
        return int(subprocess.run([sys.executable, "-c", COUNT, mode], capture_output=True, check=True).stdout)

    assert cleared("keep") < PIECE
    assert cleared("leave") > 2 * PIECE
