"""How near motion that went through a tokenizer is to what it was.

Clips are features (T, 515): latents and (dx, dy, log size). "Normalised" figures are in standard deviations of the
training split, every dimension alike; "raw" ones in the units of the latents, and of the f_rts triplet (its size, not
the logarithm of it). Sums run over all frames of all clips and over all dimensions of the part in question:

    mse                  sum |ours - true|^2 / (frames x dimensions)
    r2                   1 - sum |ours - true|^2 / sum |true - mean of all frames|^2
    r2_within_clips      1 - sum |ours - true|^2 / sum |true - mean of its clip|^2: movement alone, as whose face it is
                         and how it is held shift the mean of a clip
    velocity_nmse        sum |ours' - true'|^2 / sum |true'|^2, x' the difference of neighbouring frames; a still
                         picture has 1
    acceleration_nmse    the same of second differences
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from motion_tokenizer.features import BOXES, LATENTS, from_features

UNLABELLED = "unlabelled"
QUANTILES = (0.05, 0.5, 0.95)

Figures = dict[str, float]


def errors(true: Sequence[Tensor], ours: Sequence[Tensor]) -> Figures:
    """The figures of the module's text for clips (T, D) and what was made of them."""
    pairs = [(a.double(), b.double()) for a, b in zip(true, ours, strict=True)]
    centre = torch.cat([a for a, _ in pairs]).mean(dim=0)
    wrong = sum(float((b - a).square().sum()) for a, b in pairs)
    spread = sum(float((a - centre).square().sum()) for a, _ in pairs)
    within = sum(float((a - a.mean(dim=0)).square().sum()) for a, _ in pairs)
    return {
        "mse": wrong / sum(a.numel() for a, _ in pairs),
        "r2": 1 - _ratio(wrong, spread),
        "r2_within_clips": 1 - _ratio(wrong, within),
        "velocity_nmse": _change_error(pairs, 1),
        "acceleration_nmse": _change_error(pairs, 2),
    }


def reconstruction_report(
    true: Sequence[Tensor], ours: Sequence[Tensor], mean: Tensor, deviation: Tensor, emotions: Sequence[str | None]
) -> dict[str, object]:
    """Everything that is said about the reconstruction of a set of clips.

    Args:
        true, ours: features of each clip, (T, 515).
        mean, deviation: of the training split, (515,); dimensions that do not vary there are left out.
        emotions: the clips' labels.
    """
    moving = deviation > 0
    scale = torch.where(moving, deviation, 1)
    a, b = ([(clip - mean) / scale * moving for clip in clips] for clips in (true, ours))
    raw_true, raw_ours = ([from_features(clip) for clip in clips] for clips in (true, ours))
    return {
        "normalised": {
            "all": errors(a, b),
            "latents": errors([x[:, LATENTS] for x in a], [x[:, LATENTS] for x in b]),
            "boxes": errors([x[:, BOXES] for x in a], [x[:, BOXES] for x in b]),
        },
        "raw": {
            "latents": errors([x for x, _ in raw_true], [x for x, _ in raw_ours]),
            "boxes": errors([x for _, x in raw_true], [x for _, x in raw_ours]),
        },
        "r2_of_dimensions": _quantiles(a, b),
        "r2_by_emotion": _by_emotion(a, b, emotions),
    }


def _change_error(pairs: Sequence[tuple[Tensor, Tensor]], order: int) -> float:
    changes = [(a.diff(n=order, dim=0), b.diff(n=order, dim=0)) for a, b in pairs]
    wrong = sum(float((b - a).square().sum()) for a, b in changes)
    return _ratio(wrong, sum(float(a.square().sum()) for a, _ in changes))


def _quantiles(true: Sequence[Tensor], ours: Sequence[Tensor]) -> Figures:
    """R2 of the worst twentieth, the middle and the best twentieth of all dimensions."""
    a, b = torch.cat(list(true)).double(), torch.cat(list(ours)).double()
    spread = (a - a.mean(dim=0)).square().sum(dim=0)
    each = (1 - (b - a).square().sum(dim=0) / spread)[spread > 0]
    wanted = torch.tensor(QUANTILES, dtype=torch.float64)
    return {f"{q:g}": float(v) for q, v in zip(QUANTILES, each.quantile(wanted), strict=True)} if len(each) else {}


def _by_emotion(
    true: Sequence[Tensor], ours: Sequence[Tensor], emotions: Sequence[str | None]
) -> dict[str, dict[str, float]]:
    """R2 of the clips of each emotion, all about the one mean of all clips, so that the denominators compare."""
    centre = torch.cat(list(true)).mean(dim=0)
    table = {}
    for emotion in sorted({emotion or UNLABELLED for emotion in emotions}):
        chosen = [n for n, label in enumerate(emotions) if (label or UNLABELLED) == emotion]
        wrong = sum(float((ours[n] - true[n]).double().square().sum()) for n in chosen)
        spread = sum(float((true[n] - centre).double().square().sum()) for n in chosen)
        within = sum(float((true[n] - true[n].mean(dim=0)).double().square().sum()) for n in chosen)
        table[emotion] = {
            "clips": len(chosen),
            "frames": sum(len(true[n]) for n in chosen),
            "r2": 1 - _ratio(wrong, spread),
            "r2_within_clips": 1 - _ratio(wrong, within),
        }
    return table


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")
