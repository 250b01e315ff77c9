"""How fine motion swells and fades: most of it comes where the head moves anyway, and the rest in bursts of its own.

The energy of a frame's fine motion, relative to its mean in the clip, is log-normal about a power of the speed of the
decoded motion; its logarithm has a part that lasts some frames and one that is new in each (a stochastic volatility
model, Taylor 1986, with a covariate). Gaussian noise of one size, in its place, trembles where a real head rests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_RECENT = 0.5  # weight of the newest frame in the speed
_MEMORY = 0.93  # of the part that lasts, from frame to frame: 14 frames
_LAGS = 8  # frames over which that part is told from the other
_LEAST = 1e-3  # speed, and energy relative to its mean: less is taken for this
_TINY = 1e-30


class Bursts(nn.Module):
    """The model of one tokenizer's fine motion. Fresh, every frame is like the others."""

    exponent: Tensor
    level: Tensor
    lasting: Tensor
    passing: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Of the speed; mean of the speed's power in a typical clip; variances of both parts of the logarithm.
        for name, value in {"exponent": 0.0, "level": 1.0, "lasting": 0.0, "passing": 0.0}.items():
            self.register_buffer(name, torch.tensor(value))

    def fit(self, decoded: Sequence[Tensor], energies: Sequence[Tensor]) -> None:
        """Fit to clips.

        Args:
            decoded: components of decoded motion, (T, K) each.
            energies: mean squares of what was drawn for its last frames, over K numbers of equal variance; clips with
                fewer than 9 are passed over.
        """
        long = [pair for pair in zip(decoded, energies, strict=True) if len(pair[1]) > _LAGS]
        if not long:
            return
        speeds = [_smooth(_speeds(clip))[-len(energy) :].clamp(min=_LEAST) for clip, energy in long]
        x = [_centred(speed.log()) for speed in speeds]
        y = [_centred((energy / energy.mean().clamp(min=_TINY)).clamp(min=_LEAST).log()) for _, energy in long]
        square = float(torch.cat(x).square().sum())
        exponent = max(0.0, float(torch.cat(x) @ torch.cat(y)) / square) if square > 0 else 0.0
        rest = [after - exponent * before for before, after in zip(x, y, strict=True)]
        variance = float(torch.cat(rest).square().mean())
        together = [sum(float(z[lag:] @ z[:-lag]) for z in rest) for lag in range(1, _LAGS + 1)]
        pairs = [sum(len(z) - lag for z in rest) for lag in range(1, _LAGS + 1)]
        expected = sum(_MEMORY**lag for lag in range(1, _LAGS + 1))
        lasting = max(0.0, sum(a / b for a, b in zip(together, pairs, strict=True)) / expected)
        # The logarithm of a Gaussian's mean square varies too, by about 2 / K.
        passing = max(0.0, variance - lasting - 2 / long[0][0].shape[1])
        level = torch.stack([speed.pow(exponent).mean() for speed in speeds]).median()
        for name, value in (("exponent", exponent), ("level", level), ("lasting", lasting), ("passing", passing)):
            getattr(self, name).fill_(value)

    def stream(self, decoded: Tensor | None, generator: torch.Generator) -> BurstStream:
        """Sizes of fine motion, frame by frame.

        Args:
            decoded: components of the decoded motion so far, (n, K), n at least 2; None where there is none.
            generator: of the random numbers; none other may draw from it.
        """
        return BurstStream(self, decoded, generator)


class BurstStream:
    """Sizes of one clip's fine motion; arguments as in `Bursts.stream`."""

    def __init__(self, bursts: Bursts, decoded: Tensor | None, generator: torch.Generator) -> None:
        self._exponent, self._level = float(bursts.exponent), float(bursts.level)
        self._lasting, self._passing = float(bursts.lasting), float(bursts.passing)
        self._generator = generator
        self._lasts = 0.0
        self._last: Tensor | None = None
        self._speed: float | None = None
        if decoded is not None:
            speeds = _smooth(_speeds(decoded)).clamp(min=_LEAST)
            self._level = float(speeds.pow(self._exponent).mean())
            self._last, self._speed = decoded[-1], float(speeds[-1])

    def next(self, decoded: Tensor) -> float:
        """By what the next frame's fine motion is to be multiplied; 1 in the mean square.

        Args:
            decoded: components of the next frame of decoded motion, (K,).
        """
        fresh, passing = torch.randn(2, generator=self._generator, dtype=torch.float64).tolist()
        fresh *= math.sqrt((1 - _MEMORY**2) * self._lasting)
        self._lasts = _MEMORY * self._lasts + fresh
        own = self._lasts + math.sqrt(self._passing) * passing - (self._lasting + self._passing) / 2
        moving = 0.0
        if self._last is not None:
            speed = float((decoded - self._last).norm())
            before = speed if self._speed is None else self._speed
            self._speed = max(_LEAST, before + _RECENT * (speed - before))
            moving = self._exponent * math.log(self._speed) - math.log(self._level)
        self._last = decoded
        return math.exp((moving + own) / 2)


def _speeds(components: Tensor) -> Tensor:
    """Of each frame but the first, from the one before it."""
    return components.diff(dim=0).norm(dim=1)


def _smooth(speeds: Tensor) -> Tensor:
    """Each with what came before it."""
    smooth = speeds.clone()
    for number in range(1, len(speeds)):
        smooth[number] = smooth[number - 1] + _RECENT * (speeds[number] - smooth[number - 1])
    return smooth


def _centred(x: Tensor) -> Tensor:
    return x - x.mean()
