"""Long clips in constant memory: overlapping windows (prompt travelling) in a wavefront over denoising steps.

A clip is cut into windows that the denoiser can hold; at every step the predictions of all windows that cover a frame
are averaged. Done step by step for the whole clip, this keeps all latents until the last step is over. But a window
at step s depends only on its neighbours at step s - 1, so windows can run one behind the other instead:

    window 0   step 0   step 1   step 2   -> out
    window 1            step 0   step 1   step 2   -> out
    window 2                     step 0   step 1   step 2   -> out        (time runs to the right)

The result is the same, the first frames leave early, and only about as many windows are alive as
there are steps, whatever the length of the clip.

The published inference code lets its windows go round from the clip's end to its beginning and moves them at every
step. Then each frame hangs on each other one, nothing is done before everything is, and there is no wavefront:
`closed_loop`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


def plan_windows(frames: int, window: int, overlap: int) -> list[range]:
    """Cut a clip into windows, first to last; the last one ends with the clip and may overlap more.

    Args:
        frames: length of the clip.
        window: frames in a window; a shorter clip is one window.
        overlap: frames that neighbours share.
    Raises:
        ValueError: no frames, or an overlap that is negative or not smaller than the window.
    """
    if frames < 1 or not 0 <= overlap < window:
        raise ValueError(f"cannot cut {frames} frames into windows of {window} that overlap by {overlap}")
    if frames <= window:
        return [range(frames)]
    starts = [*range(0, frames - window, window - overlap), frames - window]
    return [range(start, start + window) for start in starts]


def plan_closed_loop(frames: int, window: int, overlap: int, offset: int) -> list[list[int]]:
    """Cut a clip into windows that go round from its end to its beginning, as the published inference code does.

    Args:
        frames: length of the clip.
        window: frames in a window; a clip that is not longer is one window, in order.
        overlap: frames that neighbours share.
        offset: frame that the first window begins at, modulo the clip's length.
    Returns:
        ceil(frames / (window - overlap)) windows of frame numbers. The last one may repeat much of the first.
    Raises:
        ValueError: no frames, or an overlap that is negative or not smaller than the window.
    """
    if frames < 1 or not 0 <= overlap < window:
        raise ValueError(f"cannot cut {frames} frames into windows of {window} that overlap by {overlap}")
    if frames <= window:
        return [list(range(frames))]
    starts = range(offset, offset + frames, window - overlap)
    return [[frame % frames for frame in range(start, start + window)] for start in starts]


@dataclass
class Segment:
    """A run of frames that the same windows cover; its frames are always at the same step.

    Args:
        frames: positions in the clip.
        windows: number of windows that cover it.
        latents: (len(frames), channels, h, w), at noise level `step`.
        step: steps done.
        total: sum of the predictions at this step so far.
        votes: how many windows have given theirs.
    """

    frames: range
    windows: int
    latents: Tensor
    step: int = 0
    total: Tensor | None = None
    votes: int = 0


class Wavefront:
    """Denoise a clip window by window, each as far as its neighbours allow.

    Args:
        windows: from `plan_windows`.
        steps: number of denoising steps.
        start: frames -> their first latents, (n, channels, h, w); called once for each frame, in order.
        predict: (latents of a window, its frames, step) -> prediction, one row a frame.
        advance: (latents, averaged prediction, frames, step) -> latents one step cleaner; must treat frames one by
            one. Called with the same frames together at every step.
    """

    def __init__(
        self,
        windows: list[range],
        steps: int,
        start: Callable[[range], Tensor],
        predict: Callable[[Tensor, range, int], Tensor],
        advance: Callable[[Tensor, Tensor, range, int], Tensor],
    ) -> None:
        self.windows = windows
        self.steps = steps
        self.start = start
        self.predict = predict
        self.advance = advance
        self.alive: deque[Segment] = deque()
        self.step_of = [0] * len(windows)

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the finished latents of consecutive frames, in order, as early as they are done."""
        running: list[int] = []  # windows that have come in and are not done, oldest first
        starts, stops = [window.start for window in self.windows], [window.stop for window in self.windows]
        cuts = deque(pairwise(sorted({*starts, *stops})))
        for index, window in enumerate(self.windows):
            while cuts and cuts[0][0] < window.stop:
                frames = range(*cuts.popleft())
                covering = bisect_right(starts, frames.start) - bisect_right(stops, frames.start)
                self.alive.append(Segment(frames, covering, self.start(frames)))
            running.append(index)
            yield from self._sweep(running)
        while running:
            yield from self._sweep(running)

    def _sweep(self, running: list[int]) -> Iterator[Tensor]:
        """Let each window take one step if it can, newest first, as each step enables its older neighbour's."""
        for index in reversed(running):
            window, step = self.windows[index], self.step_of[index]
            parts = [part for part in self.alive if window.start <= part.frames.start < window.stop]
            if all(part.step == step for part in parts):
                self._take_step(parts, window, step)
                self.step_of[index] += 1
        running[:] = [index for index in running if self.step_of[index] < self.steps]
        while self.alive and self.alive[0].step == self.steps:
            yield self.alive.popleft().latents

    def _take_step(self, parts: list[Segment], window: range, step: int) -> None:
        prediction = self.predict(torch.cat([part.latents for part in parts]), window, step)
        pieces = prediction.split([len(part.frames) for part in parts])
        for part, piece in zip(parts, pieces, strict=True):
            part.total = piece if part.total is None else part.total + piece
            part.votes += 1
            if part.votes == part.windows:
                part.latents = self.advance(part.latents, part.total / part.windows, part.frames, step)
                part.step, part.total, part.votes = step + 1, None, 0


