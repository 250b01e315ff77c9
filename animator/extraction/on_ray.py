"""`engine=ray`: actors on a Ray cluster, or on this machine alone, each doing whole tasks, such as one clip.

An actor gets a task only when it is ready, so that none waits for an actor that finds no place. An actor that dies,
with its machine or alone, takes only its task with it: the task is tried once more, and another actor takes its place,
or waits until a machine has room for it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from animator.config import EngineConfig
from animator.errors import XNeMoError
from animator.extraction.worker import Job
from animator.memory import keep_freed_memory

ATTEMPTS = 2  # at a task whose actor dies, and at starting one

Task = TypeVar("Task")


class TaskActor:
    """Lives in a process of Ray's, and does the tasks that it is asked for.

    Args:
        job: what is done; every task makes one piece of it.
    """

    def __init__(self, job: Job) -> None:
        self.job = job

    def load(self) -> str | None:
        """Get ready; the text of the error if it cannot."""
        keep_freed_memory()
        try:
            self.do_task = self.job.start()
        except XNeMoError as error:
            return str(error)
        return None

    def do(self, task: Any) -> Any:
        """What is made of a task, or the text of the error that says why nothing is."""
        try:
            (made,) = self.do_task(task)
        except XNeMoError as error:
            return str(error)
        return made


def run_ray(tasks: Sequence[Task], job: Job, engine: EngineConfig) -> Iterator[tuple[Task, Any]]:
    """Do tasks as `run_local` does; the files that they name must be found under their paths on every machine.

    Args:
        tasks: each once; `str` of one begins its error messages.
        job: what is done with them; every task makes one piece of it, which is what comes of it.
        engine: which cluster, and how much of it.
    Yields:
        A task, and what was made of it or the XNeMoError that says why nothing was.
    Raises:
        XNeMoError: no cluster at the address, or one that has too little for a single actor.
        ModuleNotFoundError: Ray is not installed.
    """
    import ray

    ours = not ray.is_initialized()
    try:
        if ours:
            ray.init(engine.address, log_to_driver=False, include_dashboard=False, configure_logging=False)
    except Exception as error:  # Ray raises built-in ones of all kinds, bare `Exception` among them
        what = "Ray cannot be started" if engine.address is None else f"engine.address={engine.address}: no Ray cluster"
        raise XNeMoError(f"{what} ({str(error)[:300]})") from error
    try:
        yield from _run(ray, tasks, job, engine)
    finally:
        if ours:
            ray.shutdown()


def _run(ray: Any, tasks: Sequence[Task], job: Job, engine: EngineConfig) -> Iterator[tuple[Task, Any]]:
    most = _room(ray.cluster_resources(), engine.cpus, engine.gpus)
    if most < 1:
        raise XNeMoError(
            f"the Ray cluster has no machine with engine.cpus={engine.cpus:g} and engine.gpus={engine.gpus:g} free for "
            "a worker; ask for less"
        )
    waiting = deque((task, 1) for task in tasks)
    pool: _Pool[Task] = _Pool(ray, job, engine)
    for _ in range(min(len(tasks), engine.workers or most)):
        pool.start(1)
    while pool.at_work or waiting:
        done = pool.next_done(waiting)
        if done is not None:
            yield done


class _Pool(Generic[Task]):
    """The actors, and what each is at."""

    def __init__(self, ray: Any, job: Job, engine: EngineConfig) -> None:
        # Workers import the code that this process runs, also where it is not installed.
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
        # Who died is replaced here and not by Ray, which tries a task again before the actor can be there again.
        options = {"num_cpus": engine.cpus, "num_gpus": engine.gpus, "max_restarts": 0, "max_task_retries": 0}
        self.ray = ray
        self.job = job
        self.actor_class = ray.remote(TaskActor).options(**options, runtime_env={"env_vars": {"PYTHONPATH": path}})
        self.starting: dict[Any, tuple[Any, int]] = {}  # what will be its answer -> an actor, and which attempt it is
        self.working: dict[Any, tuple[Any, Task, int]] = {}  # its answer -> an actor, its task, and which attempt
        self.idle: list[Any] = []

    @property
    def at_work(self) -> bool:
        """Whether a task is being done."""
        return bool(self.working)

    def start(self, attempt: int) -> None:
        """Start an actor."""
        actor = self.actor_class.remote(self.job)
        self.starting[actor.load.remote()] = actor, attempt

    def next_done(self, waiting: deque[tuple[Task, int]]) -> tuple[Task, Any] | None:
        """Give tasks to who is ready, and wait for the next answer.

        Returns:
            A task and what was made of it, or None where there is none to be told.
        Raises:
            XNeMoError: no actor can be started, or a task ended in an error that is no user's.
        """
        while self.idle and waiting:
            actor, (task, attempt) = self.idle.pop(), waiting.popleft()
            self.working[actor.do.remote(task)] = actor, task, attempt
        (answer, *_), _ = self.ray.wait([*self.working, *self.starting])
        if answer in self.starting:
            self._started(answer)
            return None
        return self._done(answer, waiting)

    def _started(self, answer: Any) -> None:
        actor, attempt = self.starting.pop(answer)
        errors = self.ray.exceptions
        try:
            reason = self.ray.get(answer)
        except errors.RayActorError as error:
            if attempt == ATTEMPTS:
                raise XNeMoError(f"the workers cannot be started: {_last_line(error)}") from error
            self.start(attempt + 1)
            return
        except errors.RayTaskError as error:
            raise XNeMoError(f"the workers cannot be started: {_last_line(error)}") from error
        if reason is not None:
            raise XNeMoError(reason)
        self.idle.append(actor)

    def _done(self, answer: Any, waiting: deque[tuple[Task, int]]) -> tuple[Task, Any] | None:
        actor, task, attempt = self.working.pop(answer)
        errors = self.ray.exceptions
        try:
            made = self.ray.get(answer)
        except (errors.RayActorError, errors.ObjectLostError):
            self.ray.kill(actor)  # it may be out of reach only
            self.start(1)
            if attempt < ATTEMPTS:
                waiting.appendleft((task, attempt + 1))
                return None
            reason = f"{task}: the process that read it was killed {ATTEMPTS} times; it may need too much memory"
            return task, XNeMoError(reason)
        except errors.RayTaskError as error:
            raise XNeMoError(f"{task}: {_last_line(error)}") from error
        self.idle.append(actor)
        return task, XNeMoError(made) if isinstance(made, str) else made


def _room(resources: dict[str, float], cpus: float, gpus: float) -> int:
    """How many actors fit into a cluster."""
    needs = {"CPU": cpus, "GPU": gpus}
    return min((int(resources.get(name, 0) / need) for name, need in needs.items() if need), default=1)


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
