"""How far two sets of motion are from each other, and how far apart the members of one are.

Sets are features of stretches, (N, D), see `motion_gpt.evaluation.features`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def frechet(a: Tensor, b: Tensor) -> float:
    """Frechet distance of two Gaussians: |mu_a - mu_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2).

    A and B are covariances shrunk as Ledoit and Wolf (2004) do, because N is small beside D. It depends on N: compare
    figures of equal N alone.
    """
    mean_a, cov_a = a.double().mean(dim=0), shrunk_covariance(a)
    mean_b, cov_b = b.double().mean(dim=0), shrunk_covariance(b)
    root_a = _root(cov_a)
    middle = _root(root_a @ cov_b @ root_a)
    return float((mean_a - mean_b).square().sum() + torch.trace(cov_a + cov_b - 2 * middle))


def shrunk_covariance(x: Tensor) -> Tensor:
    """Covariance (D, D) of (N, D), pulled towards a multiple of the identity as far as N is too small for it."""
    centred = x.double() - x.double().mean(dim=0)
    n, d = centred.shape
    sample = centred.T @ centred / n
    target = torch.trace(sample) / d * torch.eye(d, dtype=torch.float64)
    distance = (sample - target).square().sum()
    # The sampling error of `sample`, from the fourth moments.
    spread = (centred.square().sum(dim=1).square().sum() / n - sample.square().sum()) / n
    share = 1.0 if distance <= 0 else float((spread / distance).clamp(0, 1))
    return share * target + (1 - share) * sample


def kernel_distance(a: Tensor, b: Tensor, width: float) -> float:
    """Squared maximum mean discrepancy (Gretton et al. 2012), unbiased, Gaussian kernel.

    Args:
        a, b: (N, D) and (M, D), N and M at least 2.
        width: of the kernel, see `median_distance`.
    """

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (-torch.cdist(x.double(), y.double()).square() / (2 * width**2)).exp()

    within = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in (kernel(a, a), kernel(b, b))]
    return float(within[0] + within[1] - 2 * kernel(a, b).mean())


def median_distance(x: Tensor) -> float:
    """Median distance of two members of a set (N, D); what the kernel's width is taken from."""
    return max(float(torch.pdist(x.double()).median()), 1e-9)


def diversity(x: Tensor) -> float:
    """Mean distance of two members of a set (N, D); 0 for a set of one."""
    return float(torch.pdist(x.double()).mean()) if len(x) > 1 else 0.0


def multimodality(samples: Tensor) -> float:
    """Mean distance of two continuations of one prefix; features (prefixes, samples, D)."""
    return sum(diversity(each) for each in samples) / len(samples)


def halves(clips: Sequence[int], splits: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Split stretches in two, so that both halves show the same people at other times.

    Of every clip one half of the stretches, the earlier or the later, goes to each side; which one is drawn. A clip
    with one stretch goes to either side.

    Args:
        clips: the clip of each stretch, in order of time.
        splits: how many ways.
        seed: of the draws.
    Yields:
        Numbers of the stretches of both sides, of equal count, each at least 2 where there are 4 stretches.
    """
    generator = torch.Generator().manual_seed(seed)
    of_clip = torch.tensor(list(clips))
    for _ in range(splits):
        sides: tuple[list[Tensor], list[Tensor]] = ([], [])
        for clip in of_clip.unique():
            numbers = (of_clip == clip).nonzero()[:, 0]
            parts = numbers.tensor_split(
                [len(numbers) // 2 + int(torch.randint(len(numbers) % 2 + 1, (), generator=generator))]
            )
            flip = int(torch.randint(2, (), generator=generator))
            sides[flip].append(parts[0])
            sides[1 - flip].append(parts[1])
        a, b = (torch.cat(side) for side in sides)
        count = min(len(a), len(b))
        yield tuple(side[torch.randperm(len(side), generator=generator)[:count]] for side in (a, b))  # type: ignore[misc]


def _root(matrix: Tensor) -> Tensor:
    """Square root of a symmetric matrix whose eigenvalues are at least 0 but for rounding."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
