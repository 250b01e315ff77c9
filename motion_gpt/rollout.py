"""Clips under way: one step of the network after another, in memory that does not grow.

The network sees a window of at most `context` rows: the three of the condition, then the newest rows of the clip. When
the window is full, the oldest quarter of its clip rows is dropped and the rest is computed again at new positions, with
the condition still in front. Where the window starts depends on the number of rows alone, so a clip that is continued
from a file goes on with the window that it would have had if it had been made in one go.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from motion_gpt.decoder import Decoder
from motion_gpt.delay import apply_delay
from motion_gpt.filters import choose, mix_in, penalise_repetition
from motion_gpt.models.recall import trust
from motion_gpt.settings import Sampling, item_generator
from motion_gpt.vocabulary import CONDITION_ROWS, Condition, Vocabulary


@dataclass(frozen=True)
class Item:
    """One clip to make.

    Attributes:
        prefix: tokens that are given, (n, levels), n from 0 on.
        condition: what it shall express.
        seed: of its random numbers.
        candidate: which of the clips with this seed.
    """

    prefix: Tensor
    condition: Condition
    seed: int
    candidate: int = 0


def window_start(rows: int, capacity: int) -> int:
    """The first clip row in the window once there are `rows` of them, in a window with room for `capacity`."""
    if rows <= capacity:
        return 0
    stride = max(1, capacity // 4)
    return -(-(rows - capacity) // stride) * stride


def mix_branches(logits: Tensor, weights: list[float]) -> Tensor:
    """Guidance: the weighted sum of the branches' log-probabilities; one branch is left as it is.

    Args:
        logits: (items, branches, levels, codes).
        weights: one per branch, their sum is 1.
    Returns:
        Log-probabilities up to a constant, (items, levels, codes).
    """
    if len(weights) == 1:
        return logits[:, 0]
    logs = logits.log_softmax(dim=-1)
    return sum((weight * logs[:, branch] for branch, weight in enumerate(weights)), torch.zeros_like(logs[:, 0]))


def branches_of(condition: Condition, scale: float, vocabulary: Vocabulary) -> list[tuple[Tensor, float]]:
    """Condition rows (3,) that are computed for one item, and their weights in `mix_branches`."""
    wanted = condition.branches(vocabulary)
    if scale == 1 or condition == Condition():
        return wanted
    return [(ids, scale * weight) for ids, weight in wanted] + [(vocabulary.condition(), 1 - scale)]


class Rollout:
    """Some clips that grow by one token at each step.

    Args:
        decoder: the network.
        items: the clips; all prefixes have the same length, all conditions the same number of branches and weights.
        settings: how tokens are drawn; the items' seeds stand in place of its own.
        length: tokens that will be asked for; None for no end. Saves memory where the context is not needed.
    Raises:
        XNeMoError: prefixes or conditions that the vocabulary refuses, or settings out of range.
    """

    def __init__(self, decoder: Decoder, items: list[Item], settings: Sampling, length: int | None = None) -> None:
        settings.check()
        self.decoder, self.settings, self.vocabulary = decoder, settings, decoder.vocabulary
        self.levels = self.vocabulary.levels
        branches = [branches_of(item.condition, settings.guidance_scale, self.vocabulary) for item in items]
        self.weights = [weight for _, weight in branches[0]]
        if any([weight for _, weight in other] != self.weights for other in branches):
            raise ValueError("the items of one rollout must have the same branches")
        self.conditions = torch.stack([torch.stack([ids for ids, _ in other]) for other in branches])
        self.generators = [item_generator(item.seed, item.candidate) for item in items]
        self.given = len(items[0].prefix)
        if any(len(item.prefix) != self.given for item in items):
            raise ValueError("the items of one rollout must have prefixes of the same length")
        self.capacity = settings.context(decoder.context) - CONDITION_ROWS
        room = self.capacity if length is None else min(self.capacity, self.given + length + self.levels)
        self.cache = decoder.cache(len(items), len(self.weights), CONDITION_ROWS + room)
        self.rows = self.given
        self.start = window_start(self.rows, self.capacity)
        delayed = [apply_delay(self.vocabulary.to_ids(item.prefix), self.vocabulary.pad) for item in items]
        # The clip rows in the window, (items, capacity, levels).
        self.window = torch.full((len(items), self.capacity, self.levels), self.vocabulary.pad)
        self.window[:, : self.rows - self.start] = torch.stack([rows[self.start : self.given] for rows in delayed])
        # Rows of which only the finer levels are given, those of the last given tokens.
        self.begun = torch.stack([rows[self.given :] for rows in delayed])
        self.recalled = self._recall(items)
        self.logits: Tensor | None = self._prefill(_all_equal(delayed) and _all_equal(list(self.conditions)))
        self.slid = False

    def step(self) -> Tensor:
        """Make the next token of every clip.

        Returns:
            Tokens, (items, levels).
        """
        missing = self.levels if self.rows == self.given else 1
        for _ in range(missing):
            self._advance()
        last = self.rows - self.start - 1
        finished = [self.window[:, last - (self.levels - 1 - level), level] for level in range(self.levels)]
        return self.vocabulary.to_tokens(torch.stack(finished, dim=1))

    @torch.no_grad()
    def _advance(self) -> None:
        """Draw the next row."""
        if self.logits is None:
            self.logits = self._prefill() if self.slid else self._feed()
        row = self._draw(self.logits)
        ahead = self.rows - self.given
        if ahead < self.levels - 1:
            row[:, ahead + 1 :] = self.begun[:, ahead, ahead + 1 :]
        self._append(row)
        self.logits = None

    def _draw(self, logits: Tensor) -> Tensor:
        """Ids of a new row, (items, levels), from logits (rows, levels, codes)."""
        settings = self.settings
        mixed = mix_branches(logits.unflatten(0, (-1, len(self.weights))), self.weights)
        if self.recalled is not None:
            mixed = mix_in(mixed, *self.recalled)
        if settings.repetition_window and settings.repetition_penalty != 1:
            filled = self.rows - self.start
            recent = self.window[:, max(0, filled - settings.repetition_window) : filled]
            codes = self.vocabulary.to_tokens(recent).to(mixed.device)
            mixed = penalise_repetition(mixed, codes, settings.repetition_penalty)
        return self.vocabulary.to_ids(choose(mixed, settings, self.generators).cpu())

    def _recall(self, items: list[Item]) -> tuple[Tensor, Tensor] | None:
        """What comes again of the given parts, (items, levels, codes), and with which shares, (items,); None: nothing.

        Where an emotion is asked for, the given part may express another one.
        """
        share = self.settings.recall * trust(self.given)
        shares = torch.tensor([share if item.condition == Condition() else 0.0 for item in items])
        if not self.decoder.recall.dimensions or not self.settings.temperature or not shares.any():
            return None
        # One by one, so that the bits of an item do not depend on the others.
        near = torch.stack([self.decoder.recall.near(item.prefix) for item in items])
        device = self.decoder.embedding.device
        return near.to(device), shares.to(device)

    def _append(self, row: Tensor) -> None:
        start = window_start(self.rows + 1, self.capacity)
        self.slid = start != self.start
        if self.slid:
            kept = self.window[:, start - self.start :].clone()
            self.window[:, : kept.shape[1]] = kept
            self.start = start
        self.window[:, self.rows - self.start] = row
        self.rows += 1

    def _feed(self) -> Tensor:
        """Logits after the newest row, which is new to the cache."""
        newest = self.window[:, self.rows - self.start - 1]
        return self.decoder.step(newest.repeat_interleave(len(self.weights), dim=0), self.cache)

    def _prefill(self, shared: bool = False) -> Tensor:
        """Logits after the newest row, with the whole window computed anew; `shared` if all items have the same."""
        items = 1 if shared else len(self.window)
        clips = self.window[:items, : self.rows - self.start].repeat_interleave(len(self.weights), dim=0)
        conditions = self.conditions[:items].flatten(0, 1)[..., None].expand(-1, -1, self.levels)
        ids = torch.cat([conditions, clips], dim=1)
        hidden = self.decoder.prefill(ids, self.cache)
        logits = torch.cat([self.decoder.logits(row[-1:]) for row in hidden])
        if not shared:
            return logits
        self.cache.spread()
        return logits.repeat(len(self.window), 1, 1)


def _all_equal(tensors: list[Tensor]) -> bool:
    return all(torch.equal(tensor, tensors[0]) for tensor in tensors[1:])
