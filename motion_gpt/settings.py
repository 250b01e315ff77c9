"""How tokens are drawn, as typed settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from animator.config_loader import check_values, key
from animator.errors import XNeMoError


@dataclass
class Sampling:
    """How tokens are drawn.

    In this order: guidance on log-probabilities, recall, repetition penalty, temperature, top-k, top-p, min-p, draw.
    """

    seed: int = key(0, "the same seed, weights and input give the same tokens, whatever else is drawn", minimum=0)
    temperature: float = key(
        1.0, "above 1 is more varied, below 1 less; 0 always takes the most probable code", minimum=0
    )
    top_k: int | None = key(None, "draw from so many most probable codes; null: from all", minimum=1)
    top_p: float = key(
        1.0, "draw from the most probable codes that together have this probability; 1: from all", minimum=0, maximum=1
    )
    min_p: float = key(
        0.0, "draw from codes at least this times as probable as the best one; 0: from all", minimum=0, maximum=1
    )
    repetition_window: int = key(0, "tokens, just before the new one, whose codes are penalised; 0: none", minimum=0)
    repetition_penalty: float = key(
        1.0, "what the probability of a code in repetition_window is divided by; 1: nothing", minimum=0.01
    )
    guidance_scale: float = key(
        1.0,
        "classifier-free guidance: log p = log p(null) + guidance_scale (log p(condition) - log p(null)); 1 is none, "
        "more makes the condition stronger, 0 ignores it",
        minimum=0,
    )
    recall: float = key(
        0.65,
        "share of the probability that goes to codes near those of the given part, where no emotion is asked for; 0: "
        "none, as with temperature=0",
        minimum=0,
        maximum=1,
    )
    detail: float = key(
        1.1,
        "fine motion, drawn on top of what tokens decode to: 1 about as much as the driving has and its tokens have "
        "not; 0: none, as with temperature=0",
        minimum=0,
        maximum=2,
    )
    max_context: int | None = key(
        None,
        "rows that the network sees at once, condition included; beyond, the oldest quarter is dropped; null: as many "
        "as it was trained with",
        minimum=8,
    )

    def check(self) -> None:
        """Refuse values that are not allowed.

        Raises:
            XNeMoError: a value outside its range, such as a negative temperature.
        """
        check_values(self)

    def context(self, longest: int) -> int:
        """Rows that the network sees at once.

        Args:
            longest: what the network was made for.
        Raises:
            XNeMoError: max_context is more than that.
        """
        if self.max_context is None:
            return longest
        if self.max_context > longest:
            raise XNeMoError(f"max_context={self.max_context}: this generator was trained with {longest}; take less")
        return self.max_context


def item_generator(seed: int, candidate: int = 0, purpose: int = 0) -> torch.Generator:
    """The random numbers of one candidate, independent of those of all others and of how many there are.

    Args:
        seed: the item's.
        candidate: which of the clips with this seed.
        purpose: what they are for; 0 draws tokens.
    """
    entropy = [seed, candidate, purpose] if purpose else [seed, candidate]
    state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]
    # manual_seed takes a signed 64-bit number.
    return torch.Generator().manual_seed(int(state) >> 1)
