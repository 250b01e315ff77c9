"""How likely tokens are, and what else could have stood in their place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from motion_gpt.decoder import Decoder
from motion_gpt.delay import apply_delay, undo_delay
from motion_gpt.rollout import branches_of, mix_branches, window_start
from motion_gpt.settings import Sampling
from motion_gpt.vocabulary import CONDITION_ROWS, Condition


@dataclass(frozen=True)
class TokenScores:
    """What the network says of each token, given those before it.

    Attributes:
        nats: negative log-likelihood among the codes, (n, levels) float32; divide by log 2 for bits.
        best: the most probable codes, most probable first, (n, levels, top) int64.
        probabilities: of `best`, (n, levels, top).
    """

    nats: Tensor
    best: Tensor
    probabilities: Tensor


@torch.no_grad()
def score(
    decoder: Decoder,
    tokens: Tensor,
    condition: Condition,
    settings: Sampling | None = None,
    start: int = 0,
    top: int = 0,
) -> TokenScores:
    """Score given tokens, seen through the same window as in a rollout.

    Args:
        decoder: the network.
        tokens: (n, levels).
        condition: what they are taken to express.
        settings: for `max_context`; filters and guidance play no part. None: defaults.
        start: first token whose score is wanted.
        top: how many of the most probable codes are wanted.
    Returns:
        Scores of the tokens from `start` on.
    Raises:
        XNeMoError: tokens or a condition that the vocabulary refuses.
    """
    vocabulary = decoder.vocabulary
    branches = branches_of(condition, 1, vocabulary)
    conditions = torch.stack([ids for ids, _ in branches])[..., None].expand(-1, -1, vocabulary.levels)
    weights = [weight for _, weight in branches]
    capacity = (settings or Sampling()).context(decoder.context) - CONDITION_ROWS
    ids = apply_delay(vocabulary.to_ids(tokens), vocabulary.pad)
    cache = decoder.cache(1, len(branches), CONDITION_ROWS + min(capacity, len(ids)))
    logs = []
    row = start
    while row < len(ids):
        # All rows that are predicted from one window, in one pass.
        first = window_start(row, capacity)
        stop = row + 1
        while stop < len(ids) and window_start(stop, capacity) == first:
            stop += 1
        seen = ids[first : stop - 1].expand(len(branches), -1, -1)
        hidden = decoder.prefill(torch.cat([conditions, seen], dim=1), cache)
        predicting = hidden[:, CONDITION_ROWS - 1 + row - first :]
        logits = torch.stack([decoder.logits(branch) for branch in predicting], dim=1)
        logs.append(mix_branches(logits, weights).log_softmax(dim=-1).cpu())
        row = stop
    log_probabilities = torch.cat(logs)
    chosen = vocabulary.to_tokens(ids[start:])
    known = (chosen >= 0) & (chosen < vocabulary.codes)
    nats = -log_probabilities.gather(-1, torch.where(known, chosen, 0)[..., None])[..., 0]
    values, best = log_probabilities.topk(top, dim=-1)
    return TokenScores(undo_delay(nats), undo_delay(best), undo_delay(values.exp()))
