"""`engine=local`: worker processes read clips while this process encodes what they send.

Each worker has one clip and a pipe; a pipe that nobody empties stops its worker, so no more than a few crops of each
wait in memory. A worker that dies takes only its clip with it: the clip is tried once more in a new one.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import cast

from torch import Tensor

from animator.errors import XNeMoError
from animator.extraction.encoding import ClipEncoder, ClipMotion
from animator.extraction.reading import ClipStart, ReadSettings
from animator.extraction.worker import READY, work

ATTEMPTS = 2  # at a clip whose worker dies
MOST_WORKERS = 8  # unless asked for more: they read far faster than one processor encodes


def run_local(
    paths: Sequence[Path], settings: ReadSettings, encoder: ClipEncoder, workers: int | None
) -> Iterator[tuple[Path, ClipMotion | XNeMoError]]:
    """Extract clips; they come in the order in which they get done.

    Args:
        paths: the videos, each once.
        settings: how they are read.
        encoder: encodes them, in this process.
        workers: processes that read; None: as many as there are cores, at most 8.
    Yields:
        A video, and its motion or why there is none.
    Raises:
        XNeMoError: no worker can be started.
    """
    count = min(len(paths), workers or min(MOST_WORKERS, _cores()))
    waiting = deque((path, 1) for path in paths)
    pool = {worker.connection: worker for worker in (_Worker(settings) for _ in range(count))}
    try:
        while any(worker.path for worker in pool.values()) or waiting:
            # An idle worker is in here too: it says when it is ready, and its end shows as well.
            for connection in cast(list[Connection], wait(list(pool))):
                worker = pool[connection]
                try:
                    result = worker.receive(encoder)
                except (EOFError, OSError):
                    del pool[connection]
                    result = worker.ended(waiting)
                    if waiting:
                        replacement = _Worker(settings)
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


class _Worker:
    """One process, and what this side knows of the clip that it reads."""

    def __init__(self, settings: ReadSettings) -> None:
        # "spawn": a fork would copy the locks of torch's and MediaPipe's threads as they happen to be.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=work, args=(theirs, settings), daemon=True)
        self.process.start()
        theirs.close()
        self.started = False
        self.path: Path | None = None
        self.attempt = 0

    @property
    def idle(self) -> bool:
        """Whether it waits for a clip."""
        return self.started and self.path is None

    def begin(self, path: Path, attempt: int) -> None:
        """Give it a clip."""
        self.path, self.attempt = path, attempt
        self.start: ClipStart | None = None
        self.parts: list[tuple[Tensor, ...]] = []
        with suppress(OSError):  # if it is dead, that shows when its answer is waited for
            self.connection.send(path)

    def receive(self, encoder: ClipEncoder) -> tuple[Path, ClipMotion | XNeMoError] | None:
        """Take its next message; the clip and its motion when it was the last.

        Raises:
            EOFError, OSError: it is dead.
            XNeMoError: it cannot work at all.
        """
        message = self.connection.recv()
        if self.path is None:
            if message != READY:
                raise message
            self.started = True
        elif isinstance(message, ClipStart):
            self.start = message
        elif isinstance(message, XNeMoError):
            return self._done(message)
        elif isinstance(message, str) and self.start is not None:
            return self._done(encoder.finish(self.path, self.start, self.parts))
        else:
            self.parts.append(encoder.encode(message))
        return None

    def ended(self, waiting: deque[tuple[Path, int]]) -> tuple[Path, XNeMoError] | None:
        """What becomes of the clip of a worker that died: another attempt, or an error.

        Raises:
            XNeMoError: it died before it began to work, so that another would too.
        """
        self.stop()
        code = self.process.exitcode
        if not self.started:
            raise XNeMoError(
                f"the processes that read clips cannot be started (exit code {code}); a script that extracts must do "
                'so under `if __name__ == "__main__":`'
            )
        if self.path is None:
            return None
        if self.attempt < ATTEMPTS:
            waiting.appendleft((self.path, self.attempt + 1))
            return None
        return self.path, XNeMoError(
            f"{self.path}: the process that read it was killed {ATTEMPTS} times (exit code {code}); it may need too "
            "much memory, or be damaged"
        )

    def stop(self) -> None:
        """End the process; what it was reading is lost."""
        self.connection.close()
        self.process.terminate()
        self.process.join()

    def _done(self, result: ClipMotion | XNeMoError) -> tuple[Path, ClipMotion | XNeMoError]:
        assert self.path is not None
        path, self.path = self.path, None
        return path, result


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
