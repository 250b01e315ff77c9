"""Batches made ahead, in a thread, while the step before computes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Batch = TypeVar("Batch")


def prepared_ahead(make: Callable[[int], Batch], first_step: int) -> Iterator[Batch]:
    """What `make` gives for the steps from `first_step` on, each made while the one before is used."""
    with ThreadPoolExecutor(max_workers=1) as worker:
        coming = worker.submit(make, first_step)
        for step in itertools.count(first_step + 1):
            batch = coming.result()
            coming = worker.submit(make, step)
            yield batch
