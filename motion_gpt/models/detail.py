"""What tokens leave out of motion: most of it is quicker than a token, the fine movement from frame to frame.

A decoder makes the expected motion, which is smoother than any real one. What is missing is Gaussian to a good
approximation and follows itself: a vector autoregression on its principal components, fitted to the training clips
less their reconstructions, draws it anew. It goes on from what the tokens left out of the driving's last frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from motion_gpt.autoregression import Autoregression
from motion_tokenizer.features import FEATURES

_LEAST = 1e-6  # of the largest deviation: what moves less is taken for constant
_SETTLING = 50  # frames after which a start from nothing no longer shows


class MotionDetail(nn.Module):
    """The fine motion of one tokenizer. Fresh, it is none.

    Args:
        components: principal components that are drawn, K.
    """

    scale: Tensor
    axes: Tensor
    first: Tensor
    second: Tensor
    constant: Tensor
    noise: Tensor

    def __init__(self, components: int) -> None:
        super().__init__()
        self.components = components
        shapes = {"first": 2, "second": 2, "constant": 1, "noise": 2}
        if components:
            self.register_buffer("scale", torch.zeros(FEATURES))
            self.register_buffer("axes", torch.zeros(FEATURES, components))
            for name, dimensions in shapes.items():
                self.register_buffer(name, torch.zeros([components] * dimensions))

    def fit(self, left_out: Sequence[Tensor]) -> None:
        """Fit to what tokens left out of clips, features (T, 515) each; more frames than components."""
        frames = torch.cat(list(left_out)).double()
        deviation = frames.std(dim=0, correction=0)
        moving = deviation > _LEAST * deviation.max()
        safe = torch.where(moving, deviation, torch.inf)
        normalised = frames / safe
        axes = torch.linalg.eigh(normalised.T @ normalised).eigenvectors.flip(1)[:, : self.components]
        # The sign of an eigenvector means nothing; fix it, for the same figures on any machine.
        axes = axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
        recursion = Autoregression.fit([clip.double() / safe @ axes for clip in left_out])
        self.scale.copy_(torch.where(moving, deviation, torch.zeros(())))
        self.axes.copy_(axes)
        for name in ("first", "second", "constant", "noise"):
            getattr(self, name).copy_(getattr(recursion, name))

    def stream(self, before: Tensor | None, generator: torch.Generator, strength: float) -> DetailStream:
        """Fine motion, frame by frame.

        Args:
            before: what tokens left out of the last two frames, (2, 515); None where there are none.
            generator: of the random numbers.
            strength: 1 draws as much as was found in the training clips, 0 lets what is there fade.
        """
        return DetailStream(self, before, generator, strength)


class DetailStream:
    """Fine motion of one clip.

    Args:
        detail, before, generator, strength: as in `MotionDetail.stream`.
    """

    def __init__(
        self, detail: MotionDetail, before: Tensor | None, generator: torch.Generator, strength: float
    ) -> None:
        axes, scale = detail.axes.double(), detail.scale.double()
        self._restore = axes.T * scale
        self._recursion = Autoregression(
            detail.first.double(), detail.second.double(), detail.constant.double(), detail.noise.double()
        )
        self._generator, self._strength = generator, strength
        if before is None:
            self._older = self._newer = torch.zeros(detail.components, dtype=torch.float64)
            self.draw(_SETTLING)
        else:
            safe = torch.where(scale > 0, scale, torch.inf)
            self._older, self._newer = before.double() / safe @ axes

    @property
    def before(self) -> Tensor:
        """The part of the last two frames that it goes on from, (2, 515)."""
        return (torch.stack([self._older, self._newer]) @ self._restore).float()

    def draw(self, frames: int) -> Tensor:
        """The next frames, (n, 515), to be added to what tokens decode to."""
        made = torch.empty(frames, len(self._newer), dtype=torch.float64)
        for number in range(frames):
            following = self._recursion.next(self._older, self._newer, self._generator, self._strength)
            self._older, self._newer = self._newer, following
            made[number] = following
        # Row by row, so that the bits do not depend on how many are asked for at once.
        rows = [row @ self._restore for row in made]
        return torch.stack(rows).float() if rows else torch.zeros(0, FEATURES)
