"""How the codebook is used, counted over many tokens at once (a single batch understates it)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

TOP = 10  # codes whose share of all tokens is told
ENOUGH = 100  # tokens a code from which on a share of used codes means something
_DRAWS = 20


def usage_report(clips: Sequence[Tensor], codes: int) -> dict[str, float | None]:
    """What N tokens of one codebook say about its K codes.

    Args:
        clips: tokens of each clip in order, (n,), int64; one level.
        codes: K.
    Returns:
        tokens: N.
        tokens_per_code: N / K.
        used: codes that occur.
        used_if_uniform: how many would, on average, if every token were drawn at random: K (1 - (1 - 1/K)^N).
        used_over_uniform: used / used_if_uniform.
        used_share: used / K; None below 100 tokens a code, where even uniform use would not reach 1.
        perplexity: 2 ** entropy of the codes' shares; K if all occur as often.
        perplexity_over_codes: perplexity / K.
        perplexity_if_uniform: mean over 20 draws of N uniform tokens; the most that N tokens let one expect.
        top_10_mass: share of the tokens that the 10 commonest codes take.
        gini: 0 if all K codes occur as often, towards 1 if a few take all.
        self_transition_rate: share of tokens that equal the one before.
        unigram_entropy: bits a token, from the codes' shares.
        bigram_entropy: bits a token, given the one before; both entropies come out too small where N is small.
    """
    tokens = torch.cat(list(clips))
    counts = torch.bincount(tokens, minlength=codes)
    total, used = len(tokens), int((counts > 0).sum())
    uniform_used = expected_used(codes, total)
    entropy = _entropy(counts)
    return {
        "tokens": total,
        "tokens_per_code": total / codes,
        "used": used,
        "used_if_uniform": uniform_used,
        "used_over_uniform": used / uniform_used,
        "used_share": used / codes if total >= ENOUGH * codes else None,
        "perplexity": 2**entropy,
        "perplexity_over_codes": 2**entropy / codes,
        "perplexity_if_uniform": _uniform_perplexity(codes, total),
        "top_10_mass": float(counts.topk(min(TOP, codes)).values.sum()) / total,
        "gini": _gini(counts),
        "self_transition_rate": _self_transitions(clips),
        "unigram_entropy": entropy,
        "bigram_entropy": _bigram_entropy(clips, codes),
    }


def expected_used(codes: int, tokens: int) -> float:
    """How many of K codes N uniform draws hit, on average: K (1 - (1 - 1/K)^N)."""
    return codes * -math.expm1(tokens * math.log1p(-1 / codes))


def perplexity(tokens: Tensor, codes: int) -> float:
    """2 ** entropy of the codes' shares among tokens of any shape."""
    return 2 ** _entropy(torch.bincount(tokens.flatten(), minlength=codes))


def _entropy(counts: Tensor) -> float:
    share = counts[counts > 0].double() / counts.sum()
    return float(-(share * share.log2()).sum())


def _uniform_perplexity(codes: int, tokens: int) -> float:
    generator = torch.Generator().manual_seed(0)
    draws = (torch.randint(codes, (tokens,), generator=generator) for _ in range(_DRAWS))
    return sum(perplexity(draw, codes) for draw in draws) / _DRAWS


def _gini(counts: Tensor) -> float:
    ordered = counts.double().sort().values
    rank = torch.arange(1, len(ordered) + 1, dtype=torch.float64)
    return float((2 * (rank * ordered).sum() / ordered.sum() - len(ordered) - 1) / len(ordered))


def _self_transitions(clips: Sequence[Tensor]) -> float:
    pairs = sum(max(0, len(clip) - 1) for clip in clips)
    same = sum(int((clip[1:] == clip[:-1]).sum()) for clip in clips)
    return same / pairs if pairs else float("nan")


def _bigram_entropy(clips: Sequence[Tensor], codes: int) -> float:
    """H(previous, next) - H(previous) over the pairs that there are."""
    before = torch.cat([clip[:-1] for clip in clips])
    if not len(before):
        return float("nan")
    joint = before * codes + torch.cat([clip[1:] for clip in clips])
    together = _entropy(joint.unique(return_counts=True)[1])
    return together - _entropy(torch.bincount(before, minlength=codes))
