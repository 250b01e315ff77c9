"""What a network of a few clips does not learn: that a person goes on with the movements that he or she made before.

A continuous cache (Grave et al. 2017, "Improving Neural Language Models with a Continuous Cache") over the given part
of a clip: a share of the probability goes to codes near those that occurred in it, wherever they occurred.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_WIDTH = 2 / 3  # of the Gaussian about a code, in units of the usual distance from a code to the one nearest to it
_DOUBT = 4  # tokens; a given part of so many gets half of the share
_CODES_AT_ONCE = 512


class Recall(nn.Module):
    """Where a tokenizer's codes lie. Fresh, or without dimensions, it knows nothing.

    Args:
        levels, codes, dimensions: of the tokenizer's codebooks.
    """

    places: Tensor

    def __init__(self, levels: int, codes: int, dimensions: int) -> None:
        super().__init__()
        self.dimensions = dimensions
        if dimensions:
            self.register_buffer("places", torch.zeros(levels, codes, dimensions))

    @torch.no_grad()
    def fit(self, codebooks: Tensor) -> None:
        """Take over codebooks, (levels, codes, dimensions)."""
        if self.dimensions:
            scales = [_usual_distance(codebook) for codebook in codebooks.float()]
            self.places.copy_(torch.stack([book / scale for book, scale in zip(codebooks, scales, strict=True)]))

    def near(self, tokens: Tensor) -> Tensor:
        """How probable each code is if one of these tokens, or one near it, comes again.

        Args:
            tokens: (n, levels), n at least 1.
        Returns:
            Probabilities, (levels, codes).
        """
        found = []
        for level, places in enumerate(self.places):
            # A clip of an hour has more tokens than there are codes: each code is looked at once, for all its times.
            codes, times = tokens[:, level].unique(return_counts=True)
            total = torch.zeros(len(places))
            for some, often in zip(codes.split(_CODES_AT_ONCE), times.split(_CODES_AT_ONCE), strict=True):
                weights = torch.exp(-0.5 * (torch.cdist(places[some], places) / _WIDTH).square())
                total += often.float() @ (weights / weights.sum(dim=1, keepdim=True))
            found.append(total / len(tokens))
        return torch.stack(found)


def trust(tokens: int) -> float:
    """What part of the share a given part of so many tokens gets, 0 to 1."""
    return tokens / (tokens + _DOUBT)


def _usual_distance(codebook: Tensor) -> Tensor:
    """Median over the codes (codes, d) of the distance to the nearest other one; 1 where all are the same."""
    nearest = torch.cat(
        [torch.cdist(part, codebook).topk(2, largest=False).values[:, 1] for part in codebook.split(_CODES_AT_ONCE)]
    )
    median = nearest.median()
    return median if median > 0 else torch.ones_like(median)
