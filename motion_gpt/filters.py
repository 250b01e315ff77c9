"""From log-probabilities to a code: what narrows a distribution, and the draw.

Distributions are (..., codes), as log-probabilities or logits. A code that is filtered out has -inf; the best code
always stays. Every function treats each distribution by itself, so that none depends on what else is in the batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from motion_gpt.settings import Sampling


def mix_in(logits: Tensor, others: Tensor, shares: Tensor) -> Tensor:
    """Give a share of the probability to other distributions.

    Args:
        logits: (items, levels, codes).
        others: probabilities, (items, levels, codes).
        shares: 0 to 1, (items,).
    Returns:
        Log-probabilities.
    """
    shares = shares[:, None, None]
    return ((1 - shares) * logits.softmax(dim=-1) + shares * others).log()


def penalise_repetition(logits: Tensor, recent: Tensor, penalty: float) -> Tensor:
    """Divide the probability of every code that occurred lately by `penalty`.

    Args:
        logits: (items, levels, codes).
        recent: codes, (items, rows, levels); anything outside 0 to codes - 1 counts as none.
        penalty: above 1 avoids repetition, below 1 seeks it.
    """
    codes = logits.shape[-1]
    known = (recent >= 0) & (recent < codes)
    # Whatever is no code lands in a column of its own, which is cut off.
    columns = torch.where(known, recent, codes).transpose(1, 2)
    seen = torch.zeros(*logits.shape[:-1], codes + 1, dtype=torch.bool, device=logits.device)
    seen.scatter_(-1, columns, True)
    return logits - math.log(penalty) * seen[..., :codes]


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the k best codes, and any that are as good as the last of them."""
    if k >= logits.shape[-1]:
        return logits
    least = logits.topk(k, dim=-1).values[..., -1:]
    return logits.masked_fill(logits < least, -torch.inf)


def keep_top_p(logits: Tensor, p: float, among: int | None = None) -> Tensor:
    """Keep the fewest best codes whose probabilities sum up to p (nucleus sampling, Holtzman et al. 2020).

    Args:
        logits: (..., codes).
        p: 0 to 1; codes that are as good as the last one kept stay as well.
        among: count only so many best codes, and their probabilities as all there is, which saves sorting the others.
    """
    count = logits.shape[-1]
    ordered = logits.topk(count if among is None else min(among, count), dim=-1).values
    probabilities = ordered.softmax(dim=-1)
    beyond = probabilities.cumsum(dim=-1) - probabilities >= p
    beyond[..., 0] = False
    least = ordered.masked_fill(beyond, torch.inf).amin(dim=-1, keepdim=True)
    return logits.masked_fill(logits < least, -torch.inf)


def keep_min_p(logits: Tensor, share: float) -> Tensor:
    """Keep codes that are at least `share` times as probable as the best one (Nguyen et al. 2024)."""
    return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True) + math.log(share), -torch.inf)


def narrow(logits: Tensor, settings: Sampling) -> Tensor:
    """Temperature, then top-k, top-p and min-p, as far as the settings have them; temperature must not be 0."""
    logits = logits / settings.temperature
    if settings.top_k is not None:
        logits = keep_top_k(logits, settings.top_k)
    if settings.top_p < 1:
        logits = keep_top_p(logits, settings.top_p, settings.top_k)
    if settings.min_p > 0:
        logits = keep_min_p(logits, settings.min_p)
    return logits


def choose(logits: Tensor, settings: Sampling, generators: list[torch.Generator]) -> Tensor:
    """Draw one code per level for each item.

    Args:
        logits: (items, levels, codes), guidance and penalties included.
        settings: temperature 0 takes the best code and draws nothing.
        generators: one per item, on the CPU; each gives as many numbers as there are levels.
    Returns:
        (items, levels) int64.
    """
    if settings.temperature == 0:
        return logits.argmax(dim=-1)
    # In float64 the sum of thousands of probabilities is exact enough for any draw to land where it should.
    cumulative = narrow(logits, settings).double().softmax(dim=-1).cumsum(dim=-1)
    levels = logits.shape[1]
    draws = torch.stack([torch.rand(levels, 1, generator=generator, dtype=torch.float64) for generator in generators])
    total = cumulative[..., -1:].contiguous()
    chosen = torch.searchsorted(cumulative, draws.to(total.device) * total, right=True)
    last = torch.searchsorted(cumulative, total)
    return torch.minimum(chosen, last)[..., 0]
