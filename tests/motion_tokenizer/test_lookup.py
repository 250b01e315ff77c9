"""The lookup for corpora finds what the library finds; k-means gives every code its own place."""

from __future__ import annotations

import pytest
import torch
from vector_quantize_pytorch import VectorQuantize

from motion_tokenizer.lookup import kmeans, nearest_codes


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_indices_equal_the_librarys() -> None:
    library = VectorQuantize(dim=8, codebook_size=4096, rotation_trick=False).eval()
    library.codebook = random(4096, 8)
    vectors = random(2, 700, 8, seed=1)
    assert torch.equal(nearest_codes(vectors, library.codebook), library(vectors)[1])


@pytest.mark.parametrize("chunk", [1, 7, 256, 1000])
def test_chunks_do_not_matter(chunk: int) -> None:
    codebook, vectors = random(50, 8), random(3, 33, 8, seed=1)
    expected = torch.cdist(vectors, codebook).argmin(dim=-1)
    assert torch.equal(nearest_codes(vectors, codebook, chunk), expected)
    assert nearest_codes(vectors[:, :0], codebook).shape == (3, 0)


def test_large_offsets_do_not_mislead() -> None:
    codebook = 100 + random(50, 8)
    vectors = codebook[:20] + 0.05 * random(20, 8, seed=1)
    assert torch.equal(nearest_codes(vectors, codebook), torch.arange(20))


def test_kmeans_finds_clusters() -> None:
    centres = 10 * random(20, 8)
    pool = centres.repeat_interleave(50, dim=0) + 0.1 * random(1000, 8, seed=1)
    found, counts = kmeans(pool, 60, torch.Generator().manual_seed(0), iterations=15)
    assert counts.sum() == 1000
    assert (torch.cdist(centres, found).amin(dim=1) < 0.5).all()
    assert (pool - found[nearest_codes(pool, found)]).norm(dim=1).mean() < 0.3
    assert len(found.unique(dim=0)) == 60


def test_kmeans_depends_on_the_generator_alone_and_refuses_too_few() -> None:
    pool = random(300, 8)
    first, again = (kmeans(pool, 64, torch.Generator().manual_seed(3))[0] for _ in range(2))
    assert torch.equal(first, again)
    with pytest.raises(ValueError, match="k-means of 301 codes needs at least as many vectors, got 300"):
        kmeans(pool, 301, torch.Generator())
