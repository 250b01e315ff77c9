"""Distances of sets of motion, against values worked out another way."""

from __future__ import annotations

import math

import pytest
import torch

from motion_gpt.evaluation.distances import (
    diversity,
    frechet,
    halves,
    kernel_distance,
    median_distance,
    multimodality,
    shrunk_covariance,
)


def normal(n: int, d: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    return shift + scale * torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_frechet_of_axis_aligned_gaussians_is_the_closed_form() -> None:
    a, b = normal(40000, 3, 0), normal(40000, 3, 1, scale=2.0, shift=1.0)
    # |shift|^2 + sum (1 - 2)^2
    assert frechet(a, b) == pytest.approx(3 + 3, rel=0.03)
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)


def test_frechet_knows_that_rotated_covariances_differ() -> None:
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    a = normal(40000, 2, 0) * torch.tensor([3.0, 1.0])
    root = torch.diag(torch.tensor([9.0, 1.0])).double()
    other = turn.double() @ root @ turn.double().T
    values = torch.linalg.eigvals(root @ other).real.sqrt()
    assert frechet(a, a @ turn.T) == pytest.approx(float(20 - 2 * values.sum()), rel=0.05)


def test_few_samples_in_many_dimensions_have_a_sane_distance() -> None:
    assert 0 < frechet(normal(20, 48, 0), normal(20, 48, 1)) < 48
    shrunk = shrunk_covariance(normal(20, 48, 2))
    values = torch.linalg.eigvalsh(shrunk)
    assert float(values.min()) > 0.2
    assert float(shrunk_covariance(normal(50000, 3, 3)).diagonal().mean()) == pytest.approx(1, abs=0.03)


def test_the_kernel_distance_is_zero_on_average_for_equal_sets_and_positive_for_others() -> None:
    width = median_distance(normal(200, 5, 0))
    same = [kernel_distance(normal(40, 5, 2 * n), normal(40, 5, 2 * n + 1), width) for n in range(40)]
    assert abs(sum(same) / len(same)) < 0.005
    assert min(same) < 0 < max(same)
    assert kernel_distance(normal(40, 5, 0), normal(40, 5, 1, shift=1.0), width) > 0.05


def test_diversity_and_multimodality_are_mean_distances() -> None:
    assert diversity(torch.tensor([[0.0, 0.0], [3.0, 4.0]])) == pytest.approx(5)
    assert diversity(torch.zeros(1, 2)) == 0
    samples = torch.tensor([[[0.0], [2.0]], [[5.0], [5.0]]])
    assert multimodality(samples) == pytest.approx(1)


def test_halves_show_the_same_people_at_other_times() -> None:
    clips = [0] * 6 + [1] * 4 + [2] + [3] * 3
    for a, b in halves(clips, 20, seed=0):
        assert len(a) == len(b) >= 5
        assert not set(a.tolist()) & set(b.tolist())
        for clip, first, last in ((0, 0, 5), (1, 6, 9)):
            sides = [[n for n in side.tolist() if first <= n <= last] for side in (a, b)]
            if all(sides):
                assert max(sides[0]) < min(sides[1]) or max(sides[1]) < min(sides[0]), clip
    again = [a.tolist() for a, _ in halves(clips, 3, seed=0)]
    assert again == [a.tolist() for a, _ in halves(clips, 3, seed=0)]
    assert again != [a.tolist() for a, _ in halves(clips, 3, seed=1)]


def test_the_kernels_width_is_the_median_of_the_distances() -> None:
    assert median_distance(torch.tensor([[0.0], [1.0], [3.0]])) == pytest.approx(2)
    assert math.isfinite(median_distance(torch.zeros(3, 2)))
