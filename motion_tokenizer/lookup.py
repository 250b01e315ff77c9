"""The nearest code of each vector, for whole corpora: no matrix of all distances, no one-hot vectors."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 256  # vectors whose distances to all codes are in memory, and in the processor's cache, at once


@torch.no_grad()
def nearest_codes(vectors: Tensor, codebook: Tensor, chunk: int = CHUNK) -> Tensor:
    """Find the code at the smallest Euclidean distance; of codes that are equally near, to rounding, any.

    |v - c|^2 = |v|^2 + 2 (|c|^2 / 2 - v c), and |v|^2 is the same for all codes: one matrix product that starts from
    the halved squared norms ranks them.

    Args:
        vectors: (..., d).
        codebook: (codes, d), on the same device and of the same dtype.
        chunk: vectors looked up at once; limits memory, and is fastest when the distances fit the cache.
    Returns:
        Indices, (...), int64.
    """
    flat = vectors.reshape(-1, vectors.shape[-1])
    half_norms = codebook.square().sum(dim=1) / 2
    transposed = codebook.T.contiguous()
    distances = flat.new_empty(min(chunk, len(flat)), len(codebook))
    indices = torch.empty(len(flat), dtype=torch.int64, device=flat.device)
    for first in range(0, len(flat), chunk):
        part = flat[first : first + chunk]
        buffer = distances[: len(part)]
        torch.addmm(half_norms, part, transposed, alpha=-1, out=buffer)
        torch.argmin(buffer, dim=1, out=indices[first : first + len(part)])
    return indices.view(vectors.shape[:-1])


@torch.no_grad()
def kmeans(pool: Tensor, clusters: int, generator: torch.Generator, iterations: int = 10) -> tuple[Tensor, Tensor]:
    """Cluster vectors by Lloyd's algorithm, from a random draw of them; an empty cluster is drawn anew.

    Args:
        pool: (N, d).
        clusters: how many.
        generator: of the draws, on the CPU.
        iterations: rounds of assignment and averaging.
    Returns:
        Centres, (clusters, d), and the number of vectors nearest to each, (clusters,), of the pool's dtype.
    Raises:
        ValueError: fewer vectors than clusters: some would be duplicates that never part again.
    """
    if len(pool) < clusters:
        raise ValueError(f"k-means of {clusters} codes needs at least as many vectors, got {len(pool)}")
    centres = pool[_draw(len(pool), clusters, generator, pool.device)].clone()
    for _ in range(iterations):
        counts = _counts(nearest := nearest_codes(pool, centres), clusters)
        sums = torch.zeros_like(centres).index_add_(0, nearest, pool)
        empty = counts == 0
        centres = sums / counts.clamp(min=1)[:, None].to(pool.dtype)
        centres[empty] = pool[_draw(len(pool), int(empty.sum()), generator, pool.device)]
    return centres, _counts(nearest_codes(pool, centres), clusters).to(pool.dtype)


def _draw(total: int, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Draw `count` different numbers below `total`."""
    return torch.randperm(total, generator=generator)[:count].to(device)


def _counts(indices: Tensor, clusters: int) -> Tensor:
    return torch.bincount(indices, minlength=clusters)
