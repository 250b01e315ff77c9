"""What tokens leave out of motion: what is quicker than a token, and what stays the same throughout a clip.

A decoder makes the expected motion, which is smoother than any real one. What is missing, the training clips less their
reconstructions, has a mean in each clip (how this head and this camera differ from all others), and around it it
follows itself. The mean is estimated from the driving and held; the rest is drawn by a vector autoregression on its
principal components, from where the driving's last frames left it, in bursts (`motion_gpt.models.bursts`). How much a
clip trembles differs between clips more than anything else: of what is quick as much is drawn as the driving has and
its tokens have not, and where a driving is stiller than what its tokens decode to, that is made stiller too, and pauses
as it does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from motion_gpt.autoregression import Autoregression
from motion_gpt.models.bursts import Bursts
from motion_gpt.models.pauses import Pauses
from motion_tokenizer.features import BOXES, FEATURES, LATENTS

_LEAST = 1e-6  # of the largest deviation: what moves less is taken for constant
_SETTLING = 50  # frames after which a start from nothing no longer shows
_ENDLESS = 1e9  # frames; infinity would become NaN where averages of weights are kept
_HELD = 1.2  # times the driving's own speed, and not more, is what a still driving goes on with
_FORGET = 100.0  # frames, 4 s, in which a stillness is forgotten but for a third: no head is still for ever
_SLOW = 0.25  # weight of the newest frame in what is slow of drawn motion
_SLOW_PART = 0.6  # of that; new tokens bring slow motion of their own, which varies as much as real one but for this
_PRIOR = 10.0  # frames that what is common to all components counts for, beside a component's own
_SEEN, _AHEAD, _APART = 50, 100, 10
"""How steady means are is fitted on stretches: frames seen, frames ahead, frames from one stretch to the next."""


class MotionDetail(nn.Module):
    """The fine motion of one tokenizer. Fresh, it is none.

    Args:
        components: principal components that are drawn, K.
    """

    doubt: Tensor
    pace: Tensor
    scale: Tensor
    axes: Tensor
    first: Tensor
    second: Tensor
    constant: Tensor
    noise: Tensor

    def __init__(self, components: int) -> None:
        super().__init__()
        self.components = components
        self.bursts = Bursts() if components else None
        shapes = {"first": 2, "second": 2, "constant": 1, "noise": 2}
        if components:
            # A mean over so many frames is worth half of what it says.
            self.register_buffer("doubt", torch.full((FEATURES,), _ENDLESS))
            # Mean squares of the components' frame-to-frame differences in a typical clip.
            self.register_buffer("pace", torch.zeros(components))
            self.register_buffer("scale", torch.zeros(FEATURES))
            self.register_buffer("axes", torch.zeros(FEATURES, components))
            for name, dimensions in shapes.items():
                self.register_buffer(name, torch.zeros([components] * dimensions))

    def fit(self, left_out: Sequence[Tensor], decoded: Sequence[Tensor]) -> None:
        """Fit to clips; more frames than components.

        Args:
            left_out: what tokens left out of them, features (T, 515) each.
            decoded: what their tokens decode to, (T, 515) each.
        """
        assert self.bursts is not None
        left_out = [clip.double() for clip in left_out]
        for columns in (LATENTS, BOXES):
            self.doubt[columns] = _doubt([clip[:, columns] for clip in left_out])
        around = [clip - clip.mean(dim=0) for clip in left_out]
        deviation = torch.cat(around).std(dim=0, correction=0)
        moving = deviation > _LEAST * deviation.max()
        safe = torch.where(moving, deviation, torch.inf)
        around = _of_one_pace(around, safe)
        normalised = torch.cat(around) / safe
        axes = torch.linalg.eigh(normalised.T @ normalised).eigenvectors.flip(1)[:, : self.components]
        # The sign of an eigenvector means nothing; fix it, for the same figures on any machine.
        axes = axes * axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
        components = [clip / safe @ axes for clip in around]
        recursion = Autoregression.fit(components)
        self.pace.copy_(torch.cat([clip.diff(dim=0) for clip in components]).square().mean(dim=0))
        self.scale.copy_(torch.where(moving, deviation, torch.zeros(())))
        self.axes.copy_(axes)
        for name in ("first", "second", "constant", "noise"):
            getattr(self, name).copy_(getattr(recursion, name))
        moving_parts = [clip.double() / safe @ axes for clip in decoded]
        energies = [recursion.draws(clip).square().mean(dim=1) for clip in components]
        self.bursts.fit(moving_parts, energies)

    def stream(
        self, driving: Tensor | None, decoded: Tensor | None, generator: torch.Generator, strength: float
    ) -> DetailStream:
        """What is to be added to decoded motion, frame by frame.

        Args:
            driving: the frames so far, (n, 515), n at least 2; None where there are none.
            decoded: what their tokens decode to, (n, 515).
            generator: of the random numbers.
            strength: 1 draws as much as the driving has and its tokens have not (without a driving: as a typical
                training clip), 0 lets all but the mean fade.
        """
        return DetailStream(self, driving, decoded, generator, strength)


class DetailStream:
    """Fine motion of one clip.

    Args:
        detail, driving, decoded, generator, strength: as in `MotionDetail.stream`.
    """

    def __init__(
        self,
        detail: MotionDetail,
        driving: Tensor | None,
        decoded: Tensor | None,
        generator: torch.Generator,
        strength: float,
    ) -> None:
        assert detail.bursts is not None
        axes, scale = detail.axes.double(), detail.scale.double()
        safe = torch.where(scale > 0, scale, torch.inf)
        self._recursion = Autoregression(
            detail.first.double(), detail.second.double(), detail.constant.double(), detail.noise.double()
        )
        self._generator, self._strength = generator, strength
        self._restore = axes.T * scale
        self._project = axes / safe[:, None]
        # What is drawn begins at nothing; what the driving left behind fades beside it.
        nothing = torch.zeros(detail.components, dtype=torch.float64)
        self._older = self._newer = self._slow = nothing
        self._left = nothing, nothing
        self._liveliness: Tensor | float = 1.0
        self._slow_part = _SLOW_PART
        self._steady = torch.zeros(FEATURES, dtype=torch.float64)
        self._rest: tuple[Tensor, Tensor] | None = None
        self._added = 0
        for_pauses, for_bursts = (
            torch.Generator().manual_seed(int(torch.randint(2**31, (1,), generator=generator))) for _ in range(2)
        )
        if driving is None or decoded is None:
            self._pauses = Pauses(None, None, for_pauses)
            self._bursts = detail.bursts.stream(None, for_bursts)
            for _ in range(_SETTLING):
                self._draw(1.0)
            return
        left_out = driving.double() - decoded.double()
        self._steady = left_out.mean(dim=0) * (len(left_out) / (len(left_out) + detail.doubt.double()))
        whole, parts = driving.double() @ self._project, decoded.double() @ self._project
        self._liveliness = _liveliness(whole, parts, detail.pace.double())
        self._slow_part = _SLOW_PART * min(1.0, float(_root_mean_square(self._liveliness)))
        older, newer = (left_out[-2:] - self._steady) @ self._project
        self._left = older, newer
        self._damping, self._hold = _stillness(driving.double() / safe, decoded.double() / safe)
        self._rest = decoded[-1], decoded[-1] + self.before[-1]
        self._pauses = Pauses(driving.double() / safe, self._rest[1], for_pauses)
        self._bursts = detail.bursts.stream(parts, for_bursts)

    @property
    def before(self) -> Tensor:
        """The part of the driving's last two frames that it goes on from, (2, 515)."""
        return (torch.stack(self._left) @ self._restore + self._steady).float()

    def add(self, decoded: Tensor) -> Tensor:
        """The next decoded frames, (n, 515), with what is drawn for them, and with pauses."""
        return self._pauses(self._moving(decoded))

    def _moving(self, decoded: Tensor) -> Tensor:
        drawn = self.draw(decoded)
        if self._rest is None:
            return decoded + drawn
        bare, whole = self._rest
        time = torch.arange(self._added + 1, self._added + len(decoded) + 1)[:, None]
        self._added += len(decoded)
        known = torch.exp(-time / _FORGET)
        moving = torch.lerp(bare, decoded, 1 - (1 - self._damping) * known) + drawn
        return torch.lerp(whole, moving, 1 - (1 - self._hold) * known)

    def draw(self, decoded: Tensor) -> Tensor:
        """What is to be added to the next decoded frames, (n, 515) both."""
        made = torch.empty(len(decoded), FEATURES, dtype=torch.float64)
        # Row by row, so that the bits do not depend on how many are asked for at once.
        for number, frame in enumerate(decoded):
            drawn = self._draw(self._bursts.next(frame.double() @ self._project))
            older, newer = self._left
            self._left = newer, newer @ self._recursion.first + older @ self._recursion.second
            made[number] = (drawn + self._left[1]) @ self._restore + self._steady
        return made.float()

    def _draw(self, size: float) -> Tensor:
        """The next frame's components, with noise of so many times the fitted size."""
        following = self._recursion.next(self._older, self._newer, self._generator, size * self._strength)
        self._older, self._newer = self._newer, following
        self._slow = self._slow + _SLOW * (following - self._slow)
        return (following - self._slow) * self._liveliness + self._slow_part * self._slow


