"""Does harm to every long job at random moments, and looks whether anything is lost.

    python -m tests.faults [--moments 20] [--others 2] [--seed 0] [--job NAME] [--fault NAME]

Prints a table, a row for each job and fault: how often tried, how often survived. Ends with 1 where one was not, and
says how. "Survived" means: one line on standard error and the right exit code (where the process lives to say it), no
half-written file, and the same command given again ends with the very result of an undisturbed run.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import pkgutil
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.jobs import Job

os.environ["OMP_NUM_THREADS"] = "1"


def harm(name: str, job: Job, tries: dict[str, int], seed: int, shop: Path, root: Path) -> list[str]:
    """Do each fault to a job so many times and print a row for each; what was not survived, in words."""
    from tests.faults.harness import FAULTS, Bench, CannotMount, Defect

    whole = Bench(job, shop, root / "whole" / name.replace(" ", "-"))
    end = whole.run()
    if end.code != 0:
        print(f"{name}: fails undisturbed, exit code {end.code}: {end.text[-2000:]}", file=sys.stderr, flush=True)
        return [name]
    truth, failures = job.digest(whole.output), []
    for fault, moments in tries.items():
        tried = survived = 0
        for number in range(moments):
            drawn = random.Random(f"{seed} {name} {fault} {number}")
            place = root / "bench" / f"{name} {fault} {number}".replace(" ", "-")
            try:
                FAULTS[fault](Bench(job, shop, place), truth, end.busy, drawn, whole.output)
            except CannotMount:
                break
            except Defect as defect:
                failures.append(f"{name}, {fault}, try {number}: {defect}")
                print(f"not survived: {failures[-1]}", file=sys.stderr, flush=True)
            else:
                survived += 1
            tried += 1
            shutil.rmtree(place)
        print(f"| {name} | {fault} | {tried or 'no disk'} | {survived if tried else ''} |", flush=True)
    return failures


def main() -> int:
    """Try, and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--moments", type=int, default=20, help="tries of SIGKILL")
    parser.add_argument("--others", type=int, default=2, help="tries of each other fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--job", action="append")
    parser.add_argument("--fault", action="append")
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(1)  # a process of several threads cannot be forked safely
    import apps.commands

    for module in pkgutil.iter_modules(apps.commands.__path__):
        importlib.import_module(f"apps.commands.{module.name}")
    from tests.faults.harness import FAULTS
    from tests.faults.jobs import JOBS, NETWORKS, WORKERS, prepare_media

    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="xnemo-faults-") as temporary:
        root = Path(temporary)
        os.environ["XNEMO_CONFIG"] = str(root / "settings")
        shop = root / "shop"
        shop.mkdir()
        prepare_media(shop)
        gc.collect()  # or a child frees readers of videos, and waits for their threads, which it does not have
        gc.freeze()
        print("| job | fault | tried | survived |")
        print("|---|---|---|---|", flush=True)
        for name, job in JOBS.items():
            faults = [fault for fault in job.faults or FAULTS if job.faults or fault not in WORKERS]
            wanted = [fault for fault in faults if arguments.fault is None or fault in arguments.fault]
            if (arguments.job and name not in arguments.job) or not wanted:
                continue
            if job.needs is not None and not (NETWORKS / job.needs).is_file():
                print(f"{name}: not tried, for {job.needs} is not on this machine", file=sys.stderr)
                continue
            tries = {fault: arguments.moments if fault == "SIGKILL" else arguments.others for fault in wanted}
            failures += harm(name, job, tries, arguments.seed, shop, root)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
