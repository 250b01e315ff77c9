"""Pauses: counted in the driving, drawn as often and as long, and caught up."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motion_gpt.models.pauses import Pauses, pauses_of


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def walk(resting: list[bool]) -> Tensor:
    """Frames of two features that go one step at a time, and a hundredth of it while they rest."""
    steps = torch.tensor([0.01 if rest else 1.0 for rest in resting])
    return torch.stack([steps.cumsum(0), torch.zeros(len(steps))], dim=1)


def test_pauses_are_counted_by_their_share_and_their_length() -> None:
    driving = walk([n % 10 in (3, 4, 5) for n in range(2001)])
    share, length = pauses_of(driving)
    assert share == pytest.approx(0.3, abs=0.01)
    assert length == pytest.approx(3, abs=0.05)
    # Without a driving, or with one that always moves, it is what clips have in general, or less.
    usual = pauses_of(None)
    assert 0 < usual[0] < 0.2 and 1 < usual[1] < 3
    assert pauses_of(walk([False] * 500))[0] < 0.1 * usual[0]
    # Nothing can be said of a head that never moved.
    assert pauses_of(torch.ones(50, 2))[0] < usual[0]


def test_what_is_drawn_pauses_as_the_driving_does() -> None:
    driving = walk([n % 10 in (3, 4, 5) for n in range(2001)])
    made = Pauses(driving, torch.zeros(2), seeded())(walk([False] * 20_000))
    share, length = pauses_of(made)
    assert share == pytest.approx(0.3, abs=0.03)
    assert length == pytest.approx(3, abs=0.3)
    # A tenth of the movement is kept in a pause, and the frames behind one catch up.
    speeds = made.diff(dim=0).norm(dim=1)
    assert float(speeds.min()) == pytest.approx(0.1, abs=1e-3)
    assert float(speeds.max()) < 0.5 * 0.9 * 40
    behind = (walk([False] * 20_000) - made).norm(dim=1)
    assert float(behind.median()) < 1 and float(behind.max()) < 0.9 * 40


def test_pieces_make_no_difference_and_another_seed_does() -> None:
    frames = torch.randn(60, 4, generator=seeded(3)).cumsum(0)
    driving = walk([n % 3 == 0 for n in range(300)])
    whole = Pauses(driving, frames[0], seeded())(frames)
    stream = Pauses(driving, frames[0], seeded())
    assert torch.equal(torch.cat([stream(piece) for piece in frames.split([1, 20, 0, 39])]), whole)
    assert not torch.equal(Pauses(driving, frames[0], seeded(1))(frames), whole)
    assert not torch.equal(whole, frames)
