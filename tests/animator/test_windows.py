"""Windows over long clips: the wavefront gives what the plain schedule gives, early and in constant memory."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from animator.windows import FrameNoise, Wavefront, closed_loop, plan_closed_loop, plan_windows, regroup

SHAPES = [(1, 24, 4), (24, 24, 4), (25, 24, 4), (44, 24, 4), (57, 24, 4), (64, 8, 0), (31, 8, 5), (30, 6, 2)]


@pytest.mark.parametrize(("frames", "window", "overlap"), SHAPES)
def test_windows_cover_the_clip_and_do_not_loop(frames: int, window: int, overlap: int) -> None:
    windows = plan_windows(frames, window, overlap)
    assert {frame for part in windows for frame in part} == set(range(frames))
    assert windows[-1].stop == frames
    assert all(len(part) == min(window, frames) for part in windows)
    for one, other in itertools.pairwise(windows):
        assert one.start < other.start
        assert one.stop - other.start >= min(overlap, frames)


@pytest.mark.parametrize(("frames", "window", "overlap"), [(0, 24, 4), (10, 4, 4), (10, 4, -1)])
def test_impossible_windows_are_refused(frames: int, window: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="windows"):
        plan_windows(frames, window, overlap)


@pytest.mark.parametrize(("frames", "count"), [(1, 1), (24, 1), (25, 2), (40, 2), (41, 3), (60, 3), (61, 4), (230, 12)])
@pytest.mark.parametrize("offset", [0, 7, 23, 300])
def test_a_closed_loop_covers_every_frame_and_never_one_twice_in_a_window(frames: int, count: int, offset: int) -> None:
    windows = plan_closed_loop(frames, 24, 4, offset)
    assert len(windows) == count
    assert {frame for part in windows for frame in part} == set(range(frames))
    for part in windows:
        assert len(set(part)) == len(part) == min(24, frames)
        assert all((b - a) % frames == 1 for a, b in itertools.pairwise(part))


def test_a_closed_loop_goes_round_from_the_offset_on() -> None:
    assert plan_closed_loop(8, 6, 2, 5) == [[5, 6, 7, 0, 1, 2], [1, 2, 3, 4, 5, 6]]
    assert plan_closed_loop(8, 6, 2, 0) == [[0, 1, 2, 3, 4, 5], [4, 5, 6, 7, 0, 1]]
    assert plan_closed_loop(8, 8, 2, 5) == [[0, 1, 2, 3, 4, 5, 6, 7]]
    with pytest.raises(ValueError, match="windows"):
        plan_closed_loop(8, 4, 4, 0)


class Toy:
    """A "denoiser" whose prediction depends on all frames of the window, the place in the clip and the step."""

    def __init__(self, frames: int, steps: int) -> None:
        self.noise = torch.randn(frames, 2, 3, 3, generator=torch.Generator().manual_seed(0))
        self.steps = steps
        self.started = 0

    def start(self, frames: range) -> Tensor:
        self.started = frames.stop
        return self.noise[frames.start : frames.stop]

    def predict(self, latents: Tensor, frames: Sequence[int], step: int) -> Tensor:
        place = torch.tensor(list(frames))[:, None, None, None]
        return torch.tanh(latents + latents.mean(0, keepdim=True) * (step + 1) + place / 10)

    def advance(self, latents: Tensor, prediction: Tensor, frames: range, step: int) -> Tensor:
        return latents - prediction / (step + 2)

    def sweep(self, windows: list[range]) -> Tensor:
        """The plain schedule: every window at one step before any window at the next."""
        latents = self.noise.clone()
        for step in range(self.steps):
            total, votes = torch.zeros_like(latents), torch.zeros(len(latents), 1, 1, 1)
            for part in windows:
                total[part.start : part.stop] += self.predict(latents[part.start : part.stop], part, step)
                votes[part.start : part.stop] += 1
            latents = self.advance(latents, total / votes, range(len(latents)), step)
        return latents


@pytest.mark.parametrize(("frames", "window", "overlap"), SHAPES)
@pytest.mark.parametrize("steps", [1, 4])
def test_wavefront_equals_the_plain_schedule(frames: int, window: int, overlap: int, steps: int) -> None:
    toy = Toy(frames, steps)
    windows = plan_windows(frames, window, overlap)
    streamed = torch.cat(list(Wavefront(windows, steps, toy.start, toy.predict, toy.advance)))
    torch.testing.assert_close(streamed, toy.sweep(windows))


def test_a_closed_loop_averages_all_windows_of_a_frame_at_each_step() -> None:
    toy = Toy(20, 3)
    offsets = [0, 5, 17]
    looped = closed_loop(20, 8, 3, offsets, toy.start, toy.predict, toy.advance)
    latents = toy.noise.clone()
    for step, offset in enumerate(offsets):
        votes: dict[int, list[Tensor]] = {frame: [] for frame in range(20)}
        for part in plan_closed_loop(20, 8, 3, offset):
            for frame, vote in zip(part, toy.predict(latents[part], part, step), strict=True):
                votes[frame].append(vote)
        mean = torch.stack([torch.stack(votes[frame]).mean(0) for frame in range(20)])
        latents = toy.advance(latents, mean, range(20), step)
    torch.testing.assert_close(looped, latents)
    assert not torch.allclose(looped, closed_loop(20, 8, 3, [0, 0, 0], toy.start, toy.predict, toy.advance))


def most_alive(frames: int, steps: int = 5, window: int = 8) -> int:
    toy = Toy(frames, steps)
    done = most = 0
    for latents in Wavefront(plan_windows(frames, window, 2), steps, toy.start, toy.predict, toy.advance):
        most = max(most, toy.started - done)
        done += len(latents)
    assert done == frames
    return most


def test_frames_alive_do_not_grow_with_the_clip() -> None:
    assert most_alive(100) == most_alive(600)
    assert most_alive(600) <= (5 + 1) * 8


def test_every_window_predicts_once_at_every_step() -> None:
    toy = Toy(50, 3)
    seen: list[tuple[int, int]] = []

    def predict(latents: Tensor, frames: range, step: int) -> Tensor:
        seen.append((frames.start, step))
        return toy.predict(latents, frames, step)

    windows = plan_windows(50, 8, 2)
    list(Wavefront(windows, 3, toy.start, predict, toy.advance))
    assert sorted(seen) == sorted(itertools.product([part.start for part in windows], range(3)))


@pytest.mark.parametrize("pieces", [[4, 20, 20, 1], [1], [8, 8], [3, 5, 9]])
def test_regrouping_keeps_frames_and_order(pieces: list[int]) -> None:
    frames = torch.arange(sum(pieces))
    groups = list(regroup(iter(frames.split(pieces)), 8))
    assert torch.equal(torch.cat(groups), frames)
    assert all(len(group) == 8 for group in groups[:-1])
    assert 1 <= len(groups[-1]) <= 8


def test_a_frames_noise_depends_on_nothing_but_the_seed() -> None:
    whole = FrameNoise(3, (2, 5, 7))(range(12))
    pieces = FrameNoise(3, (2, 5, 7))
    assert torch.equal(torch.cat([pieces(range(5)), pieces(range(5, 9))]), whole[:9])
    assert not torch.equal(FrameNoise(4, (2, 5, 7))(range(12)), whole)
    with pytest.raises(ValueError, match="frame 9"):
        pieces(range(10, 11))
