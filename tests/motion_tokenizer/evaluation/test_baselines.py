"""The baselines do what their names say, on the tokenizer's grid, which ends with the clip."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from motion_tokenizer.evaluation.baselines import Baseline, blocks_of, simple_baselines


def baselines(frames: Tensor, numbers: int = 2) -> dict[str, Baseline]:
    mean, deviation = frames.mean(dim=0), frames.std(dim=0, correction=0)
    found = simple_baselines(frames, blocks_of(frames, 4), mean, deviation, numbers)
    return {baseline.name: baseline for baseline in found}


def plane(frames: int, generator: torch.Generator) -> Tensor:
    """Motion in two dimensions of ten, straight lines every 4 frames."""
    return torch.randn(frames, 2, generator=generator) @ torch.randn(2, 10, generator=torch.Generator().manual_seed(9))


def test_pca_of_a_plane_loses_only_what_holding_loses(generator: torch.Generator) -> None:
    train, clip = plane(400, generator), plane(10, generator)
    held = baselines(train)["pca2_hold"].reconstruct(clip)
    # The grid ends with the clip: frames 0 and 1 share a token with two repetitions of frame 0.
    assert torch.allclose(held[2:6], clip[2:6].mean(dim=0).expand(4, -1), atol=1e-4)
    assert torch.allclose(held[6:], clip[6:].mean(dim=0).expand(4, -1), atol=1e-4)
    assert torch.allclose(held[:2], ((3 * clip[0] + clip[1]) / 4).expand(2, -1), atol=1e-4)


def test_pca_of_blocks_keeps_what_frames_share(generator: torch.Generator) -> None:
    slow = plane(100, generator).repeat_interleave(4, dim=0)
    block = baselines(slow)["pca2_block"]
    assert torch.allclose(block.reconstruct(slow[:40]), slow[:40], atol=1e-3)
    assert block.numbers == 2


@pytest.mark.parametrize("frames", [4, 5, 11, 40])
def test_every_fourth_frame_and_lines_between(frames: int, generator: torch.Generator) -> None:
    clip = torch.randn(frames, 10, generator=generator)
    ours = baselines(plane(40, generator))["every_4th_linear"].reconstruct(clip)
    kept = list(range(frames - 1, -1, -4))
    assert torch.equal(ours[kept], clip[kept])
    for late, early in pairwise(kept):
        middle = (clip[early] + clip[late]) / 2
        assert torch.allclose(ours[early + 2], middle, atol=1e-5)
    assert torch.equal(ours[: kept[-1]], clip[kept[-1]].expand(kept[-1], -1))


def test_blocks_end_with_the_clip() -> None:
    clip = torch.arange(10).float()[:, None]
    assert blocks_of(clip, 4)[..., 0].tolist() == [[2, 3, 4, 5], [6, 7, 8, 9]]
