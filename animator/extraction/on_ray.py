"""`engine=ray`: actors on a Ray cluster, or on this machine alone, each reading and encoding whole clips."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from animator.config import ExtractConfig
from animator.errors import XNeMoError
from animator.extraction.encoding import ClipMotion, load_encoder
from animator.extraction.reading import ReadSettings, open_clip
from animator.face import FaceDetector

ATTEMPTS = 2  # at a clip whose actor dies


class ClipActor:
    """Lives in a process of Ray's: the networks, and the clips that it is asked for.

    Args:
        config: names the weights, which must be found under that path on every machine.
        settings: how clips are read.
    """

    def __init__(self, config: ExtractConfig, settings: ReadSettings) -> None:
        self.encoder = load_encoder(config)
        self.settings = settings
        self.detector = FaceDetector(min_score=settings.min_score)

    def extract(self, path: Path) -> ClipMotion | str:
        """The motion of a video, or why there is none."""
        try:
            with open_clip(path, self.settings, self.detector) as (start, crops):
                return self.encoder.finish(path, start, [self.encoder.encode(batch) for batch in crops])
        except XNeMoError as error:
            return str(error)


def run_ray(
    paths: Sequence[Path], settings: ReadSettings, config: ExtractConfig
) -> Iterator[tuple[Path, ClipMotion | XNeMoError]]:
    """Extract clips as `run_local` does; the videos must be found under their paths on every machine.

    Raises:
        XNeMoError: no cluster at the address, or one that has too little for a single actor.
        ModuleNotFoundError: Ray is not installed.
    """
    import ray

    engine = config.engine
    ours = not ray.is_initialized()
    try:
        if ours:
            ray.init(engine.address, log_to_driver=False, include_dashboard=False, configure_logging=False)
    except Exception as error:  # Ray raises built-in ones of all kinds, bare `Exception` among them
        what = "Ray cannot be started" if engine.address is None else f"engine.address={engine.address}: no Ray cluster"
        raise XNeMoError(f"{what} ({str(error)[:300]})") from error
    try:
        yield from _run(ray, paths, settings, config)
    finally:
        if ours:
            ray.shutdown()


def _run(
    ray: Any, paths: Sequence[Path], settings: ReadSettings, config: ExtractConfig
) -> Iterator[tuple[Path, ClipMotion | XNeMoError]]:
    engine = config.engine
    most = _room(ray.cluster_resources(), engine.cpus, engine.gpus)
    if most < 1:
        raise XNeMoError(
            f"the Ray cluster has no machine with engine.cpus={engine.cpus:g} and engine.gpus={engine.gpus:g} free for "
            "a worker; ask for less"
        )
    # Workers import the code that this process runs, also where it is not installed.
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    options = {"num_cpus": engine.cpus, "num_gpus": engine.gpus, "max_restarts": -1, "max_task_retries": ATTEMPTS - 1}
    actor_class = ray.remote(ClipActor).options(**options, runtime_env={"env_vars": {"PYTHONPATH": path}})
    actors = [actor_class.remote(config, settings) for _ in range(min(len(paths), engine.workers or most))]
    waiting = iter(paths)
    pending = {actor.extract.remote(path): (actor, path) for actor, path in zip(actors, waiting, strict=False)}
    while pending:
        (done, *_), _ = ray.wait(list(pending))
        actor, path_done = pending.pop(done)
        following = next(waiting, None)
        if following is not None:
            pending[actor.extract.remote(following)] = (actor, following)
        yield path_done, _result(ray, done, path_done)


def _result(ray: Any, reference: Any, path: Path) -> ClipMotion | XNeMoError:
    try:
        result = ray.get(reference)
    except ray.exceptions.ActorDiedError as error:
        raise XNeMoError(f"the workers cannot be started: {_last_line(error)}") from error
    except ray.exceptions.RayActorError:
        return XNeMoError(f"{path}: the process that read it was killed {ATTEMPTS} times; it may need too much memory")
    except ray.exceptions.RayTaskError as error:
        raise XNeMoError(f"{path}: {_last_line(error)}") from error
    return XNeMoError(result) if isinstance(result, str) else result


def _room(resources: dict[str, float], cpus: float, gpus: float) -> int:
    """How many actors fit into a cluster."""
    needs = {"CPU": cpus, "GPU": gpus}
    return min((int(resources.get(name, 0) / need) for name, need in needs.items() if need), default=1)


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
