"""The generator's vocabulary: motion codes, the marks around a clip, and the conditions. No token says who someone is.

Ids run in this order: the codes of the first level, of the second and so on, EOS, BOS, PAD, the emotions, NULL for no
emotion, the intensities, NULL for no intensity, and rows without a meaning up to a multiple of 64. A clip starts with
three rows, [BOS] [emotion] [intensity]; then comes one row for each motion token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from animator.errors import XNeMoError

EMOTIONS = ("angry", "contempt", "disgusted", "fear", "happy", "neutral", "sad", "surprised")
"""The eight emotions of MEAD (Wang et al. 2020), spelt as its folders are."""

INTENSITIES = (1, 2, 3)
"""MEAD's levels; neutral has the first one only."""

CONDITION_ROWS = 3
"""Rows before the first motion token: BOS, emotion, intensity."""

_MULTIPLE = 64


@dataclass(frozen=True)
class Vocabulary:
    """Which id stands for what.

    Attributes:
        codes: entries of the tokenizer's codebook.
        levels: codes that make up one motion token; above 1 for residual tokenizers.
    """

    codes: int = 4096
    levels: int = 1

    @property
    def eos(self) -> int:
        """End of a clip; directly after the codes, so that codes and EOS are one block of the output layer."""
        return self.levels * self.codes

    @property
    def bos(self) -> int:
        """Start of a clip."""
        return self.eos + 1

    @property
    def pad(self) -> int:
        """Nothing: after the end of a clip, and in the holes of the delay pattern."""
        return self.eos + 2

    @property
    def null_emotion(self) -> int:
        """No emotion is asked for."""
        return self.eos + 3 + len(EMOTIONS)

    @property
    def null_intensity(self) -> int:
        """No intensity is asked for."""
        return self.null_emotion + 1 + len(INTENSITIES)

    @property
    def size(self) -> int:
        """Rows of the embedding: all ids, rounded up to a multiple of 64."""
        return -(-(self.null_intensity + 1) // _MULTIPLE) * _MULTIPLE

    def emotion(self, name: str | None) -> int:
        """Id of an emotion; of NULL for None.

        Raises:
            XNeMoError: there is no such emotion (the message lists the eight).
        """
        if name is None:
            return self.null_emotion
        if name not in EMOTIONS:
            raise XNeMoError(f"emotion={name}: unknown; the emotions are {', '.join(EMOTIONS)}")
        return self.eos + 3 + EMOTIONS.index(name)

    def intensity(self, level: int | None) -> int:
        """Id of an intensity; of NULL for None.

        Raises:
            XNeMoError: not 1, 2 or 3.
        """
        if level is None:
            return self.null_intensity
        if level not in INTENSITIES:
            raise XNeMoError(f"intensity={level}: must be 1, 2 or 3")
        return self.null_emotion + 1 + INTENSITIES.index(level)

    def condition(self, emotion: str | None = None, intensity: int | None = None) -> Tensor:
        """The rows that a clip starts with.

        Args:
            emotion: one of `EMOTIONS`; None for no wish.
            intensity: 1, 2 or 3; None for no wish.
        Returns:
            Ids of BOS, emotion and intensity, (3,) int64.
        Raises:
            XNeMoError: an unknown emotion or intensity, or neutral with an intensity other than 1.
        """
        ids = [self.bos, self.emotion(emotion), self.intensity(intensity)]
        if emotion == "neutral" and intensity not in (None, 1):
            raise XNeMoError(f"intensity={intensity}: neutral has intensity 1 only; leave the intensity out, or take 1")
        return torch.tensor(ids)

    def to_ids(self, tokens: Tensor) -> Tensor:
        """Motion tokens to ids of this vocabulary.

        Args:
            tokens: (n, levels) whole numbers, each from 0 to codes - 1.
        Returns:
            (n, levels) int64.
        Raises:
            XNeMoError: tokens of a tokenizer with other levels or more codes.
        """
        if tokens.ndim != 2 or tokens.shape[1] != self.levels:
            raise XNeMoError(
                f"tokens: shape {tuple(tokens.shape)}, must be (n, {self.levels}) for this generator; "
                "use the tokenizer that it was trained with"
            )
        if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= self.codes):
            wrong = int(tokens.max()) if int(tokens.max()) >= self.codes else int(tokens.min())
            raise XNeMoError(
                f"tokens: hold {wrong}, but this generator knows 0 to {self.codes - 1}; "
                "use the tokenizer that it was trained with"
            )
        return tokens.long() + torch.arange(self.levels, device=tokens.device) * self.codes

    def to_tokens(self, ids: Tensor) -> Tensor:
        """Back from `to_ids`; (..., levels) to (..., levels)."""
        return ids - torch.arange(self.levels, device=ids.device) * self.codes


@dataclass(frozen=True)
class Condition:
    """What a clip shall express.

    Attributes:
        emotion: one of `EMOTIONS`; None for no wish.
        intensity: 1, 2 or 3; None for no wish.
        blend: a second emotion, at the same intensity where it has it; None for one alone.
        blend_share: share of the second emotion, 0 to 1.
    """

    emotion: str | None = None
    intensity: int | None = None
    blend: str | None = None
    blend_share: float = 0.0

    def branches(self, vocabulary: Vocabulary) -> list[tuple[Tensor, float]]:
        """Condition rows (3,) with their weights, which sum up to 1.

        Raises:
            XNeMoError: a condition that the vocabulary refuses, a share outside [0, 1], or a blend with nothing.
        """
        first = vocabulary.condition(self.emotion, self.intensity)
        if not 0 <= self.blend_share <= 1:
            raise XNeMoError(f"blend share {self.blend_share:g}: must be from 0 to 1")
        if self.blend is None or self.blend_share == 0:
            return [(first, 1.0)]
        if self.emotion is None:
            raise XNeMoError(f"blend {self.blend}: there is no first emotion to blend it with")
        second = vocabulary.condition(self.blend, 1 if self.blend == "neutral" else self.intensity)
        return [(first, 1 - self.blend_share), (second, self.blend_share)]
