"""Simple ways to go on with a clip. Each makes features (F, 515) from a prefix (P, 515)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from motion_gpt.autoregression import Autoregression
from motion_gpt.continuation import Continuation, read_prefix
from motion_gpt.evaluation.cases import as_clip
from motion_gpt.evaluation.features import MotionSpace
from motion_gpt.ngrams import TokenModel
from motion_gpt.seam import Seam, SeamSettings
from motion_tokenizer.tokenizer import MotionTokenizer


class Baseline(ABC):
    """One way.

    Attributes:
        name: how tables call it.
        about: what it does, in words.
        random: whether another seed gives another continuation.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    random: ClassVar[bool] = False

    @abstractmethod
    def go_on(self, prefix: Tensor, frames: int, generator: torch.Generator) -> Tensor:
        """Continue a prefix (P, 515), P at least 16, by so many frames."""


class RepeatLast(Baseline):
    """The last frame, for ever: no seam, and nothing after it."""

    name = "repeat_last"
    about = "the last frame is held"

    def go_on(self, prefix: Tensor, frames: int, generator: torch.Generator) -> Tensor:
        return prefix[-1:].expand(frames, -1).clone()


class PingPong(Baseline):
    """The prefix backwards, forwards, backwards: real motion, over and over."""

    name = "ping_pong"
    about = "the prefix is played backwards, forwards again, and so on"

    def go_on(self, prefix: Tensor, frames: int, generator: torch.Generator) -> Tensor:
        last = len(prefix) - 1
        place = torch.arange(1, frames + 1) % (2 * last)
        return prefix[(last - place).abs()]


class NearestClip(Baseline):
    """What real motion did after a moment that was like this one: the training clip whose last 16 frames are nearest.

    Args:
        clips: training clips, (T, 515) each.
        space: in which frames are compared.
        seam: how the difference at the seam fades.
    """

    name = "nearest_clip"
    about = "the training clip whose last 16 frames are nearest is played on, the difference at the seam fades"
    frames_compared = 16

    def __init__(self, clips: Sequence[Tensor], space: MotionSpace, seam: SeamSettings) -> None:
        self.clips = clips
        self.space = space
        self.seam = seam
        self.projected = [space.project(clip) for clip in clips]

    def go_on(self, prefix: Tensor, frames: int, generator: torch.Generator) -> Tensor:
        asked = self.space.project(prefix[-self.frames_compared :])
        best: tuple[float, int, int] | None = None
        for number, clip in enumerate(self.projected):
            ends = len(clip) - frames - self.frames_compared + 1
            if ends < 1:
                continue
            each = torch.cdist(clip, asked).square()
            total = sum(each[k : k + ends, k] for k in range(self.frames_compared))
            assert isinstance(total, Tensor)
            place = int(total.argmin())
            if best is None or float(total[place]) < best[0]:
                best = float(total[place]), number, place + self.frames_compared
        if best is None:
            return RepeatLast().go_on(prefix, frames, generator)
        _, number, t0 = best
        found = self.clips[number]
        return Seam(prefix[-2:], found[t0 - 2 : t0], self.seam)(found[t0 : t0 + frames])


class LinearAutoregression(Baseline):
    """VAR(2): each frame is a linear function of the two before it, and noise as it was in training.

    Args:
        clips: training clips, (T, 515) each.
        space: the components that are predicted; the rest of the last frame is held.
    """

    name = "var2"
    about = "a linear function of the last two frames and Gaussian noise, on principal components"
    random = True

    def __init__(self, clips: Sequence[Tensor], space: MotionSpace) -> None:
        self.space = space
        self.recursion = Autoregression.fit([space.project(clip) for clip in clips])

    def go_on(self, prefix: Tensor, frames: int, generator: torch.Generator) -> Tensor:
        older, newer = self.space.project(prefix[-2:]).double()
        made = []
        for _ in range(frames):
            older, newer = newer, self.recursion.next(older, newer, generator)
            made.append(newer)
        return self.space.restore(torch.stack(made).float(), prefix[-1])


class CountedTokens(Baseline):
    """Tokens of a model that only counts, decoded and joined as the generator's are.

    Args:
        model: the counts.
        tokenizer: decodes.
        seam: how the difference at the seam fades.
    """

    name = "counted"
    about = "tokens drawn by their frequency, or that of pairs, alone"
    random = True

    def __init__(self, model: TokenModel, tokenizer: MotionTokenizer, seam: SeamSettings) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.seam = seam

    def go_on(self, prefix: Tensor, frames: int, generator: torch.Generator) -> Tensor:
        tokenizer = self.tokenizer
        begun = read_prefix(tokenizer, as_clip(prefix, tokenizer.fps, tokenizer.encoder_id))
        tokens = self.model.sample(begun.tokens, -(-frames // tokenizer.frames_per_token), generator)
        return Continuation(tokenizer, begun, self.seam).push(tokens)[:frames]
