"""What tokens leave out of motion: what is quicker than a token, and what stays the same throughout a clip.

A decoder makes the expected motion, which is smoother than any real one. What is missing, the training clips less their
reconstructions, has a mean in each clip (how this head and this camera differ from all others), and around it it is
Gaussian to a good approximation and follows itself. The mean is estimated from the driving and held; the rest is drawn
by a vector autoregression on its principal components, from where the driving's last frames left it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from motion_gpt.autoregression import Autoregression
from motion_tokenizer.features import BOXES, FEATURES, LATENTS

_LEAST = 1e-6  # of the largest deviation: what moves less is taken for constant
_SETTLING = 50  # frames after which a start from nothing no longer shows
_ENDLESS = 1e9  # frames; infinity would become NaN where averages of weights are kept
_SEEN, _AHEAD, _APART = 50, 100, 10
"""How steady means are is fitted on stretches: frames seen, frames ahead, frames from one stretch to the next."""


class MotionDetail(nn.Module):
    """The fine motion of one tokenizer. Fresh, it is none.

    Args:
        components: principal components that are drawn, K.
    """

    doubt: Tensor
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
            # A mean over so many frames is worth half of what it says.
            self.register_buffer("doubt", torch.full((FEATURES,), _ENDLESS))
            self.register_buffer("scale", torch.zeros(FEATURES))
            self.register_buffer("axes", torch.zeros(FEATURES, components))
            for name, dimensions in shapes.items():
                self.register_buffer(name, torch.zeros([components] * dimensions))

    def fit(self, left_out: Sequence[Tensor]) -> None:
        """Fit to what tokens left out of clips, features (T, 515) each; more frames than components."""
        left_out = [clip.double() for clip in left_out]
        for columns in (LATENTS, BOXES):
            self.doubt[columns] = _doubt([clip[:, columns] for clip in left_out])
        around = [clip - clip.mean(dim=0) for clip in left_out]
        frames = torch.cat(around)
        deviation = frames.std(dim=0, correction=0)
        moving = deviation > _LEAST * deviation.max()
        safe = torch.where(moving, deviation, torch.inf)
        normalised = frames / safe
        axes = torch.linalg.eigh(normalised.T @ normalised).eigenvectors.flip(1)[:, : self.components]
        # The sign of an eigenvector means nothing; fix it, for the same figures on any machine.
        axes = axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
        recursion = Autoregression.fit([clip / safe @ axes for clip in around])
        self.scale.copy_(torch.where(moving, deviation, torch.zeros(())))
        self.axes.copy_(axes)
        for name in ("first", "second", "constant", "noise"):
            getattr(self, name).copy_(getattr(recursion, name))

    def stream(self, before: Tensor | None, generator: torch.Generator, strength: float) -> DetailStream:
        """What is to be added to decoded motion, frame by frame.

        Args:
            before: what tokens left out of the frames so far, (n, 515), n at least 2; None where there are none.
            generator: of the random numbers.
            strength: 1 draws as much as was found in the training clips, 0 lets all but the mean fade.
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
        self._steady = torch.zeros(FEATURES, dtype=torch.float64)
        if before is None:
            self._older = self._newer = torch.zeros(detail.components, dtype=torch.float64)
            self.draw(_SETTLING)
        else:
            self._steady = before.double().mean(dim=0) * (len(before) / (len(before) + detail.doubt.double()))
            safe = torch.where(scale > 0, scale, torch.inf)
            self._older, self._newer = (before[-2:].double() - self._steady) / safe @ axes

    @property
    def before(self) -> Tensor:
        """The part of the last two frames that it goes on from, (2, 515)."""
        return (torch.stack([self._older, self._newer]) @ self._restore + self._steady).float()

    def draw(self, frames: int) -> Tensor:
        """The next frames, (n, 515), to be added to what tokens decode to."""
        made = torch.empty(frames, FEATURES, dtype=torch.float64)
        for number in range(frames):
            following = self._recursion.next(self._older, self._newer, self._generator, self._strength)
            self._older, self._newer = self._newer, following
            # Row by row, so that the bits do not depend on how many are asked for at once.
            made[number] = following @ self._restore + self._steady
        return made.float()


def _doubt(left_out: Sequence[Tensor]) -> float:
    """Frames whose mean says half of what is to come: the shrinkage that predicts the mean of what follows best.

    Endless where no clip is long enough to tell, or nothing follows from what was seen.
    """
    scale = torch.cat(list(left_out)).std(dim=0).clamp(min=1e-12)
    together = alone = 0.0
    for clip in left_out:
        for start in range(0, len(clip) - _SEEN - _AHEAD + 1, _APART):
            seen = clip[start : start + _SEEN].mean(dim=0) / scale
            ahead = clip[start + _SEEN : start + _SEEN + _AHEAD].mean(dim=0) / scale
            together += float(seen @ ahead)
            alone += float(seen @ seen)
    if together <= 0:
        return _ENDLESS
    return min(_ENDLESS, _SEEN * max(0.0, alone / together - 1))