def _of_one_pace(clips: Sequence[Tensor], scale: Tensor) -> list[Tensor]:
    """Clips (T, 515), each brought to the median pace, so that the liveliest do not say how all others tremble."""
    paces = torch.stack([(clip.diff(dim=0) / scale).square().sum(dim=1).mean().sqrt() for clip in clips])
    typical = paces.median()
    return [clip * (typical / pace) if pace > 0 else clip for clip, pace in zip(clips, paces, strict=True)]


def _liveliness(driving: Tensor, decoded: Tensor, pace: Tensor) -> Tensor:
    """How much larger than in a typical clip each component must be, so that the sum is as quick as the driving, (K,).

    Args:
        driving, decoded: components of the frames so far, (n, K).
        pace: see `MotionDetail`.
    """
    quick, slow = (x.diff(dim=0).square().mean(dim=0) for x in (driving, decoded))
    typical = pace.clamp(min=_LEAST)
    common = (quick.sum() - slow.sum()).clamp(min=0) / typical.sum()
    seen = len(driving) - 1
    own = (quick - slow).clamp(min=0) / typical
    return ((seen * own + _PRIOR * common) / (seen + _PRIOR)).sqrt()


def _stillness(driving: Tensor, decoded: Tensor) -> tuple[float, float]:
    """What decoded motion, and what the sum with drawn motion, are to be multiplied by, each at most 1.

    The first goes by mean squares, so that decoded motion is no quicker than the driving; the second by medians, for a
    head that is still but for a blink is still.

    Args:
        driving, decoded: frames so far, relative to the features' scale, (n, 515).
    """
    speeds = [x.diff(dim=0).norm(dim=1).clamp(min=_LEAST) for x in (driving, decoded)]
    squares, medians = ([float(f(speed)) for speed in speeds] for f in (_root_mean_square, torch.median))
    return min(1.0, squares[0] / squares[1]), min(1.0, _HELD * medians[0] / medians[1])


def _root_mean_square(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()


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
