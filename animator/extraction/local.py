"""`engine=local`: worker processes do tasks, such as reading a clip, while this process takes in what they send.

Each worker has one task and a pipe; a pipe that nobody empties stops its worker, so no more than a few pieces of each
wait in memory. A worker that dies takes only its task with it: the task is tried once more in a new one.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Protocol, TypeVar, cast

from animator.errors import XNeMoError
from animator.extraction.worker import READY, WHOLE, Job, deaf_to_interrupts, work

ATTEMPTS = 2  # at a task whose worker dies
MOST_WORKERS = 8  # unless asked for more: they read far faster than one processor encodes

Task = TypeVar("Task")
Made = TypeVar("Made")
MadeOut = TypeVar("MadeOut", covariant=True)


class Collector(Protocol[MadeOut]):
    """Takes in, in this process, what a worker makes of one task."""

    def take(self, piece: Any) -> None:
        """The next piece."""

    def result(self) -> MadeOut:
        """All pieces are there: what becomes of them."""


class OnePiece:
    """Takes in what comes in one piece, which is the result."""

    def __init__(self, _: object) -> None:
        self.made: Any = None

    def take(self, piece: Any) -> None:
        """The piece."""
        self.made = piece

    def result(self) -> Any:
        """The same."""
        return self.made


def run_local(
    tasks: Sequence[Task], job: Job, collect: Callable[[Task], Collector[Made]], workers: int | None
) -> Iterator[tuple[Task, Made | XNeMoError]]:
    """Do tasks; they come in the order in which they get done.

    Args:
        tasks: each once; `str` of one begins its error messages, so it should be the file that it is about.
        job: what is done with them, in the workers.
        collect: a task -> what takes in its pieces, in this process.
        workers: processes; None: as many as there are cores, at most 8.
    Yields:
        A task, and what was made of it or why nothing was.
    Raises:
        XNeMoError: no worker can be started.
    """
    count = min(len(tasks), count_workers(workers))
    waiting = deque((task, 1) for task in tasks)
    pool = {worker.connection: worker for worker in (_Worker(job, collect) for _ in range(count))}
    try:
        while any(worker.busy for worker in pool.values()) or waiting:
            # An idle worker is in here too: it says when it is ready, and its end shows as well.
            for connection in cast(list[Connection], wait(list(pool))):
                worker = pool[connection]
                try:
                    result = worker.receive()
                except (EOFError, OSError):
                    del pool[connection]
                    result = worker.ended(waiting)
                    if waiting:
                        replacement = _Worker(job, collect)
                        pool[replacement.connection] = replacement
                else:
                    if worker.idle and waiting:
                        worker.begin(*waiting.popleft())
                if result is not None:
                    yield result
            if not waiting:
                for connection in [connection for connection, worker in pool.items() if worker.idle]:
                    pool.pop(connection).stop()
    finally:
        for worker in pool.values():
            worker.stop()


def count_workers(workers: int | None) -> int:
    """How many processes are meant; None: as many as there are cores, at most 8."""
    return workers or min(MOST_WORKERS, _cores())


class _Worker(Generic[Task, Made]):
    """One process, and what this side knows of the task that it does."""

    def __init__(self, job: Job, collect: Callable[[Task], Collector[Made]]) -> None:
        # "spawn": a fork would copy the locks of torch's and MediaPipe's threads as they happen to be.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=work, args=(theirs, job), daemon=True)
        with deaf_to_interrupts():
            self.process.start()
        theirs.close()
        self.collect = collect
        self.started = False
        self.task: Task | None = None
        self.attempt = 0

    @property
    def busy(self) -> bool:
        """Whether it has a task."""
        return self.task is not None

    @property
    def idle(self) -> bool:
        """Whether it waits for a task."""
        return self.started and self.task is None

    def begin(self, task: Task, attempt: int) -> None:
        """Give it a task."""
        self.task, self.attempt = task, attempt
        self.collector = self.collect(task)
        with suppress(OSError):  # if it is dead, that shows when its answer is waited for
            self.connection.send(task)

    def receive(self) -> tuple[Task, Made | XNeMoError] | None:
        """Take its next piece; the task and what was made of it when it was the last.

        Raises:
            EOFError, OSError: it is dead.
            XNeMoError: it cannot work at all.
        """
        piece = self.connection.recv()
        if self.task is None:
            if not isinstance(piece, str):
                raise piece
            assert piece == READY
            self.started = True
        elif isinstance(piece, XNeMoError):
            return self._done(piece)
        elif isinstance(piece, str):
            assert piece == WHOLE
            return self._done(self.collector.result())
        else:
            self.collector.take(piece)
        return None

    def ended(self, waiting: deque[tuple[Task, int]]) -> tuple[Task, XNeMoError] | None:
        """What becomes of the task of a worker that died: another attempt, or an error.

        Raises:
            XNeMoError: it died before it began to work, so that another would too.
        """
        self.stop()
        code = self.process.exitcode
        if not self.started:
            raise XNeMoError(
                f"the processes that read clips cannot be started (exit code {code}); a script that does this must do "
                'so under `if __name__ == "__main__":`'
            )
        if self.task is None:
            return None
        if self.attempt < ATTEMPTS:
            waiting.appendleft((self.task, self.attempt + 1))
            return None
        return self.task, XNeMoError(
            f"{self.task}: the process that read it was killed {ATTEMPTS} times (exit code {code}); it may need too "
            "much memory, or be damaged"
        )

    def stop(self) -> None:
        """End the process; what it was doing is lost."""
        self.connection.close()
        self.process.terminate()
        self.process.join()

    def _done(self, result: Made | XNeMoError) -> tuple[Task, Made | XNeMoError]:
        assert self.task is not None
        task, self.task = self.task, None
        return task, result


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
