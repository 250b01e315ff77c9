"""How motion moves: at the seam, when it stands still, when it repeats itself, and over a minute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from motion_gpt.evaluation.cases import Case, change_lengths
from motion_gpt.evaluation.distances import frechet
from motion_gpt.evaluation.features import StretchFeatures, stretches_of
from motion_gpt.seam import jerk, roughness, seam_roughness
from motion_tokenizer.features import LATENTS

GRAM = 8  # tokens whose return counts as a repetition
STILL = 0.25  # of the median velocity of real frames; slower is still
_PERCENTILE = 0.95


@dataclass(frozen=True, eq=False)
class SeamReference:
    """What real clips have in the place of a seam, at every frame, relative to the median of the clip.

    Attributes:
        jerk: mean jerk of the five frames t - 2 to t + 2 over the clip's median jerk.
        jump: length of the change of velocity at t over the clip's median.
    """

    jerk: Tensor
    jump: Tensor

    @staticmethod
    def of(clips: Sequence[Tensor]) -> SeamReference:
        """All frames of clips, (T, 515) each, of 8 frames or more."""
        long = [clip for clip in clips if len(clip) >= 8]
        jerks = [roughness(clip) / jerk(clip).median().clamp(min=1e-12) for clip in long]
        jumps = [(lengths := change_lengths(clip)) / lengths.median().clamp(min=1e-12) for clip in long]
        return SeamReference(torch.cat(jerks), torch.cat(jumps))

    def limits(self) -> tuple[float, float]:
        """The 95th percentiles of jerk and jump."""
        return float(self.jerk.quantile(_PERCENTILE)), float(self.jump.quantile(_PERCENTILE))


def seam_figures(cases: Sequence[Case], continued: Tensor, reference: SeamReference) -> dict[str, float]:
    """What happens at the seams.

    Args:
        cases: the prefixes.
        continued: a continuation of each, (cases, F, 515).
        reference: of real clips.
    Returns:
        seam_jerk, seam_jump: medians over the cases of what `SeamReference` describes; seam_jerk_high: share of seams
        above the 95th percentile of real clips, 0.05 where seams are like any other frame.
    """
    jerks, jumps = [], []
    for case, frames in zip(cases, continued, strict=True):
        joined = torch.cat([case.prefix, frames])
        t0 = len(case.prefix)
        jerks.append(float(seam_roughness(joined, t0)) / max(case.roughness, 1e-12))
        jumps.append(float(change_lengths(joined[t0 - 2 : t0 + 1])[0]) / max(case.change, 1e-12))
    limit, _ = reference.limits()
    ratios = torch.tensor(jerks)
    return {
        "seam_jerk": float(ratios.median()),
        "seam_jerk_high": float((ratios > limit).float().mean()),
        "seam_jump": float(torch.tensor(jumps).median()),
    }


def speeds(stretches: Tensor) -> Tensor:
    """Lengths of the frame-to-frame differences of the latents, (..., F, 515) to (..., F - 1)."""
    return stretches[..., LATENTS].diff(dim=-2).norm(dim=-1)


def longest_still(stretches: Tensor, limit: float, fps: float) -> float:
    """Mean over stretches (N, F, 515) of the longest run of frames slower than `limit`, in seconds."""
    longest = []
    for still in (speeds(stretches) < limit).tolist():
        run = best = 0
        for slow in still:
            run = run + 1 if slow else 0
            best = max(best, run)
        longest.append(best / fps)
    return sum(longest) / len(longest)


def self_transitions(tokens: Sequence[Tensor]) -> float:
    """Share of tokens, (n, levels) each clip, that equal the one before in all levels."""
    same = sum(int((clip[1:] == clip[:-1]).all(dim=1).sum()) for clip in tokens)
    return same / max(1, sum(len(clip) - 1 for clip in tokens))


def repeated_grams(tokens: Sequence[Tensor], length: int) -> float | None:
    """Share of runs of 8 tokens that have been there before, in pieces of `length` tokens.

    Args:
        tokens: (n, levels) of each clip; shorter ones are left out.
        length: of a piece, so that short and long clips compare.
    Returns:
        None where no clip is long enough.
    """
    repeated = total = 0
    for clip in tokens:
        for first in range(0, len(clip) - length + 1, length):
            piece = [tuple(token) for token in clip[first : first + length].tolist()]
            seen = set()
            for start in range(length - GRAM + 1):
                gram = tuple(piece[start : start + GRAM])
                repeated += gram in seen
                total += 1
                seen.add(gram)
    return repeated / total if total else None


def drift_figures(
    rollouts: Tensor, real: Sequence[Tensor], features: StretchFeatures, frames: int
) -> list[dict[str, float]]:
    """How rollouts change with time.

    Args:
        rollouts: (N, T, 515).
        real: held-out clips, (T_i, 515).
        features: of stretches of `frames` frames.
        frames: of a bin.
    Returns:
        For each bin: frechet, the distance from real stretches (to be read against the first bin and against other
        ways, for N is small); variance and speed, the means over those of real stretches: below 1 is freezing, above
        running away.
    """
    true = stretches_of(real, frames, frames // 2)
    true_features, true_speed, true_variance = features(true), float(speeds(true).mean()), _variance(true, features)
    figures = []
    for first in range(0, rollouts.shape[1] - frames + 1, frames):
        part = rollouts[:, first : first + frames]
        figures.append(
            {
                "frechet": frechet(true_features, features(part)),
                "variance": _variance(part, features) / max(true_variance, 1e-12),
                "speed": float(speeds(part).mean()) / max(true_speed, 1e-12),
            }
        )
    return figures


def _variance(stretches: Tensor, features: StretchFeatures) -> float:
    """Variance within a stretch, summed over the components, mean over the stretches."""
    return float(features.space.project(stretches).var(dim=-2).sum(dim=-1).mean())
