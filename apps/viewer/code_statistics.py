"""How a set of clips uses the codebook: which codes, after which, and in which emotion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

UNLABELLED = "not labelled"


@dataclass(frozen=True, eq=False)
class CodeStatistics:
    """Counts over a set of clips, for tokens of the first level.

    Attributes:
        usage: how often each code occurs, (codes,).
        pairs: a code, the one after it in a clip, and how often that is so, (m, 3), in rising order.
        emotions: names of the columns of `by_emotion`; the last one is `UNLABELLED`.
        by_emotion: how often each code occurs in clips of each emotion, (codes, emotions).
        clips: number of clips.
    """

    usage: Counts
    pairs: Counts
    emotions: tuple[str, ...]
    by_emotion: Counts
    clips: int

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return int(self.usage.sum())

    @property
    def dead(self) -> int:
        """Number of codes that no clip uses."""
        return int((self.usage == 0).sum())

    @property
    def perplexity(self) -> float:
        """exp of the entropy of the usage over the whole set: how many codes are in use, as if all were equally
        frequent; from 1 to the number of codes, 0 without tokens."""
        if not self.tokens:
            return 0.0
        share = self.usage[self.usage > 0] / self.tokens
        return float(np.exp(-(share * np.log(share)).sum()))

    def most_used(self, count: int) -> list[int]:
        """The codes used most, most used first; only codes that are used."""
        order = np.argsort(-self.usage, kind="stable")[:count]
        return [int(code) for code in order if self.usage[code]]

    def transitions(self, codes: list[int]) -> NDArray[np.float64]:
        """Share of each code's successors among the given codes, (len(codes), len(codes)): rows are from, columns to;
        a row sums to 1 where no successor is outside."""
        place = {code: number for number, code in enumerate(codes)}
        matrix = np.zeros((len(codes), len(codes)))
        leaving = np.bincount(self.pairs[:, 0], self.pairs[:, 2], minlength=len(self.usage))
        for before, after, count in self.pairs:
            if before in place and after in place:
                matrix[place[int(before)], place[int(after)]] = count / leaving[before]
        return matrix

    def successors(self, code: int, count: int) -> list[tuple[int, float]]:
        """The codes that most often follow a code, with their share of all that follow it."""
        rows = self.pairs[self.pairs[:, 0] == code]
        order = np.argsort(-rows[:, 2], kind="stable")[:count]
        total = max(1, int(rows[:, 2].sum()))
        return [(int(rows[n, 1]), float(rows[n, 2] / total)) for n in order]

    def mix(self, code: int) -> dict[str, float]:
        """Share of each emotion among the labelled occurrences of a code; empty where there is none.

        Emotions are weighed so that each counts as much as any other: the set has more of some than of others.
        """
        labelled = self.by_emotion[:, :-1].astype(np.float64)
        rate = labelled[code] / np.maximum(labelled.sum(axis=0), 1)
        if not rate.sum():
            return {}
        return {name: float(value) for name, value in zip(self.emotions, rate / rate.sum(), strict=False)}


def count_codes(clips: Iterable[tuple[Counts, str | None]], codes: int) -> CodeStatistics:
    """Count over clips.

    Args:
        clips: tokens (n,) and emotion of each; None where it is not labelled.
        codes: size of the codebook.
    """
    usage = np.zeros(codes, np.int64)
    by_emotion: dict[str, Counts] = {}
    pairs: list[Counts] = []
    number = 0
    for tokens, emotion in clips:
        number += 1
        counts = np.bincount(tokens, minlength=codes)
        usage += counts
        name = emotion or UNLABELLED
        by_emotion[name] = by_emotion.get(name, np.zeros(codes, np.int64)) + counts
        pairs.append(np.stack([tokens[:-1], tokens[1:]], axis=1))
    names = (*sorted(set(by_emotion) - {UNLABELLED}), UNLABELLED)
    columns = [by_emotion.get(name, np.zeros(codes, np.int64)) for name in names]
    found = np.concatenate(pairs) if pairs else np.zeros((0, 2), np.int64)
    unique, counts = np.unique(found, axis=0, return_counts=True)
    joined = np.concatenate([unique, counts[:, None]], axis=1).astype(np.int64)
    return CodeStatistics(usage, joined, names, np.stack(columns, axis=1), number)


def to_arrays(statistics: CodeStatistics) -> dict[str, NDArray[np.int32]]:
    """As named arrays, for a file; the names of the emotions are not among them."""
    return {
        "codes.usage": statistics.usage.astype(np.int32),
        "codes.pairs": statistics.pairs.astype(np.int32),
        "codes.by_emotion": statistics.by_emotion.astype(np.int32),
        "codes.clips": np.array([statistics.clips], np.int32),
    }


def from_arrays(arrays: Mapping[str, NDArray[np.int32]], emotions: tuple[str, ...]) -> CodeStatistics:
    """What `to_arrays` made.

    Raises:
        KeyError: an array is missing.
    """
    return CodeStatistics(
        arrays["codes.usage"].astype(np.int64),
        arrays["codes.pairs"].astype(np.int64),
        emotions,
        arrays["codes.by_emotion"].astype(np.int64),
        int(arrays["codes.clips"][0]),
    )