def closed_loop(
    frames: int,
    window: int,
    overlap: int,
    offsets: Sequence[int],
    start: Callable[[range], Tensor],
    predict: Callable[[Tensor, Sequence[int], int], Tensor],
    advance: Callable[[Tensor, Tensor, range, int], Tensor],
) -> Tensor:
    """Denoise a clip step by step through windows that go round; all latents live until the last step.

    Args:
        frames, window, overlap: see `plan_closed_loop`.
        offsets: frame that the first window begins at, one for each denoising step.
        start, predict, advance: as in `Wavefront`; a frame's prediction is the plain average over its windows.
    Returns:
        The finished latents, (frames, channels, h, w).
    """
    latents = start(range(frames))
    for step, offset in enumerate(offsets):
        total: Tensor | None = None
        votes = torch.zeros(frames, device=latents.device, dtype=latents.dtype)
        for part in plan_closed_loop(frames, window, overlap, offset):
            prediction = predict(latents[part], part, step)
            if total is None:
                total = prediction.new_zeros(frames, *prediction.shape[1:])
            total[part] += prediction
            votes[part] += 1
        assert total is not None  # a clip has at least one window
        latents = advance(latents, total / votes.view(-1, *[1] * (total.ndim - 1)), range(frames), step)
    return latents


def regroup(pieces: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """The same consecutive frames in groups of `size`, the last one perhaps smaller."""
    waiting: list[Tensor] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += len(piece)
        if count >= size:
            *full, rest = torch.cat(waiting).split(size)
            if len(rest) == size:
                full, rest = [*full, rest], rest[:0]
            yield from full
            waiting, count = [rest], len(rest)
    if count:
        yield torch.cat(waiting)


class FrameNoise:
    """Gaussian noise drawn frame by frame from one seed: the same for a frame whatever the clip's length or windows.

    Args:
        seed: of a CPU generator, so that a GPU starts from the same noise.
        shape: of one frame, (channels, h, w).
    """

    def __init__(self, seed: int, shape: tuple[int, int, int]) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.shape = shape
        self.drawn = 0

    def __call__(self, frames: range) -> Tensor:
        """The next frames' noise, (n, channels, h, w), float32 on the CPU; frames must be asked for in order."""
        if frames.start != self.drawn:
            raise ValueError(f"noise was drawn up to frame {self.drawn}, frame {frames.start} was asked for")
        self.drawn = frames.stop
        # One draw a frame: a single larger draw would give other numbers.
        return torch.stack([torch.randn(self.shape, generator=self.generator) for _ in frames])
