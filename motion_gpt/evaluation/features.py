"""What a stretch of motion is compared by: a few numbers, because few clips are there.

Latents are normalised by the training split and projected on its first principal components. A stretch is then the mean
of each component (how the head is held and which face is made), its standard deviation (how much happens) and that of
its frame-to-frame differences (how fast), each divided by its own standard deviation over real training stretches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from motion_tokenizer.features import LATENTS

_LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class MotionSpace:
    """Principal components of motion.

    Attributes:
        mean, scale: of the features that were fitted, (D,).
        axes: the components, (D, K), orthonormal, the strongest first.
        columns: which of the 515 features are used; D of them.
    """

    mean: Tensor
    scale: Tensor
    axes: Tensor
    columns: slice

    @staticmethod
    def fit(clips: Sequence[Tensor], dimensions: int, columns: slice = LATENTS) -> MotionSpace:
        """Fit training clips, (T, 515) each."""
        frames = torch.cat([clip[:, columns] for clip in clips]).double()
        mean, scale = frames.mean(dim=0), frames.std(dim=0, correction=0)
        # What never moves must not be blown up.
        scale = torch.where(scale > _LEAST * scale.max(), scale, torch.inf)
        normalised = (frames - mean) / scale
        # Eigenvectors come in rising order.
        axes = torch.linalg.eigh(normalised.T @ normalised).eigenvectors.flip(1)[:, :dimensions]
        # The sign of an eigenvector means nothing; fix it, for the same figures on any machine.
        axes = axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
        return MotionSpace(mean.float(), scale.float(), axes.float(), columns)

    def project(self, features: Tensor) -> Tensor:
        """Features (..., 515) to components (..., K)."""
        return (features[..., self.columns] - self.mean) / self.scale @ self.axes

    def restore(self, components: Tensor, like: Tensor) -> Tensor:
        """Back to features (..., 515), with what the components leave out taken from `like`, (..., 515)."""
        restored = like.expand(*components.shape[:-1], like.shape[-1]).clone()
        change = (components - self.project(restored)) @ self.axes.T
        finite = torch.where(self.scale.isinf(), torch.zeros(()), self.scale)
        restored[..., self.columns] += change * finite
        return restored


@dataclass(frozen=True, eq=False)
class StretchFeatures:
    """Turns stretches of one length into vectors.

    Attributes:
        space: what they are projected into.
        scale: standard deviation of each number over real training stretches, (3 K,).
        together: frames whose mean stands for them. 1 leaves all as it is; a token's frames leave out what is quicker
            than a token, of which the jitter of the motion encoder, from frame to frame, is the most.
    """

    space: MotionSpace
    scale: Tensor
    together: int = 1

    @staticmethod
    def fit(space: MotionSpace, stretches: Tensor, together: int = 1) -> StretchFeatures:
        """Fit real training stretches, (N, F, 515), N at least 2."""
        plain = StretchFeatures(space, torch.ones(()), together)(stretches)
        return StretchFeatures(space, plain.std(dim=0).clamp(min=_LEAST), together)

    def __call__(self, stretches: Tensor) -> Tensor:
        """Stretches (..., F, 515), F at least 3 times `together`, to (..., 3 K)."""
        components = self.space.project(stretches)
        whole = components.shape[-2] // self.together * self.together
        means = components[..., :whole, :].unflatten(-2, (-1, self.together)).mean(dim=-2)
        velocity = means.diff(dim=-2)
        return torch.cat([means.mean(dim=-2), means.std(dim=-2), velocity.std(dim=-2)], dim=-1) / self.scale


@dataclass(frozen=True, eq=False)
class ChangeFeatures:
    """How a continuation differs from its prefix: the difference of the features of both.

    What is real motion, but not this motion going on, such as the prefix played backwards, shows here alone.

    Attributes:
        features: of a stretch.
        scale: standard deviation of each difference over real training stretches, (3 K,).
    """

    features: StretchFeatures
    scale: Tensor

    @staticmethod
    def fit(features: StretchFeatures, stretches: Tensor, prefix: int) -> ChangeFeatures:
        """Fit real training stretches (N, P + F, 515), N at least 2, of which P = `prefix` frames are given."""
        plain = ChangeFeatures(features, torch.ones(()))(stretches[:, :prefix], stretches[:, prefix:])
        return ChangeFeatures(features, plain.std(dim=0).clamp(min=_LEAST))

    def __call__(self, prefixes: Tensor, continued: Tensor) -> Tensor:
        """Prefixes (N, P, 515) and their continuations (N, F, 515) to (N, 3 K)."""
        return (self.features(continued) - self.features(prefixes)) / self.scale


def stretches_of(clips: Sequence[Tensor], frames: int, stride: int) -> Tensor:
    """All stretches of clips, each `stride` frames after the other, (N, frames, 515); N may be 0."""
    parts = [clip.unfold(0, frames, stride).transpose(1, 2) for clip in clips if len(clip) >= frames]
    return torch.cat(parts) if parts else torch.zeros(0, frames, clips[0].shape[1])
