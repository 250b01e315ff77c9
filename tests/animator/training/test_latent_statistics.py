"""Figures of the motion latent: worked out by hand, and on latents that know or do not know whose face it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from animator.builders import animator_config, build_animator
from animator.training.crops import FaceCrops
from animator.training.latent_statistics import effective_rank, latent_statistics


def test_effective_rank_of_known_clouds() -> None:
    square = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    assert effective_rank(square) == pytest.approx(2)
    assert effective_rank(square * torch.tensor([1.0, 0])) == pytest.approx(1)
    assert effective_rank(torch.ones(5, 3)) == 0
    # Eigenvalues 9 : 1, so shares 0.9 and 0.1.
    entropy = -(0.9 * torch.tensor(0.9).log() + 0.1 * torch.tensor(0.1).log())
    assert effective_rank(square * torch.tensor([3.0, 1.0])) == pytest.approx(entropy.exp().item(), rel=1e-5)


def two_people(frames: torch.Tensor) -> FaceCrops:
    """Two people, 16 frames each, from pictures (32, 8, 8, 3)."""
    count = len(frames)
    clips = [
        {"name": name, "identity": name, "split": "validation", "frames": count // 2, "first": first}
        for name, first in (("first", 0), ("second", count // 2))
    ]
    half = torch.full((count,), 0.5)
    return FaceCrops(
        frames=frames.numpy(),
        clip=torch.arange(count) // (count // 2),
        frame=torch.arange(count),
        centre=half[:, None].repeat(1, 2),
        size=half,
        crop_side=half,
        landmarks=torch.zeros(count, 478, 2),
        blendshapes=torch.zeros(count, 52),
        rotation=torch.eye(3).repeat(count, 1, 1),
        clips=clips,
        blendshape_names=[],
    )


def test_a_person_who_can_be_seen_leaks_and_one_who_cannot_does_not() -> None:
    encoder = build_animator(animator_config("tiny")).motion_encoder
    generator = torch.Generator().manual_seed(0)
    alike = torch.randint(0, 40, (32, 8, 8, 3), dtype=torch.uint8, generator=generator)
    unlike = alike + 200 * (torch.arange(32) >= 16).to(torch.uint8)[:, None, None, None]
    seen = latent_statistics(encoder, two_people(unlike), "validation")
    hidden = latent_statistics(encoder, two_people(alike), "validation")
    assert seen.leakage is not None and hidden.leakage is not None
    assert seen.leakage > 0.9 > 0.85 > hidden.leakage
    assert seen.chance == 0.5 and seen.variance.shape == (512,)
    assert set(seen.figures()) > {"identity_leakage", "latent_effective_rank"}


def test_a_single_person_leaks_nothing_that_could_be_measured(crops_folder: Path) -> None:
    encoder = build_animator(animator_config("tiny")).motion_encoder
    found = latent_statistics(encoder, FaceCrops.open(crops_folder), "validation")
    assert found.leakage is None and "identity_leakage" not in found.figures()
