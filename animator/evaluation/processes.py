"""A pool of processes that ends at once when its work is interrupted, and leaves nothing half written."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.context import SpawnContext
from typing import Any, ParamSpec, TypeVar

from animator.errors import XNeMoError
from animator.extraction.worker import deaf_to_interrupts
from animator.memory import keep_freed_memory

Given = ParamSpec("Given")
Result = TypeVar("Result")


@contextmanager
def processes(
    workers: int, context: SpawnContext, prepare: Callable[..., None] | None = None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """A pool; what is submitted to it goes through `ending`.

    Args:
        workers: number of processes.
        context: makes them.
        prepare: called once in each, with the arguments.
    Raises:
        XNeMoError: a process died.
    """
    before = set(multiprocessing.active_children())
    executor = _Pool(workers, context, _begin, (prepare, arguments))
    try:
        yield executor
    except BaseException as error:
        executor.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise XNeMoError("a measuring process died, perhaps for want of memory; try workers=1") from error
        raise
    executor.shutdown()


def ending(work: Callable[..., Result]) -> Callable[..., Result]:
    """The same work, but none at all in a process that was told to end: a pool's would take up the next that waits."""
    return partial(_work, work)


class _Pool(ProcessPoolExecutor):
    """A pool whose processes do not hear Ctrl-C: they start when work is submitted."""

    def submit(self, fn: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs) -> Future[Result]:
        with deaf_to_interrupts():
            return super().submit(fn, *args, **kwargs)


_ended = False


def _work(work: Callable[..., Any], *arguments: Any) -> Any:
    global _ended
    if _ended:
        raise SystemExit
    try:
        return work(*arguments)
    except SystemExit:
        _ended = True
        raise


def _begin(prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """Prepare a process.

    Ctrl-C is left to the parent, which ends its processes itself (where no signal can be blocked, from here on).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # As an exception, so that a file that is half written is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    keep_freed_memory()
    if prepare is not None:
        _work(prepare, *arguments)
