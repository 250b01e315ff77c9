"""Training windows: drawn from seed and step alone, real motion, and what augmentation does to them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from motion_tokenizer.features import FEATURES, to_features
from motion_tokenizer.training.clips import FeatureClips
from motion_tokenizer.training.config import TokenizerAugmentConfig
from motion_tokenizer.training.windows import WindowBatch, WindowSampler
from tests.motion_tokenizer.synthetic import synthetic_motion


def clips(*lengths: int) -> FeatureClips:
    motions = [synthetic_motion(length, seed) for seed, length in enumerate(lengths)]
    return FeatureClips.of([to_features(motion.latents, motion.boxes) for motion in motions])


def ramps(*lengths: int) -> FeatureClips:
    """Clips in which every feature of frame t is 1000 times the clip's number plus t."""
    return FeatureClips.of(
        [(1000 * n + torch.arange(length).float())[:, None].expand(-1, FEATURES) for n, length in enumerate(lengths)]
    )


def sampler(
    source: FeatureClips, window: int = 8, batch: int = 64, balance: float = 0.0, **augment: float
) -> WindowSampler:
    return WindowSampler(source, window, batch, balance, TokenizerAugmentConfig(**augment), seed=3)  # type: ignore[arg-type]


def same(a: WindowBatch, b: WindowBatch) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("features", "noisy", "valid"))


def test_a_step_draws_the_same_windows_whatever_was_drawn_before() -> None:
    changes = {"speed": 0.2, "noise": 0.1, "mix": 0.5}
    running = sampler(clips(40, 50), **changes).stream()
    drawn = [next(running) for _ in range(4)]
    assert same(drawn[3], sampler(clips(40, 50), **changes).draw(3))
    assert same(drawn[2], next(sampler(clips(40, 50), **changes).stream(2)))
    assert not same(drawn[2], drawn[3])


def test_windows_are_runs_of_frames_from_anywhere_in_a_clip() -> None:
    batch = sampler(ramps(20, 30), batch=500).draw(0)
    value = batch.features[..., 0]
    assert torch.equal(value.diff(dim=1), torch.ones(500, 7))
    assert batch.valid.all()
    starts = set(value[:, 0].int().tolist())
    assert starts == {*range(13), *(1000 + n for n in range(23))}


def test_a_short_clip_runs_backwards_where_it_does_not_count() -> None:
    batch = sampler(ramps(5), batch=2).draw(0)
    assert batch.features[0, :, 7].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    assert batch.valid[0].tolist() == [True] * 5 + [False] * 3


@pytest.mark.parametrize(("balance", "share"), [(0.0, 0.75), (1.0, 0.5)])
def test_balance_goes_from_frames_to_identities(balance: float, share: float) -> None:
    batch = sampler(ramps(30, 90), batch=4000, balance=balance).draw(0)
    assert (batch.features[:, 0, 0] >= 1000).float().mean().item() == pytest.approx(share, abs=0.03)


def test_speed_stays_in_its_range_and_inside_the_clip() -> None:
    value = sampler(ramps(40), batch=500, speed=0.25).draw(0).features[..., 0]
    pace = value.diff(dim=1)
    assert pace.min() >= 1 / 1.25 - 1e-3 and pace.max() <= 1.25 + 1e-3
    assert pace.min() < 0.85 and pace.max() > 1.2
    assert value.min() >= 0 and value.max() <= 39


def test_noise_is_for_the_encoder_alone() -> None:
    source = clips(40, 50)
    clean, noisy = sampler(source).draw(1), sampler(source, noise=0.1).draw(1)
    assert torch.equal(clean.features, noisy.features)
    spread = (noisy.noisy - noisy.features).flatten(0, 1).std(dim=0)
    assert spread / source.statistics()[1] == pytest.approx(torch.full((FEATURES,), 0.1), rel=0.3)
    assert torch.equal(clean.noisy, clean.features)


def test_a_mixture_keeps_mean_and_variance() -> None:
    source = clips(*[60] * 40)
    mean, deviation = source.statistics()
    mixed = sampler(source, batch=2000, mix=1.0).draw(0).features

    def figures(features: Tensor) -> tuple[float, float]:
        z = ((features - mean) / deviation).flatten(0, 1)
        return float(z.mean(dim=0).abs().max()), float(z.var(dim=0).mean())

    offset, variance = figures(mixed)
    assert offset < 0.1 and variance == pytest.approx(1.0, abs=0.1)
    plain = sampler(source, batch=2000).draw(0).features
    assert not torch.allclose(mixed, plain)


def test_a_frame_of_a_mixture_counts_where_both_clips_have_one() -> None:
    batch = sampler(ramps(5, 30), batch=200, mix=1.0).draw(0)
    plain = sampler(ramps(5, 30), batch=200).draw(0)
    assert set(plain.valid.sum(dim=1).tolist()) == {5, 8}
    assert (batch.valid <= plain.valid).all() and batch.valid.sum() < plain.valid.sum()
