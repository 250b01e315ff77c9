"""The other end of a worker's pipe: a process that does tasks and sends what it makes of them.

Nothing here imports torch, so that a process whose job does without it is small and starts in a second.
"""

from __future__ import annotations

import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, Protocol

from animator.errors import XNeMoError
from animator.memory import keep_freed_memory

READY, WHOLE = "ready", "whole"


class Job(Protocol):
    """What workers do with their tasks; it is pickled to get to them."""

    def start(self) -> Callable[[Any], Iterator[Any]]:
        """Load what is needed, in the worker.

        Returns:
            A function that does one task and gives what it makes of it, piece by piece; no piece is a string. It raises
            XNeMoError where the task cannot be done.
        Raises:
            XNeMoError: no task can be done.
        """


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes started in the block never hear Ctrl-C, not even while they import: who started them ends them.

    An interruption of this process waits until the block ends.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # where it starts it unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def work(connection: Connection, job: Job) -> None:
    """Do the tasks that come through the pipe, until it closes.

    Sends `READY` once, then for each task its pieces, and `WHOLE`, or the error.
    """
    # Ctrl-C reaches every process of the terminal; the main one tells this one to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    with suppress(EOFError, OSError):
        try:
            do = job.start()
        except XNeMoError as error:
            connection.send(error)
            return
        connection.send(READY)
        while True:
            task = connection.recv()
            try:
                for piece in do(task):
                    # `send` would leave a tensor's numbers here, for the other side to ask for when we may be gone.
                    connection.send_bytes(pickle.dumps(piece))
                connection.send(WHOLE)
            except XNeMoError as error:
                connection.send(error)
