"""Token models that only count: what a network has to beat, and tokens to compare its own with.

Each predicts a code from the code before it at the same level, or from nothing. How much is smoothed is chosen on the
training clips: counted on all people but some, tried on these. Bits a token are -log2 of the probability of the code
among all codes, averaged over all tokens, of all levels, the first of each clip included.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_FOLDS = 5
_STRENGTHS = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]
_SHARES = [0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9]
_FIRST = -1  # stands before the first token of a clip


@dataclass(frozen=True, eq=False)
class Pairs:
    """Tokens of one level with the one before each, or `_FIRST`; (n,) both."""

    before: Tensor
    code: Tensor

    @staticmethod
    def of(clips: Sequence[Tensor]) -> Pairs:
        """The pairs of clips, each (n,)."""
        first = torch.tensor([_FIRST])
        return Pairs(torch.cat([torch.cat([first, clip[:-1]]) for clip in clips]), torch.cat(list(clips)))


class Counts:
    """How often codes, and pairs of codes, occur.

    Args:
        pairs: the tokens to count.
        codes: how many codes there are.
        smoothing: counts added to each code.
    """

    def __init__(self, pairs: Pairs, codes: int, smoothing: float) -> None:
        self.codes = codes
        self.unigram = torch.bincount(pairs.code, minlength=codes).double() + smoothing
        self.unigram /= self.unigram.sum()
        inner = pairs.before != _FIRST
        self.before = torch.bincount(pairs.before[inner], minlength=codes).double()
        joint = pairs.before[inner] * codes + pairs.code[inner]
        self.joint, self.joint_counts = joint.unique(return_counts=True)

    def of_pairs(self, pairs: Pairs) -> Tensor:
        """How often each pair occurs, (n,)."""
        if not len(self.joint):
            return torch.zeros(len(pairs.code), dtype=torch.float64)
        wanted = pairs.before * self.codes + pairs.code
        place = torch.searchsorted(self.joint, wanted).clamp(max=len(self.joint) - 1)
        return torch.where(self.joint[place] == wanted, self.joint_counts[place], 0).double()

    def after(self, code: int) -> Tensor:
        """How often each code follows a code, (codes,)."""
        row = torch.zeros(self.codes, dtype=torch.float64)
        first, last = torch.searchsorted(self.joint, torch.tensor([code * self.codes, (code + 1) * self.codes]))
        row[self.joint[first:last] - code * self.codes] = self.joint_counts[first:last].double()
        return row


class TokenModel(ABC):
    """Counts with a rule for probabilities.

    Args:
        counts: of each level.
        strength: what the rule has one of; see the rules.
    """

    name: str
    strengths: Sequence[float]

    def __init__(self, counts: Sequence[Counts], strength: float) -> None:
        self.counts = counts
        self.strength = strength

    @abstractmethod
    def pair_probabilities(self, counts: Counts, pairs: Pairs) -> Tensor:
        """Probability of each code after the one before it, (n,)."""

    @abstractmethod
    def next_probabilities(self, counts: Counts, before: int) -> Tensor:
        """Probability of each code after a code, (codes,)."""

    def bits(self, clips: Sequence[Tensor]) -> float:
        """Bits a token of clips, each (n, levels)."""
        levels = [Pairs.of([clip[:, level] for clip in clips]) for level in range(len(self.counts))]
        each = [
            -self.pair_probabilities(counts, pairs).log2().mean()
            for counts, pairs in zip(self.counts, levels, strict=True)
        ]
        return float(torch.stack(each).mean())

    def sample(self, prefix: Tensor, length: int, generator: torch.Generator) -> Tensor:
        """Continue a clip.

        Args:
            prefix: (n, levels), n at least 1.
            length: tokens to draw.
            generator: of the draws.
        Returns:
            (length, levels), int64.
        """
        token, tokens = prefix[-1].tolist(), []
        for _ in range(length):
            token = [
                int(torch.multinomial(self.next_probabilities(counts, before), 1, generator=generator))
                for counts, before in zip(self.counts, token, strict=True)
            ]
            tokens.append(token)
        return torch.tensor(tokens)


class Unigram(TokenModel):
    """Every code with its own frequency, whatever came before; its strength is what is added to each count."""

    name = "unigram"
    strengths = _STRENGTHS[:8]

    def pair_probabilities(self, counts: Counts, pairs: Pairs) -> Tensor:
        return counts.unigram[pairs.code]

    def next_probabilities(self, counts: Counts, before: int) -> Tensor:
        return counts.unigram


class Bigram(TokenModel):
    """Counts of pairs, as if `strength` more codes had been seen after each, with unigram frequencies (Dirichlet)."""

    name = "bigram"
    strengths = _STRENGTHS

    def pair_probabilities(self, counts: Counts, pairs: Pairs) -> Tensor:
        unigram = counts.unigram[pairs.code]
        inner = pairs.before != _FIRST
        total = torch.where(inner, counts.before[pairs.before.clamp(min=0)], 0)
        seen = torch.where(inner, counts.of_pairs(pairs), 0)
        return (seen + self.strength * unigram) / (total + self.strength)

    def next_probabilities(self, counts: Counts, before: int) -> Tensor:
        row = counts.after(before)
        return (row + self.strength * counts.unigram) / (row.sum() + self.strength)


class CopyLast(TokenModel):
    """The same code again with probability `strength`, else one drawn as by the unigram."""

    name = "copy_last"
    strengths = _SHARES

    def pair_probabilities(self, counts: Counts, pairs: Pairs) -> Tensor:
        unigram = counts.unigram[pairs.code]
        copied = self.strength * (pairs.before == pairs.code) + (1 - self.strength) * unigram
        return torch.where(pairs.before == _FIRST, unigram, copied)

    def next_probabilities(self, counts: Counts, before: int) -> Tensor:
        probabilities = (1 - self.strength) * counts.unigram
        probabilities[before] += self.strength
        return probabilities


def fit_token_models(clips: Sequence[Tensor], identities: Sequence[str], codes: int) -> dict[str, TokenModel]:
    """Count, and choose how much to smooth.

    Args:
        clips: training tokens, (n, levels) each.
        identities: who is shown in each; nobody is on both sides where smoothing is chosen.
        codes: how many codes there are.
    Returns:
        Unigram, bigram and copy-last by name.
    """
    folds = _folds(clips, identities)
    added = _best(Unigram.strengths, lambda s: _fold_bits(Unigram, folds, codes, smoothing=s, strength=s))
    counts = _count(clips, codes, added)
    models: dict[str, TokenModel] = {Unigram.name: Unigram(counts, added)}
    for rule in (Bigram, CopyLast):

        def tried(strength: float, rule: type[TokenModel] = rule) -> float:
            return _fold_bits(rule, folds, codes, smoothing=added, strength=strength)

        models[rule.name] = rule(counts, _best(rule.strengths, tried))
    return models


def _folds(clips: Sequence[Tensor], identities: Sequence[str]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Clips to count and clips to try, several times; all of them on both sides where there is one person only."""
    people = sorted(set(identities))
    if len(people) < 2:
        return [(list(clips), list(clips))]
    fold_of = {person: number % _FOLDS for number, person in enumerate(people)}
    folds = []
    for fold in range(min(_FOLDS, len(people))):
        tried = [clip for clip, person in zip(clips, identities, strict=True) if fold_of[person] == fold]
        counted = [clip for clip, person in zip(clips, identities, strict=True) if fold_of[person] != fold]
        folds.append((counted, tried))
    return folds


def _count(clips: Sequence[Tensor], codes: int, smoothing: float) -> list[Counts]:
    levels = clips[0].shape[1]
    return [Counts(Pairs.of([clip[:, level] for clip in clips]), codes, smoothing) for level in range(levels)]


def _fold_bits(
    rule: type[TokenModel],
    folds: Sequence[tuple[list[Tensor], list[Tensor]]],
    codes: int,
    smoothing: float,
    strength: float,
) -> float:
    """Bits a token of the clips that were not counted."""
    total = sum(sum(map(len, tried)) for _, tried in folds)
    return sum(
        rule(_count(counted, codes, smoothing), strength).bits(tried) * sum(map(len, tried)) for counted, tried in folds
    ) / max(1, total)


def _best(values: Sequence[float], bits: Callable[[float], float]) -> float:
    """The value with the fewest bits; one that makes something impossible has infinitely many."""
    scores = [bits(value) for value in values]
    return values[min(range(len(values)), key=lambda n: scores[n] if not math.isnan(scores[n]) else math.inf)]
