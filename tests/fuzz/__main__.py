"""Feeds broken files to every reader, in this process.

    python -m tests.fuzz [--cases 500] [--seed 0] [--only READER ...]

Each case must end in a result or in the one error that users are meant to read, within 5 s of processor time and 2 GiB
of memory. Prints a table; ends with 1 and the smallest failing case of a reader where one fails, and by a signal where
one takes the interpreter down. The same seed tries the same cases.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

SECONDS = 5.0
HANGS = 120.0  # seconds on the clock after which the interpreter is ended; other load counts here
MEMORY = 2 * 2**30


def fuzz(name: str, count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Try one reader; what came of it, and the failure if there was one."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    from animator.errors import XNeMoError
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    told: dict[str, Any] = {"cases": 0, "read": 0, "refused": 0, "slowest": 0.0, "failure": None}

    @seeded(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
        print_blob=False,
    )
    @given(target.cases)
    def run(case: object) -> None:
        place = folder / "case"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        faulthandler.dump_traceback_later(HANGS, exit=True)
        began = time.process_time()
        try:
            target.read(case, place)
            told["read"] += 1
        except XNeMoError:
            told["refused"] += 1
        finally:
            faulthandler.cancel_dump_traceback_later()
            told["cases"] += 1
        took = time.process_time() - began
        told["slowest"] = max(told["slowest"], took)
        assert took < SECONDS, f"took {took:.1f} s"

    try:
        run()
    except Exception:
        told["failure"] = traceback.format_exc()
    return told


def main() -> int:
    """Fuzz every reader and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="a reader; may be given several times")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    faulthandler.enable()
    failed = False
    with tempfile.TemporaryDirectory(prefix="xnemo-fuzz-") as temporary:
        folder = Path(temporary)
        os.environ["XNEMO_CONFIG"] = str(folder / "settings")
        from tests.fuzz.targets import TARGETS, checkpoints

        checkpoints(folder / "checkpoints")
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
        print("| reader | cases | read all the same | refused in one line | slowest case |")
        print("|---|---|---|---|---|")
        for name, target in TARGETS.items():
            if arguments.only and name not in arguments.only:
                continue
            told = fuzz(name, max(1, round(arguments.cases * target.share / 100)), arguments.seed, folder)
            row = (name, told["cases"], told["read"], told["refused"], f"{told['slowest']:.2f} s")
            print(f"| {' | '.join(map(str, row))} |", flush=True)
            if told["failure"] is not None:
                print(f"{name}: {told['failure']}", file=sys.stderr, flush=True)
                failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
