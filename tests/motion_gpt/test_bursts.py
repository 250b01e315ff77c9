"""When fine motion is large: what is fitted to clips, and what is drawn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from motion_gpt.models.bursts import Bursts
from motion_gpt.settings import item_generator

K = 16
EXPONENT, LASTING, PASSING, MEMORY = 1.2, 0.3, 0.4, 0.93


def walk(frames: int, seed: int) -> Tensor:
    """Decoded motion (frames, K) that is now quick and now slow, for half a second each."""
    random = torch.Generator().manual_seed(seed)
    pace = torch.randn(frames // 12 + 1, generator=random, dtype=torch.float64).exp().repeat_interleave(12)[:frames]
    return (pace[:, None] * torch.randn(frames, K, generator=random, dtype=torch.float64)).cumsum(dim=0)


def energies(decoded: Tensor, seed: int) -> Tensor:
    """Mean squares of Gaussian noise whose size follows the model, one for each frame but two."""
    random = torch.Generator().manual_seed(seed)
    speeds = decoded.diff(dim=0).norm(dim=1)
    smooth, lasts, found = speeds[0], 0.0, []
    for speed in speeds:
        smooth = smooth + 0.5 * (speed - smooth)
        draws = torch.randn(2, generator=random).tolist()
        lasts = MEMORY * lasts + math.sqrt((1 - MEMORY**2) * LASTING) * draws[0]
        size = EXPONENT * math.log(float(smooth)) + lasts + math.sqrt(PASSING) * draws[1]
        found.append(math.exp(size) * torch.randn(K, generator=random).square().mean())
    return torch.stack(found)[1:].double()


@pytest.fixture(scope="module")
def bursts() -> Bursts:
    clips = [walk(1500, seed) for seed in range(6)]
    bursts = Bursts()
    bursts.fit(clips, [energies(clip, 50 + seed) for seed, clip in enumerate(clips)])
    return bursts


def test_what_made_the_clips_is_found(bursts: Bursts) -> None:
    assert float(bursts.exponent) == pytest.approx(EXPONENT, rel=0.1)
    assert float(bursts.lasting) == pytest.approx(LASTING, rel=0.35)
    assert float(bursts.passing) == pytest.approx(PASSING, rel=0.25)


def test_sizes_are_one_in_the_mean_square_and_larger_where_decoded_motion_is_quick(bursts: Bursts) -> None:
    decoded = walk(6000, 90)
    stream = bursts.stream(decoded[:3000], item_generator(0))
    squares = torch.tensor([stream.next(frame) for frame in decoded[3000:]], dtype=torch.float64).square()
    speeds = decoded[2999:].diff(dim=0).norm(dim=1)
    assert float(squares.mean()) == pytest.approx(1, rel=0.35)
    quick = speeds > speeds.median()
    assert float(squares[quick].median() / squares[~quick].median()) > 2


def test_fresh_or_fitted_to_constant_motion_every_frame_is_like_the_others() -> None:
    still = Bursts()
    still.fit([torch.zeros(50, K)], [torch.ones(48)])
    short = Bursts()
    short.fit([torch.zeros(6, K)], [torch.ones(4)])
    for bursts in (Bursts(), still, short):
        for before in (None, torch.zeros(10, K)):
            stream = bursts.stream(before, item_generator(0))
            assert [stream.next(frame) for frame in torch.zeros(5, K)] == pytest.approx([1.0] * 5)
