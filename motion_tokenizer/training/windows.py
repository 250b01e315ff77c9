"""Training windows: which part of which clip a step sees, and how it is changed.

What is drawn for a step depends on the seed and the number of the step, and on nothing that came before, so a run that
goes on sees what it would have seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from motion_tokenizer.training.clips import FeatureClips
from motion_tokenizer.training.config import TokenizerAugmentConfig


@dataclass(frozen=True, eq=False)
class WindowBatch:
    """B windows of W frames.

    Attributes:
        features: what is to be given back, (B, W, 515).
        noisy: the same as the encoder sees it, with noise where that is asked for, (B, W, 515).
        valid: frames that count, (B, W), bool. A clip that is too short is played backwards from its end, and forwards
            again, until the window is full: motion as before, but invented.
    """

    features: Tensor
    noisy: Tensor
    valid: Tensor

    def to(self, device: torch.device) -> WindowBatch:
        """The same on another device."""
        return WindowBatch(self.features.to(device), self.noisy.to(device), self.valid.to(device))


class WindowSampler:
    """Draws windows of training clips.

    Args:
        clips: the training split.
        window: W, frames.
        batch: B, windows a step.
        balance: 0 to draw every frame as often, 1 every identity; between: powers in between.
        augment: how windows are changed; None leaves them as they are.
        seed: of all draws.
    """

    def __init__(
        self,
        clips: FeatureClips,
        window: int,
        batch: int,
        balance: float,
        augment: TokenizerAugmentConfig | None,
        seed: int,
    ) -> None:
        self.clips = clips
        self.window = window
        self.batch = batch
        self.augment = augment or TokenizerAugmentConfig()
        self.seed = seed
        self.weights = _weights(clips, balance)
        self.mean, self.deviation = clips.statistics()

    def stream(self, first_step: int = 0) -> Iterator[WindowBatch]:
        """Batches without end, from step number `first_step` on."""
        return (self.draw(step) for step in itertools.count(first_step))

    def draw(self, step: int) -> WindowBatch:
        """The windows of one step."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + step) % 2**32)
        chosen = torch.multinomial(self.weights, self.batch, replacement=True, generator=generator)
        speed = self._speeds(generator)
        last = (self.clips.lengths[chosen] - 1).double()
        room = (last - (self.window - 1) * speed).clamp(min=0)
        place = torch.rand(self.batch, generator=generator, dtype=torch.float64)
        # Frames as they are, not mixtures of two, unless the speed asks for mixtures.
        start = place * room if self.augment.speed else (place * (room + 1)).floor()
        position = start[:, None] + speed[:, None] * torch.arange(self.window)
        valid = position <= last[:, None]
        features = self._at(chosen, _folded(position, last[:, None]))
        features, valid = self._mixed(features, valid, generator)
        return WindowBatch(features, self._noisy(features, generator), valid)

    def _speeds(self, generator: torch.Generator) -> Tensor:
        """Frames of the clip a frame of the window, (B,); evenly spread in the logarithm."""
        spread = torch.rand(self.batch, generator=generator, dtype=torch.float64) * 2 - 1
        return (1 + self.augment.speed) ** spread

    def _at(self, chosen: Tensor, position: Tensor) -> Tensor:
        """Features of clips at times between their frames, (B, W, 515); `position` (B, W) in frames."""
        before = position.floor()
        rows = self.clips.starts[chosen][:, None] + before.long()
        if not self.augment.speed:
            return self.clips.features[rows]
        last = (self.clips.starts + self.clips.lengths - 1)[chosen][:, None]
        after = torch.minimum(rows + 1, last)
        weight = (position - before).float()[..., None]
        return torch.lerp(self.clips.features[rows], self.clips.features[after], weight)

    def _mixed(self, features: Tensor, valid: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Superpose some windows with others, so that their variance about the training mean stays as it is.

        The latents of few people say much about who they are and how they are held; sums of two are many people. What
        stands still in a window and what moves in it are mixed apart, with different partners: any motion on anybody.
        """
        if not self.augment.mix:
            return features, valid
        mixed = torch.rand(self.batch, generator=generator) < self.augment.mix
        centred = features - self.mean
        still = centred.mean(dim=1, keepdim=True)
        held, _ = self._superposed(still, mixed, generator)
        moving, partner = self._superposed(centred - still, mixed, generator)
        return self.mean + held + moving, valid & (valid[partner] | ~mixed[:, None])

    def _superposed(self, x: Tensor, mixed: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """a x + sqrt(1 - a^2) x[partner] for the windows that are mixed, a in [0, 1]; with the partners, (B,)."""
        share = torch.rand(self.batch, generator=generator)
        partner = torch.randperm(self.batch, generator=generator)
        share = torch.where(mixed, share, 1)[:, None, None]
        return share * x + torch.sqrt(1 - share.square()) * x[partner], partner

    def _noisy(self, features: Tensor, generator: torch.Generator) -> Tensor:
        if not self.augment.noise:
            return features
        noise = torch.randn(features.shape, generator=generator)
        return features + self.augment.noise * self.deviation * noise


def _weights(clips: FeatureClips, balance: float) -> Tensor:
    """How often each clip is drawn, (clips,): by its length over that of all clips of its identity ** balance."""
    totals: dict[str, int] = {}
    for identity, length in zip(clips.identities, clips.lengths.tolist(), strict=True):
        totals[identity] = totals.get(identity, 0) + length
    of_identity = torch.tensor([totals[identity] for identity in clips.identities], dtype=torch.float64)
    return clips.lengths.double() / of_identity**balance


def _folded(position: Tensor, last: Tensor) -> Tensor:
    """Times after the last frame, played backwards from it and forwards again from the first."""
    period = (2 * last).clamp(min=1)
    position = position % period
    return torch.where(position > last, period - position, position)
