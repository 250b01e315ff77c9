"""Denoising one clip with a sampler: where it starts, what each window predicts at each step, how it goes on.

`Denoising.predict` is the one place that says what is predicted for a window at a step; the order of windows and steps
is in `animator.windows`. Frames are rows: latents are (frames, channels, h, w).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from animator.errors import XNeMoError
from animator.guidance import GuidedDenoiser, PortraitConditions
from animator.models.deep_cache import DeepCache
from animator.models.overlap import OverlapFeatures, WindowOverlaps
from animator.sampler import SamplerConfig
from animator.solvers import Solvers
from animator.windows import FrameNoise, Wavefront, closed_loop, plan_closed_loop, plan_windows

BLUR_SIZE = 9  # latent pixels
BLUR_SIGMA = 18.0  # latent pixels


def blurred(latents: Tensor) -> Tensor:
    """Blur latents by a Gaussian of 9 x 9 with sigma 18, mirrored at the edges, as the published code starts from.

    With this sigma the kernel is nearly flat: corners weigh 0.95 of the centre.

    Args:
        latents: (N, channels, h, w), h and w at least 5.
    Raises:
        XNeMoError: latents too small to be mirrored.
    """
    channels, height, width = latents.shape[1:]
    reach = BLUR_SIZE // 2
    if min(height, width) <= reach:
        raise XNeMoError(
            f"latents of {height} x {width} are too small for a blurred start; take a larger height and width, "
            f"for at least {reach + 1} latent pixels each"
        )
    taps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    line = torch.exp(-0.5 * (taps / BLUR_SIGMA) ** 2)
    line = line / line.sum()
    kernel = torch.outer(line, line).to(latents).expand(channels, 1, BLUR_SIZE, BLUR_SIZE)
    return F.conv2d(F.pad(latents, (reach,) * 4, mode="reflect"), kernel, groups=channels)


def under_the_noise(portrait: PortraitConditions, initial: str, origin: Tensor) -> Tensor | None:
    """What lies under the first noise of every frame: the portrait's latents, (1, channels, h, w), perhaps blurred.

    Args:
        portrait: with its latents.
        initial: the sampler's key.
        origin: what latents are counted from.
    Returns:
        None where the noise is all.
    """
    if initial == "noise":
        return None
    if portrait.latents is None:
        raise ValueError("this start needs the portrait's latents, which these conditions do not hold")
    return (portrait.latents if initial == "reference" else blurred(portrait.latents)) - origin


@dataclass(frozen=True)
class Denoising:
    """One clip of T frames on its way from noise to latents.

    Args:
        denoiser: predicts a window.
        solvers: with timesteps set; see `animator.solvers`.
        count: T.
        noise: consecutive frames -> their noise, (n, channels, h, w); asked for each frame once, in order.
        portrait: what lies under the noise at the beginning, see `under_the_noise`.
        told: called with (frames of the window, step) after each prediction.
        guided: steps at which the negative branch of guidance is computed; see `animator.sampler.guided_steps`.
        cache: deep features that windows reuse, if they do; only for windows that stay where they are.
    """

    denoiser: GuidedDenoiser
    solvers: Solvers
    count: int
    noise: Callable[[range], Tensor]
    portrait: Tensor | None
    told: Callable[[Sequence[int], int], None]
    guided: range
    cache: DeepCache | None = None

    def start(self, frames: range) -> Tensor:
        """First latents of some frames, (n, channels, h, w)."""
        like, scheduler = self.denoiser.portrait.image_embeds, self.solvers.scheduler
        noise = self.noise(frames).to(like.device, like.dtype)
        if self.portrait is None:
            return noise * scheduler.init_noise_sigma
        return scheduler.add_noise(self.portrait.expand_as(noise), noise, scheduler.timesteps[:1])

    def predict(
        self, latents: Tensor, frames: Sequence[int], step: int, overlap: OverlapFeatures | None = None
    ) -> Tensor:
        """What one window says of its frames at one step: the branches of guidance, (n, 1 or 2, channels, h, w)."""
        guided = step in self.guided
        timesteps = self.solvers.scheduler.timesteps
        window, branches = frames[0], (False, True) if guided else (True,)
        deep = None if self.cache is None else self.cache.recall(window, branches, step)
        predicted = self.denoiser.branches(latents, timesteps[step], frames, guided, deep, overlap)
        if self.cache is not None and deep is not None:
            self.cache.keep(window, branches, deep)
            if step + 1 == len(timesteps):
                self.cache.drop(window)
        self.told(frames, step)
        return predicted

    def predict_guided(
        self, latents: Tensor, frames: Sequence[int], step: int, overlap: OverlapFeatures | None = None
    ) -> Tensor:
        """`predict` with guidance applied in the window, (n, 1, channels, h, w)."""
        return self.denoiser.combine(self.predict(latents, frames, step, overlap))[:, None]

    def predict_own(self, overlaps: WindowOverlaps, latents: Tensor, frames: range, step: int) -> Tensor:
        """`predict_guided` for the frames of a window that are not in the one before, which has taken this step."""
        features = overlaps.recall(frames, step)
        predicted = self.predict_guided(latents, frames, step, features)
        overlaps.keep(frames, step, features)
        return predicted

    def advance(self, latents: Tensor, branches: Tensor, frames: range, step: int) -> Tensor:
        """Guidance on branches averaged over windows, where it is still to come, and one step, frame by frame.

        Eq. 2 is linear: to average before or after it differs by rounding alone. The release averages the branches;
        guidance in each window needs half the memory.
        """
        return self.solvers.advance(latents, self.denoiser.combine(branches), frames, step)

    def run(self, sampler: SamplerConfig, offsets: Sequence[int]) -> Iterator[Tensor]:
        """Denoise the clip and yield its latents in order: early and piece by piece, or, in a closed loop, at the end.

        Args:
            sampler: says which windows there are.
            offsets: first frame of the closed loop at each step; not read for other windows.
        """
        if sampler.loop:
            yield closed_loop(
                self.count, sampler.window, sampler.overlap, offsets, self.start, self.predict, self.advance
            )
        else:
            windows = plan_windows(self.count, sampler.window, sampler.overlap)
            if sampler.overlap_layers == "temporal":
                overlaps = WindowOverlaps(windows)
                predict = partial(self.predict_own, overlaps)
                yield from Wavefront(overlaps.own, sampler.steps, self.start, predict, self.advance)
            else:
                yield from Wavefront(windows, sampler.steps, self.start, self.predict_guided, self.advance)


def count_predictions(sampler: SamplerConfig, frames: int) -> int:
    """Windows times steps: how often `Denoising.predict` runs for a clip."""
    if sampler.loop:
        windows = len(plan_closed_loop(frames, sampler.window, sampler.overlap, 0))
    else:
        windows = len(plan_windows(frames, sampler.window, sampler.overlap))
    return windows * sampler.steps


def frame_noise(noise: Tensor | None, seed: int, frames: int, shape: tuple[int, int, int]) -> Callable[[range], Tensor]:
    """The source of a clip's noise.

    Args:
        noise: given noise, (1, frames, channels, h, w); None draws it.
        seed: of the drawn noise.
        frames: length of the clip.
        shape: of one frame's latents, (channels, h, w).
    Raises:
        XNeMoError: given noise of another shape.
    """
    if noise is None:
        return FrameNoise(seed, shape)
    wanted = (1, frames, *shape)
    if tuple(noise.shape) != wanted:
        raise XNeMoError(f"noise: is {tuple(noise.shape)}, must be {wanted} (1, frames, channels, height, width)")
    given = noise[0]
    return lambda part: given[part.start : part.stop]


def loop_offsets(sampler: SamplerConfig, given: Sequence[int] | None, seed: int) -> list[int]:
    """First frame of the closed loop at each step: as given, or drawn from 0 to window - 1; none without a loop.

    Raises:
        XNeMoError: offsets for windows that have none, of another number than steps, or negative.
    """
    if not sampler.loop:
        if given is not None:
            raise XNeMoError("window_offsets: only windows in a closed loop have offsets; take sampler=release")
        return []
    if given is None:
        draw = random.Random(seed)
        return [draw.randrange(sampler.window) for _ in range(sampler.steps)]
    if len(given) != sampler.steps or min(given) < 0:
        raise XNeMoError(f"window_offsets: must be {sampler.steps} whole numbers from 0 on, one a step, not {given}")
    return [int(offset) for offset in given]
