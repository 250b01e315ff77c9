"""`engine=ray`: actors on a Ray cluster, or on this machine alone, each doing whole tasks, such as one clip."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from animator.config import EngineConfig
from animator.errors import XNeMoError
from animator.extraction.worker import Job

ATTEMPTS = 2  # at a task whose actor dies

_LOST = object()

Task = TypeVar("Task")


class TaskActor:
    """Lives in a process of Ray's, and does the tasks that it is asked for.

    Args:
        job: what is done; every task makes one piece of it.
    """

    def __init__(self, job: Job) -> None:
        self.do_task = job.start()

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
    # Workers import the code that this process runs, also where it is not installed.
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    options = {"num_cpus": engine.cpus, "num_gpus": engine.gpus, "max_restarts": -1, "max_task_retries": ATTEMPTS - 1}
    actor_class = ray.remote(TaskActor).options(**options, runtime_env={"env_vars": {"PYTHONPATH": path}})
    actors = [actor_class.remote(job) for _ in range(min(len(tasks), engine.workers or most))]
    waiting = iter(tasks)
    pending = {actor.do.remote(task): (actor, task) for actor, task in zip(actors, waiting, strict=False)}
    while pending:
        (done, *_), _ = ray.wait(list(pending))
        actor, task_done = pending.pop(done)
        result = _result(ray, done, task_done)
        if result is _LOST:
            pending[actor.do.remote(task_done)] = (actor, task_done)
            continue
        following = next(waiting, None)
        if following is not None:
            pending[actor.do.remote(following)] = (actor, following)
        else:
            # It leaves its place to an actor whose machine died and that is to be started anew elsewhere.
            ray.kill(actor)
        yield task_done, result


def _result(ray: Any, reference: Any, task: Any) -> Any:
    try:
        result = ray.get(reference)
    except ray.exceptions.ActorDiedError as error:
        raise XNeMoError(f"the workers cannot be started: {_last_line(error)}") from error
    except ray.exceptions.RayActorError:
        return XNeMoError(f"{task}: the process that read it was killed {ATTEMPTS} times; it may need too much memory")
    except ray.exceptions.ObjectLostError:  # what was made died with its machine before it got here
        return _LOST
    except ray.exceptions.RayTaskError as error:
        raise XNeMoError(f"{task}: {_last_line(error)}") from error
    return XNeMoError(result) if isinstance(result, str) else result


def _room(resources: dict[str, float], cpus: float, gpus: float) -> int:
    """How many actors fit into a cluster."""
    needs = {"CPU": cpus, "GPU": gpus}
    return min((int(resources.get(name, 0) / need) for name, need in needs.items() if need), default=1)


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
