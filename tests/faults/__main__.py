"""Does harm to every long job at random moments, and looks whether anything is lost.

    python -m tests.faults [--moments 20] [--seed 0] [--job NAME] [--fault NAME]

Prints a table, a row for each job and fault: how often tried, how often survived. Ends with 1 where one was not, and
says how. "Survived" means: one line on standard error and the right exit code (where the process lives to say it), no
half-written file, and the same command given again ends with the very result of an undisturbed run.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import random
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

ONLY_WITH_WORKERS = ("killed worker",)


def main() -> int:
    """Try, and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--moments", type=int, default=20, help="tries of each fault whose moment is random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--job", action="append")
    parser.add_argument("--fault", action="append")
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(1)  # a process of several threads cannot be forked safely
    import apps.commands

    for module in pkgutil.iter_modules(apps.commands.__path__):
        importlib.import_module(f"apps.commands.{module.name}")
    from tests.faults.harness import FAULTS, Bench, CannotMount, Defect
    from tests.faults.jobs import JOBS, prepare_media

    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="xnemo-faults-") as temporary:
        root = Path(temporary)
        os.environ["XNEMO_CONFIG"] = str(root / "settings")
        shop = root / "shop"
        shop.mkdir()
        prepare_media(shop)
        print("| job | fault | tried | survived |")
        print("|---|---|---|---|", flush=True)
        for job_name, job in JOBS.items():
            if arguments.job and job_name not in arguments.job:
                continue
            whole = Bench(job, shop, root / "whole" / job_name.replace(" ", "-"))
            began = time.monotonic()
            end = whole.run()
            lasts = time.monotonic() - began
            if end.code != 0:
                print(f"{job_name}: fails undisturbed: {end.text[-2000:]}", file=sys.stderr)
                return 1
            truth = job.digest(whole.output)
            for name, fault in FAULTS.items():
                if (arguments.fault and name not in arguments.fault) or (name in ONLY_WITH_WORKERS and not job.workers):
                    continue
                tried = survived = 0
                for number in range(arguments.moments):
                    drawn = random.Random(f"{arguments.seed} {job_name} {name} {number}")
                    place = root / "bench" / f"{job_name} {name} {number}".replace(" ", "-")
                    bench = Bench(job, shop, place)
                    try:
                        fault(bench, truth, lasts, drawn, whole.output)
                    except CannotMount:
                        break
                    except Defect as defect:
                        failures.append(f"{job_name}, {name}, try {number}: {defect}")
                    else:
                        survived += 1
                    tried += 1
                print(
                    f"| {job_name} | {name} | {tried or 'no disk'} | {survived or ('' if not tried else 0)} |",
                    flush=True,
                )
    for failure in failures:
        print(f"not survived: {failure}", file=sys.stderr)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
