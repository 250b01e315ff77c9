"""Fine motion: what is fitted, what is drawn, and where it goes on from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motion_gpt.autoregression import Autoregression
from motion_gpt.models.detail import DetailStream, MotionDetail
from motion_gpt.settings import item_generator
from motion_tokenizer.features import FEATURES

K = 3
HIDDEN = Autoregression(
    first=torch.diag(torch.tensor([0.9, 0.5, -0.4], dtype=torch.float64)),
    second=torch.diag(torch.tensor([-0.3, 0.2, 0.1], dtype=torch.float64)),
    constant=torch.zeros(K, dtype=torch.float64),
    noise=torch.diag(torch.tensor([1.0, 0.5, 0.25], dtype=torch.float64)),
)


def fine_motion(frames: int, seed: int) -> Tensor:
    """A known recursion on three directions of the 515."""
    random = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(FEATURES, K, generator=torch.Generator().manual_seed(0)).double()).Q
    rows = [torch.zeros(K, dtype=torch.float64)] * 2
    for _ in range(frames):
        rows.append(HIDDEN.next(rows[-2], rows[-1], random))
    return (torch.stack(rows[2:]) @ axes.T).float()


@pytest.fixture(scope="module")
def detail() -> MotionDetail:
    detail = MotionDetail(K)
    fit(detail, [fine_motion(2000, seed) for seed in range(3)])
    return detail


def fit(detail: MotionDetail, left_out: list[Tensor]) -> None:
    """Beside decoded motion that says nothing of when it is large."""
    detail.fit(left_out, [fine_motion(len(clip), 100 + number) for number, clip in enumerate(left_out)])


def draw(stream: DetailStream, frames: int) -> Tensor:
    """What is drawn for decoded motion of the usual speed."""
    return stream.draw(fine_motion(frames, 50))


def lag(motion: Tensor) -> Tensor:
    """Trace of the covariance of neighbouring frames over that of frames."""
    motion = motion - motion.mean(dim=0)
    return (motion[1:] * motion[:-1]).sum() / motion.square().sum()


def test_what_is_drawn_is_like_what_was_fitted(detail: MotionDetail) -> None:
    real = fine_motion(4000, 9)
    drawn = draw(detail.stream(None, None, item_generator(1), 1.0), 4000)
    assert quickness(drawn) / quickness(real) == pytest.approx(1, abs=0.2)
    # less a part of what is slow in it
    assert float(lag(drawn.diff(dim=0))) == pytest.approx(float(lag(real.diff(dim=0))), abs=0.1)
    # and in the same directions
    covariance, other = real.T @ real, drawn.T @ drawn
    assert float((covariance * other).sum() / (covariance.norm() * other.norm())) > 0.97


def test_bits_do_not_depend_on_the_pieces(detail: MotionDetail) -> None:
    whole = draw(detail.stream(None, None, item_generator(3), 0.7), 25)
    stream = detail.stream(None, None, item_generator(3), 0.7)
    assert torch.equal(torch.cat([stream.draw(part) for part in fine_motion(25, 50).split([0, 4, 1, 20])]), whole)
    assert not torch.equal(draw(detail.stream(None, None, item_generator(4), 0.7), 25), whole)


def test_it_goes_on_from_what_was_left_out_and_fades_without_noise(detail: MotionDetail) -> None:
    left_out = fine_motion(2000, 5)
    before = left_out[-2:]
    stream = detail.stream(2 * left_out, left_out, item_generator(0), 0.0)
    torch.testing.assert_close(stream.before, before, atol=5e-2, rtol=0)
    drawn = draw(stream, 100)
    # The recursion that made the two frames says what follows them.
    axes = torch.linalg.qr(torch.randn(FEATURES, K, generator=torch.Generator().manual_seed(0)).double()).Q
    older, newer = before.double() @ axes
    expected = newer @ HIDDEN.first + older @ HIDDEN.second
    torch.testing.assert_close(drawn[0].double() @ axes, expected, atol=0.1, rtol=0.1)
    assert float(drawn[-1].norm()) < 0.05 * float(before.norm())


def test_what_a_clip_always_leaves_out_is_held() -> None:
    detail = MotionDetail(K)
    own = torch.linspace(-3, 3, FEATURES)
    clips = [fine_motion(400, seed) + (-1) ** seed * own for seed in range(6)]
    fit(detail, clips)
    # Such a mean is known after few frames, and nothing is known where no clip differs from another.
    assert 0 < float(detail.doubt[0]) < 10
    drawn = draw(detail.stream(clips[0][:200], torch.zeros(200, FEATURES), item_generator(0), 1.0), 2000)
    torch.testing.assert_close(drawn.mean(dim=0), own, atol=0.3, rtol=0)
    quiet = MotionDetail(K)
    fit(quiet, [fine_motion(400, seed) for seed in range(6)])
    assert float(quiet.doubt[0]) > 100


def quickness(motion: Tensor) -> float:
    return float(motion.diff(dim=0).square().mean())


@pytest.mark.parametrize("size", [0.2, 3.0])
def test_with_the_decoded_motion_it_is_as_quick_as_the_driving(detail: MotionDetail, size: float) -> None:
    decoded, left_out = fine_motion(200, 6), size * fine_motion(200, 7)
    driving = decoded + left_out
    drawn = draw(detail.stream(driving, decoded, item_generator(0), 1.0), 2000)
    assert quickness(drawn) == pytest.approx(quickness(driving) - quickness(decoded), rel=0.25)


def test_nothing_is_drawn_where_decoded_motion_is_quicker_than_the_driving(detail: MotionDetail) -> None:
    decoded = fine_motion(200, 6)
    drawn = draw(detail.stream(0.1 * decoded, decoded, item_generator(0), 1.0), 500)
    assert quickness(drawn[100:]) < 1e-3 * quickness(decoded)


def test_what_goes_on_from_a_still_driving_is_still(detail: MotionDetail) -> None:
    decoded, following = fine_motion(200, 6), fine_motion(300, 8)
    still = 0.1 * decoded
    still[50:55] += 0.1  # a blink
    after = detail.stream(still, decoded, item_generator(0), 1.0).add(following)
    assert quickness(after[:20]) < 0.2 * quickness(following[:20])
    assert quickness(after[250:]) > 0.5 * quickness(following[250:]), "stillness is forgotten"
    lively = detail.stream(2 * decoded, decoded, item_generator(0), 1.0)
    drawn = detail.stream(2 * decoded, decoded, item_generator(0), 1.0).draw(following)
    # But for pauses; where there is none and nothing is to be caught up, it is the sum.
    rest = (lively.add(following) - following - drawn).abs().amax(dim=1)
    assert float((rest < 1e-5).float().mean()) > 0.3
    assert float(rest.median()) < 0.05 * float(following.abs().amax())


def test_the_liveliest_clips_do_not_say_how_others_tremble() -> None:
    alone, beside = MotionDetail(K), MotionDetail(K)
    clips = [fine_motion(400, seed) for seed in range(5)]
    fit(alone, clips)
    fit(beside, [*clips[:4], 10 * clips[4]])
    assert float(beside.pace.sum() * beside.scale.square().mean()) == pytest.approx(
        float(alone.pace.sum() * alone.scale.square().mean()), rel=0.3
    )


def test_fresh_it_is_nothing() -> None:
    fresh = MotionDetail(K)
    ones, nothing = torch.ones(2, FEATURES), torch.zeros(2, FEATURES)
    assert float(draw(fresh.stream(ones, nothing, item_generator(0), 1.0), 5).abs().max()) < 1e-6
    assert not list(MotionDetail(0).state_dict())
