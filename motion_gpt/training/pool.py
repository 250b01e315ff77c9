"""The pool: clips as tokens, made from latents that are changed first.

Half an hour of motion is some ten thousand tokens, and a network that sees the same ones again knows them by heart
within minutes. So the latents are cut, mirrored, sped up, slowed down and superposed, and the tokenizer runs again. A
pool depends on the seed and its number alone, so a run that goes on has the pool that it would have had.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from motion_gpt.training.clips import LabelledClips, draw_weights, tokens_of
from motion_gpt.training.config import TrainGptConfig
from motion_gpt.vocabulary import CONDITION_ROWS, Condition
from motion_tokenizer.tokenizer import MotionTokenizer


@dataclass(frozen=True, eq=False)
class PoolClip:
    """One clip of the pool.

    Attributes:
        tokens: (n, levels), int64, on the CPU.
        condition: what it expresses.
        whole: whether its end is that of the clip it was made from.
    """

    tokens: Tensor
    condition: Condition
    whole: bool


class TokenPool:
    """Makes pools.

    Args:
        clips: the training split.
        tokenizer: makes the tokens.
        config: the run's settings.
    """

    def __init__(self, clips: LabelledClips, tokenizer: MotionTokenizer, config: TrainGptConfig) -> None:
        self.clips = clips
        self.tokenizer = tokenizer
        self.settings = config.augment
        self.seed = config.seed
        self.weights = draw_weights(clips, config.balance, config.labelled)
        self.mean, _ = clips.clips.statistics()
        rows = config.rows or config.gpt.context
        self.longest = (rows - CONDITION_ROWS - (tokenizer.levels - 1)) * tokenizer.frames_per_token
        self.of_emotion = {
            emotion: torch.tensor([condition.emotion == emotion for condition in clips.conditions]).nonzero()[:, 0]
            for emotion in {condition.emotion for condition in clips.conditions}
        }
        self._latest: tuple[int, list[PoolClip]] | None = None

    def pool(self, number: int) -> list[PoolClip]:
        """The clips of a pool; the latest one is remembered."""
        if self._latest is None or self._latest[0] != number:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**32)
            chosen = torch.multinomial(self.weights, self.settings.pool, replacement=True, generator=generator)
            made = [self._make(int(clip), generator) for clip in chosen]
            tokens = tokens_of([features for features, _, _ in made], self.tokenizer)
            clips = [PoolClip(n, condition, whole) for n, (_, condition, whole) in zip(tokens, made, strict=True)]
            self._latest = number, clips
        return self._latest[1]

    def _make(self, number: int, generator: torch.Generator) -> tuple[Tensor, Condition, bool]:
        """Features of one clip of the pool, what it expresses, and whether it is whole."""
        features, whole = self._window(number, self.longest, generator)
        condition = self.clips.conditions[number]
        if _uniform(generator) < self.settings.mix:
            partner = self._partner(number, generator)
            other, _ = self._window(partner, len(features), generator)
            share = _uniform(generator)
            # Both start together, so that the end of the shorter one cuts the longer one off.
            whole = whole and len(other) >= len(features)
            features = self._superposed(features[: len(other)], other, share)
            condition = self._label(condition, self.clips.conditions[partner], share)
        return features, condition, whole

    def _window(self, number: int, longest: int, generator: torch.Generator) -> tuple[Tensor, bool]:
        """Part of a clip, of whole tokens and at most `longest` frames, and whether it reaches the clip's end.

        Where the clip is longer, the part lies anywhere in it; else up to a token less a frame is cut off its end, so
        that the grid of tokens lies differently every time.
        """
        clip = self.clips.clips.clip(number)
        stride = self.tokenizer.frames_per_token
        if self.settings.speed:
            clip = _at_speed(clip, (1 + self.settings.speed) ** (2 * _uniform(generator) - 1))
        if len(clip) > longest:
            first = int(_uniform(generator) * (len(clip) - longest + 1))
            return clip[first : first + longest], first + longest == len(clip)
        cut = int(_uniform(generator) * min(stride, len(clip) - stride + 1))
        part = clip[: len(clip) - cut]
        return part[len(part) % stride :], True

    def _partner(self, number: int, generator: torch.Generator) -> int:
        emotion = self.clips.conditions[number].emotion
        if emotion is not None and _uniform(generator) < self.settings.same_emotion:
            alike = self.of_emotion[emotion]
            return int(alike[int(_uniform(generator) * len(alike))])
        return int(torch.multinomial(self.weights, 1, generator=generator))

    def _superposed(self, features: Tensor, other: Tensor, share: float) -> Tensor:
        """The sum of two, centred on the training mean, so that their variance about it stays as it is."""
        return self.mean + share * (features - self.mean) + (1 - share**2) ** 0.5 * (other - self.mean)

    def _label(self, condition: Condition, other: Condition, share: float) -> Condition:
        if condition.emotion is not None and condition.emotion == other.emotion:
            same = condition.intensity == other.intensity
            return condition if same else Condition(condition.emotion)
        if share**2 >= self.settings.keep_label:
            return condition
        return other if 1 - share**2 >= self.settings.keep_label else Condition()


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator, dtype=torch.float64))


def _at_speed(clip: Tensor, speed: float) -> Tensor:
    """A clip (T, D) played at `speed`, by linear interpolation in time."""
    position = torch.arange(int((len(clip) - 1) / speed) + 1, dtype=torch.float64) * speed
    before = position.long()
    after = (before + 1).clamp(max=len(clip) - 1)
    return torch.lerp(clip[before], clip[after], (position - before).float()[:, None])
