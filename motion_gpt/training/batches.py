"""Training batches: clips packed into long sequences, with wrong tokens in the input and labels left out.

A clip is [BOS] [emotion] [intensity] and a row for each token; clips follow each other until a sequence is full. The
clip that no longer fits is cut. What is drawn for a step depends on the seed and the number of the step alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from motion_gpt.delay import apply_delay
from motion_gpt.training.config import ConditionDropoutConfig, CorruptionConfig, TrainGptConfig
from motion_gpt.training.pool import PoolClip, TokenPool
from motion_gpt.vocabulary import CONDITION_ROWS, Condition, Vocabulary

IGNORED = -100  # a target that does not count
_LEAST_ROWS = 8  # a clip that is cut shorter than this teaches little


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """B sequences of R rows, as `MotionGpt.forward` takes them.

    Attributes:
        ids: (B, R, levels).
        clips: which clip a row belongs to, (B, R).
        targets: class that each row is to predict, (B, R, levels): a code, EOS as the class after the last code, or
            `IGNORED`.
    """

    ids: Tensor
    clips: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> TokenBatch:
        """The same on another device."""
        return TokenBatch(self.ids.to(device), self.clips.to(device), self.targets.to(device))


class BatchSampler:
    """Draws batches from the pool.

    Args:
        pool: makes the clips.
        neighbours: the nearest other codes of each code, nearest first, (levels, codes, k).
        config: the run's settings.
    """

    def __init__(self, pool: TokenPool, neighbours: Tensor, config: TrainGptConfig) -> None:
        self.pool = pool
        self.neighbours = neighbours[:, :, : config.corruption.neighbours]
        self.config = config
        self.rows = config.rows or config.gpt.context
        self.vocabulary = Vocabulary(pool.tokenizer.codes, pool.tokenizer.levels)

    def stream(self, first_step: int = 0) -> Iterator[TokenBatch]:
        """Batches without end, from step number `first_step` on."""
        return (self.draw(step) for step in itertools.count(first_step))

    def draw(self, step: int) -> TokenBatch:
        """The batch of one step."""
        pool = self.pool.pool(step // self.config.augment.refresh_steps)
        # Not the pool's numbers, which have the same seed.
        generator = torch.Generator().manual_seed((self.config.seed * 1_000_003 + step + 2**31) % 2**32)
        sequences = [self._sequence(pool, generator) for _ in range(self.config.batch)]
        return TokenBatch(*(torch.stack(parts) for parts in zip(*sequences, strict=True)))

    def _sequence(self, pool: list[PoolClip], generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """One sequence: ids and targets (R, levels), numbers of the clips (R,)."""
        pad, levels = self.vocabulary.pad, self.vocabulary.levels
        ids = torch.full((self.rows, levels), pad)
        targets = torch.full((self.rows, levels), IGNORED)
        clips = torch.zeros(self.rows, dtype=torch.int64)
        first = number = 0
        while self.rows - first >= min(_LEAST_ROWS, self.rows):
            clip = pool[int(torch.randint(len(pool), (), generator=generator))]
            rows, wanted = self._clip(clip, generator)
            stop = min(self.rows, first + len(rows))
            ids[first:stop], targets[first:stop] = rows[: stop - first], wanted[: stop - first]
            clips[first:stop] = number
            first, number = stop, number + 1
        clips[first:] = number
        return ids, clips, targets

    def _clip(self, clip: PoolClip, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows of a clip and what each is to predict, (n, levels) both."""
        vocabulary = self.vocabulary
        condition = drop_conditions(clip.condition, self.config.condition_dropout, generator)
        seen = corrupt(clip.tokens, self.neighbours, self.config.corruption, generator)
        head = vocabulary.condition(condition.emotion, condition.intensity)[:, None].expand(-1, vocabulary.levels)
        ids = torch.cat([head, apply_delay(vocabulary.to_ids(seen), vocabulary.pad)])
        end = vocabulary.codes if clip.whole else IGNORED
        wanted = torch.cat([apply_delay(clip.tokens, IGNORED), torch.full((1, vocabulary.levels), end)])
        return ids, torch.cat([torch.full((CONDITION_ROWS - 1, vocabulary.levels), IGNORED), wanted])


def drop_conditions(condition: Condition, settings: ConditionDropoutConfig, generator: torch.Generator) -> Condition:
    """Leave emotion, intensity or both out, now and then."""
    emotion, intensity, both = (torch.rand(3, generator=generator) < _shares(settings)).tolist()
    if condition.emotion is None or both or (emotion and intensity):
        return Condition()
    if emotion:
        return Condition(intensity=condition.intensity)
    return Condition(condition.emotion, None if intensity else condition.intensity)


def corrupt(tokens: Tensor, neighbours: Tensor, settings: CorruptionConfig, generator: torch.Generator) -> Tensor:
    """Replace a share of a clip's tokens, part of them by near codes.

    Args:
        tokens: (n, levels).
        neighbours: codes near each code, (levels, codes, k).
        settings: how many, and how.
        generator: of the draws.
    """
    levels, codes, k = neighbours.shape
    share = settings.most * torch.rand((), generator=generator)
    wrong = torch.rand(tokens.shape, generator=generator) < share
    near = torch.rand(tokens.shape, generator=generator) < settings.near
    which = torch.randint(k, tokens.shape, generator=generator)
    any_code = torch.randint(codes, tokens.shape, generator=generator)
    near_code = neighbours[torch.arange(levels), tokens, which]
    return torch.where(wrong, torch.where(near, near_code, any_code), tokens)


def _shares(settings: ConditionDropoutConfig) -> Tensor:
    return torch.tensor([settings.emotion, settings.intensity, settings.both])
