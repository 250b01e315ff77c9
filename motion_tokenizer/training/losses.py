"""Reconstruction losses of the tokenizer: values, velocities and, if wanted, accelerations of all dimensions.

T2M-GPT takes the smooth L1 of values, and half of that of joint velocities; here every dimension has its velocity.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from motion_tokenizer.features import BOXES, LATENTS
from motion_tokenizer.training.config import TokenizerLossConfig


def reconstruction_losses(ours: Tensor, true: Tensor, valid: Tensor, weights: TokenizerLossConfig) -> dict[str, Tensor]:
    """Weighted loss terms of normalised features.

    A term is the mean over the latent dimensions plus `weights.boxes` times the mean over the box dimensions.

    Args:
        ours, true: (B, W, 515), normalised.
        valid: frames that count, (B, W), bool; a difference counts if all of its frames do.
    """
    terms = {"value": _smooth_l1(ours, true, valid, weights.boxes)}
    for name, order, weight in (("velocity", 1, weights.velocity), ("acceleration", 2, weights.acceleration)):
        if weight and ours.shape[1] > order:
            inside = valid[:, order:] & valid[:, :-order]
            a, b = ours.diff(n=order, dim=1), true.diff(n=order, dim=1)
            terms[name] = weight * _smooth_l1(a, b, inside, weights.boxes)
    return terms


def _smooth_l1(ours: Tensor, true: Tensor, valid: Tensor, boxes: float) -> Tensor:
    each = F.smooth_l1_loss(ours, true, reduction="none")
    frame = each[..., LATENTS].mean(dim=-1) + boxes * each[..., BOXES].mean(dim=-1)
    # Not frame[valid], whose shape would change from step to step.
    return torch.where(valid, frame, 0).sum() / valid.sum().clamp(min=1)
