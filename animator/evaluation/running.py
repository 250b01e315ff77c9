"""Run a plan: which of its cases are measured already, and the rest, in several processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from itertools import chain
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import torch
from tqdm import tqdm

from animator.builders import resolve_device
from animator.errors import XNeMoError
from animator.evaluation.config import MeasureConfig
from animator.evaluation.measuring import Case, Measurer, Method, Outcome, Plan, record_stem
from animator.evaluation.processes import ending, processes
from animator.evaluation.records import load_record

MOST_WORKERS = 8
LOOK_SECONDS = 0.5  # how often the parent asks what its processes have done


def run_plan(plan: Plan) -> Outcome:
    """Measure all cases of a plan, in as many processes as its settings say.

    Raises:
        XNeMoError: the weights or a network cannot be loaded, or a worker died.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    whole, left = _read_records(plan)
    jobs = _by_clip(left)
    workers = min(worker_count(plan.config), len(jobs))
    total = len(plan.cases) * len(plan.methods)
    with tqdm(total=total, initial=len(whole.records), desc="measuring", unit="video") as bar:
        for part in _run(plan, jobs, workers, bar.update):
            whole.add(part)
    order = {(case.name, method.name): n for n, (case, method) in enumerate(_every(plan))}
    whole.records.sort(key=lambda record: order[(record.case, record.method)])
    return whole


def worker_count(config: MeasureConfig) -> int:
    """How many processes to measure in."""
    if config.workers is not None:
        return config.workers
    if resolve_device(config.device).type != "cpu":
        return 1
    return min(MOST_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _by_clip(cases: Iterable[Case]) -> list[list[Case]]:
    jobs: dict[Path, list[Case]] = {}
    for case in cases:
        jobs.setdefault(case.clip.path, []).append(case)
    return list(jobs.values())


def _read_records(plan: Plan) -> tuple[Outcome, list[Case]]:
    """What is measured already, and the cases of which anything is not."""
    done, left = Outcome(), []
    for case in plan.cases:
        found = [load_record(plan.folder, record_stem(plan, case, method)) for method in plan.methods]
        done.records += [record for record in found if record is not None]
        if None in found:
            left.append(case)
    return done, left


def _run(plan: Plan, jobs: Sequence[Sequence[Case]], workers: int, step: Callable[[], object]) -> Iterator[Outcome]:
    """Outcomes of all jobs; `step` is called for each video as soon as it is measured."""
    if not jobs:
        return iter(())  # nothing is loaded for nothing
    return _run_here(plan, jobs, step) if workers <= 1 else _run_there(plan, jobs, workers, step)


def _every(plan: Plan) -> Iterator[tuple[Case, Method]]:
    for case in plan.cases:
        for method in plan.methods:
            yield case, method


def _run_here(plan: Plan, jobs: Sequence[Sequence[Case]], step: Callable[[], object]) -> Iterator[Outcome]:
    with Measurer(plan) as measurer:
        for outcome in chain.from_iterable(map(measurer.job, jobs)):
            step()
            yield outcome


def _run_there(
    plan: Plan, jobs: Sequence[Sequence[Case]], workers: int, step: Callable[[], object]
) -> Iterator[Outcome]:
    # Long clips first, so that no process is left alone with one at the end.
    jobs = sorted(jobs, key=lambda cases: -cases[0].clip.path.stat().st_size)
    threads = max(1, torch.get_num_threads() // workers)
    context = multiprocessing.get_context("spawn")
    measured: SimpleQueue[None] = context.SimpleQueue()  # something for each video, long before its job is done
    with processes(workers, context, _start, plan, threads, measured) as executor:
        waiting = {executor.submit(ending(_job), cases) for cases in jobs}
        while waiting:
            done, waiting = wait(waiting, LOOK_SECONDS, FIRST_COMPLETED)
            while not measured.empty():
                measured.get()
                step()
            for job in done:
                yield from job.result()


_measurer: Measurer | XNeMoError | None = None
_measured: SimpleQueue[None] | None = None


def _start(plan: Plan, threads: int, measured: SimpleQueue[None]) -> None:
    """Load everything once in a new process."""
    global _measurer, _measured
    _measured = measured
    torch.set_num_threads(threads)
    try:
        _measurer = Measurer(plan)
    except XNeMoError as error:
        _measurer = error


def _job(cases: Sequence[Case]) -> list[Outcome]:
    if not isinstance(_measurer, Measurer) or _measured is None:
        raise _measurer if isinstance(_measurer, XNeMoError) else XNeMoError("a measuring process has not been started")
    outcomes = []
    for outcome in _measurer.job(cases):
        _measured.put(None)
        outcomes.append(outcome)
    return outcomes
