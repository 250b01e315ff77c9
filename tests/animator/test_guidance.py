"""Guidance is Eq. 2 of the paper, and its negative branch is what the paper says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from animator.controls.motion_attention import MotionTokens
from animator.guidance import GuidedDenoiser, PortraitConditions, guidance_scale_of, guide
from animator.models.motion_unet import MotionUNet
from tests.animator import tiny


def test_guidance_scale_is_one_more_than_the_papers_w() -> None:
    conditional, negative = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    w = 3.5
    expected = (1 + w) * conditional - w * negative
    torch.testing.assert_close(guide(conditional, negative, guidance_scale_of(w)), expected, atol=1e-5, rtol=1e-5)
    assert guidance_scale_of(3.5) == 4.5


@pytest.fixture(scope="module")
def unet() -> MotionUNet:
    return tiny.motion_unet()


@pytest.fixture(scope="module")
def portrait(unet: MotionUNet) -> PortraitConditions:
    generator = torch.Generator().manual_seed(0)
    embeds = torch.randn(1, 1, 8, generator=generator)
    with torch.no_grad():
        features = tiny.reference_net()(torch.randn(1, 4, 8, 8, generator=generator), embeds)
        reference = unet.project_reference(features)
    return PortraitConditions(reference, embeds, torch.zeros_like(embeds))


@pytest.fixture(scope="module")
def own() -> Tensor:
    return torch.randn(1, 32, 16, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_negative_branch_has_no_appearance_and_the_portraits_own_motion(
    unet: MotionUNet, portrait: PortraitConditions, own: Tensor
) -> None:
    latents, tokens = torch.randn(3, 4, 8, 8), torch.randn(3, 32, 16)
    step = torch.tensor(400)
    guided = GuidedDenoiser(unet, portrait, MotionTokens(tokens, own), 4.5)(latents, step, range(3))
    sample = latents.transpose(0, 1)[None]
    conditional = unet(sample, step, portrait.image_embeds, tokens[None], portrait.reference)
    still = own[:, None].expand(-1, 3, -1, -1)
    negative = unet(sample, step, torch.zeros(1, 1, 8), still, reference=None)
    expected = (4.5 * conditional - 3.5 * negative)[0].transpose(0, 1)
    torch.testing.assert_close(guided, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_scale_one_is_the_conditional_prediction(unet: MotionUNet, portrait: PortraitConditions, own: Tensor) -> None:
    latents, tokens = torch.randn(3, 4, 8, 8), torch.randn(3, 32, 16)
    unguided = GuidedDenoiser(unet, portrait, MotionTokens(tokens, own), 1.0)(latents, torch.tensor(400), range(3))
    conditional = unet(latents.transpose(0, 1)[None], 400, portrait.image_embeds, tokens[None], portrait.reference)
    torch.testing.assert_close(unguided, conditional[0].transpose(0, 1))
