"""Random numbers that belong to a sample of a step, whoever computes it.

One process with a large batch, two with half of it each, and one that takes it in parts then draw the same noise for
the same sample, and a run that goes on draws what it would have drawn.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Share:
    """One of `count` equal parts of a step's batch: every `count`-th item from number `index` on."""

    index: int = 0
    count: int = 1

    def of(self, total: int) -> Tensor:
        """Numbers of the items that are in this part of `total`, (total / count,)."""
        return torch.arange(self.index, total, self.count)


WHOLE = Share()


def sample_generators(seed: int, step: int, numbers: Iterable[int]) -> list[torch.Generator]:
    """One CPU generator for each sample of a step, by the sample's number in the step's whole batch."""
    made = []
    for number in numbers:
        # A well mixed word of 32 bits, which is all that torch's CPU generator reads of a seed.
        word = np.random.SeedSequence([seed, step, number]).generate_state(1)[0]
        made.append(torch.Generator().manual_seed(int(word)))
    return made
