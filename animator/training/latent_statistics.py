"""What the motion latent f_mot is like in training: how many of its dimensions live, and whose face it knows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from animator.evaluation.probes import read_out
from animator.models.motion_encoder import MotionEncoder
from animator.training.augment import driving_crops
from animator.training.crops import FaceCrops

CLIPS, FRAMES = 24, 16  # at most so many clips, and frames of each
CHUNK = 32


@dataclass(frozen=True)
class LatentStatistics:
    """Of the latents of held-out people.

    Attributes:
        variance: of each dimension, (latent_dim,).
        effective_rank: how many dimensions share the variance, see `effective_rank`.
        leakage: how often a linear map of f_mot names the person in frames that it was not fitted to (the odd ones; it
            is fitted to the even ones); None with fewer than two people. The background and the light of a clip help
            it, so it is an upper bound.
        chance: the same by guessing; None with fewer than two people.
    """

    variance: Tensor
    effective_rank: float
    leakage: float | None
    chance: float | None

    def figures(self) -> dict[str, float]:
        """For the log, by name."""
        named = {
            "latent_variance": self.variance.mean().item(),
            "latent_variance_least": self.variance.min().item(),
            "latent_effective_rank": self.effective_rank,
            "identity_leakage": self.leakage,
            "identity_leakage_chance": self.chance,
        }
        return {name: value for name, value in named.items() if value is not None}


def effective_rank(latents: Tensor) -> float:
    """The exponential of the entropy of the covariance's normalised eigenvalues (Roy and Vetterli 2007).

    Args:
        latents: (N, D).
    Returns:
        1 where all variance lies along one line, D where every direction has as much; 0 without any variance.
    """
    centred = latents.double() - latents.double().mean(dim=0)
    powers = torch.linalg.svdvals(centred).square()
    if powers.sum() == 0:
        return 0.0
    share = powers / powers.sum()
    return float(torch.exp(torch.special.entr(share).sum()))


@torch.no_grad()
def latent_statistics(encoder: MotionEncoder, crops: FaceCrops, split: str) -> LatentStatistics:
    """Look at the latents of a split's plain face crops; the encoder is used as it stands."""
    clips = crops.clips_of(split)[:CLIPS]
    chosen = [crops.rows(clip)[:: max(1, len(crops.rows(clip)) // FRAMES)][:FRAMES] for clip in clips]
    rows = torch.tensor([row for picked in chosen for row in picked])
    side, latents = encoder.config.image_size, []
    for some in rows.split(CHUNK):
        cut = driving_crops(crops.images(some), crops.centre[some], crops.crop_side[some], side, None)
        latents.append(encoder.encode(cut.to(encoder.device)).float().cpu())
    found = torch.cat(latents)
    names = sorted({crops.clips[clip]["identity"] for clip in clips})
    people = np.array([names.index(crops.clips[int(crops.clip[row])]["identity"]) for row in rows.tolist()])
    leakage = chance = None
    if len(names) > 1:
        leakage = read_out(found.double().numpy(), people, np.arange(len(people)) % 2 == 0)
        chance = 1 / len(names)
    return LatentStatistics(found.var(dim=0), effective_rank(found), leakage, chance)
