"""Every loss gives what one works out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from animator.training.losses import (
    INNER_LIPS,
    LEFT_EYE,
    LIPS,
    PART_SIZE,
    RIGHT_EYE,
    discriminator_loss,
    face_parts,
    feature_matching_loss,
    flow_smoothness,
    generator_adversarial_loss,
    gradient_penalty,
    label_loss,
    landmark_flow_loss,
    landmark_shape_loss,
    painted_mouth_loss,
    painted_share,
    perceptual_loss,
    reconstruction_loss,
    region_weights,
)

MESH = 478


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def face_mesh() -> Tensor:
    """A mesh that fills [-0.5, 0.5], with eyes around (-0.3, -0.3) and (0.3, -0.3) and lips around (0, 0.3)."""
    corners = torch.tensor([[-0.5, -0.5], [0.5, 0.5]])
    mesh = corners.repeat(MESH // 2, 1)
    for points, x, y in ((RIGHT_EYE, -0.3, -0.3), (LEFT_EYE, 0.3, -0.3), (LIPS, 0.0, 0.3)):
        mesh[list(points)] = torch.tensor([x, y]) + 0.1 * corners.repeat(len(points) // 2, 1)
    return mesh[None]


def test_reconstruction_is_the_weighted_mean_absolute_difference() -> None:
    images = torch.zeros(1, 3, 1, 2)
    targets = torch.tensor([1.0, -0.5]).expand(1, 3, 1, 2)
    weights = torch.tensor([0.5, 1.5]).reshape(1, 1, 1, 2)
    assert reconstruction_loss(images, targets, weights).item() == pytest.approx((0.5 * 1.0 + 1.5 * 0.5) / 2)


def test_region_weights_rank_background_face_eyes_and_mouth() -> None:
    weights = region_weights(face_mesh(), 200, background=0.5, face=2.0, eyes=4.0, mouth=5.0)
    assert weights.shape == (1, 1, 200, 200)
    assert weights.mean().item() == pytest.approx(1.0, abs=1e-5)

    def at(x: float, y: float) -> float:
        return weights[0, 0, round((y + 1) * 100), round((x + 1) * 100)].item()

    background = at(-0.9, -0.9)
    assert at(0.0, -0.1) / background == pytest.approx(2.0 / 0.5)  # between eyes and mouth
    assert at(-0.3, -0.3) / background == pytest.approx(4.0 / 0.5)
    assert at(0.3, -0.3) / background == pytest.approx(4.0 / 0.5)
    assert at(0.0, 0.3) / background == pytest.approx(5.0 / 0.5)


def test_region_margins_are_parts_of_the_shorter_side() -> None:
    weights = region_weights(face_mesh(), 1000, background=1.0, face=1.0, eyes=1.0, mouth=3.0)[0, 0]
    heavy = weights > weights.min() * 2
    # Lips of 0.1 x 0.1 (picture widths: half of it), with a margin of 0.4 of that on each side: 1.8 x 50 = 90 pixels.
    assert heavy.any(dim=0).sum().item() == pytest.approx(90, abs=1)
    assert heavy.any(dim=1).sum().item() == pytest.approx(90, abs=1)


def test_equal_weights_give_the_plain_mean() -> None:
    assert torch.allclose(region_weights(face_mesh(), 8, 1, 1, 1, 1), torch.ones(1, 1, 8, 8))


@pytest.mark.parametrize("loss_of", [feature_matching_loss, perceptual_loss])
def test_matching_of_features_adds_the_mean_difference_of_each_layer(loss_of: Callable[..., Tensor]) -> None:
    fake = [torch.zeros(1, 2, 2, 2), torch.zeros(1, 1, 1, 1)]
    real = [torch.full((1, 2, 2, 2), 0.5, requires_grad=True), torch.full((1, 1, 1, 1), -2.0)]
    loss = loss_of(fake, real)
    assert loss.item() == pytest.approx(0.5 + 2.0)
    assert not loss.requires_grad  # the real side is a target, not a thing to be moved


def test_adversarial_losses_are_logistic() -> None:
    real, fake = torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 0.5])
    generator = (softplus(1.0) + softplus(-0.5)) / 2
    discriminator = (softplus(-1.0) + softplus(-2.0)) / 2 + (softplus(-1.0) + softplus(0.5)) / 2
    assert generator_adversarial_loss(fake).item() == pytest.approx(generator, rel=1e-5)
    assert discriminator_loss(real, fake).item() == pytest.approx(discriminator, rel=1e-5)


def test_gradient_penalty_is_the_squared_slope_and_can_be_trained_on() -> None:
    slope = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    images = torch.zeros(2, 3, 1, 1, requires_grad=True)
    logits = (images * slope[:, None, None]).sum(dim=(1, 2, 3))
    penalty = gradient_penalty(logits, images)
    assert penalty.item() == pytest.approx(1 + 4 + 0.25)
    penalty.backward()
    assert slope.grad is not None and torch.allclose(slope.grad, 2 * slope.detach())


def test_the_true_flow_costs_nothing() -> None:
    shift = torch.tensor([0.1, -0.05])
    target = face_mesh()
    flow = shift[None, :, None, None].expand(1, 2, 16, 16)
    assert landmark_flow_loss(flow, target, target + shift).item() == pytest.approx(0, abs=1e-6)
    # A flow that differs from place to place: x is stretched by 1.2 about the middle.
    line = (torch.arange(64) + 0.5) / 32 - 1
    stretch = torch.stack([0.2 * line.expand(64, 64), torch.zeros(64, 64)])[None]
    reference = target * torch.tensor([1.2, 1.0])
    assert landmark_flow_loss(stretch, target, reference).item() == pytest.approx(0, abs=1e-5)
    assert landmark_flow_loss(torch.zeros_like(stretch), target, reference).item() > 0.01


def test_lips_and_eyes_count_four_times_in_the_landmark_flow() -> None:
    flow, target = torch.zeros(1, 2, 8, 8), torch.zeros(1, MESH, 2)
    total = MESH + 3 * len({*LIPS, *INNER_LIPS, *RIGHT_EYE, *LEFT_EYE})
    for point, weight in ((1, 1), (LIPS[0], 4), (LEFT_EYE[0], 4)):
        reference = target.clone()
        reference[0, point] = torch.tensor([0.1, -0.2])
        assert landmark_flow_loss(flow, target, reference).item() == pytest.approx(0.3 * weight / total, rel=1e-4)


def test_smoothness_is_the_mean_step_between_neighbours() -> None:
    ramp = torch.arange(4.0).expand(1, 2, 4, 4)  # rises by 1 along x, is constant along y
    assert flow_smoothness(ramp).item() == pytest.approx((1 + 0) / 2)
    assert flow_smoothness(torch.ones(1, 2, 4, 4)).item() == 0


def test_shape_does_not_mind_where_a_part_lies() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(1, MESH, 2, generator=generator) - 0.5
    flow = torch.zeros(1, 2, 16, 16)
    moved = target + torch.tensor([0.1, -0.05])
    assert landmark_shape_loss(flow, target, moved).item() == pytest.approx(0, abs=1e-5)
    # Within every part the points are 1.25 times as far apart in the reference: off by a fifth of its size.
    assert landmark_shape_loss(flow, target, target * 1.25).item() == pytest.approx(0.2, rel=1e-4)


def test_painting_inside_the_mouth_is_free() -> None:
    line = (torch.arange(100) + 0.5) / 50 - 1
    mouth = ((line[None, :] - 0.0).abs() < 0.05) & ((line[:, None] - 0.3).abs() < 0.05)
    assert painted_share(torch.where(mouth, 0.0, 1.0)[None, None], face_mesh()).item() == 0
    elsewhere = painted_share(torch.where(mouth, 1.0, 0.0)[None, None], face_mesh()).item()
    assert elsewhere == pytest.approx(1 - 0.05**2, abs=1e-3)


def test_the_painted_mouth_is_compared_in_its_box_alone() -> None:
    line = (torch.arange(100) + 0.5) / 50 - 1
    mouth = ((line[None, :] - 0.0).abs() < 0.051) & ((line[:, None] - 0.3).abs() < 0.051)
    targets = torch.zeros(1, 3, 100, 100)
    assert painted_mouth_loss(torch.where(mouth, 0.0, 1.0).expand_as(targets), targets, face_mesh()).item() == 0
    off = torch.where(mouth, -0.25, 1.0).expand_as(targets)
    assert painted_mouth_loss(off, targets, face_mesh()).item() == pytest.approx(0.25)


def test_face_parts_are_mouth_and_eyes_enlarged() -> None:
    line = (torch.arange(200) + 0.5) / 100 - 1
    picture = torch.stack([line.expand(200, 200), line[:, None].expand(200, 200), torch.zeros(200, 200)])[None]
    mouth, eyes = face_parts(picture, face_mesh())
    assert mouth.shape == (3, PART_SIZE, PART_SIZE)
    # Red is x and green is y. The lips are 0.1 wide, about (0, 0.3); with margins the square's side is 0.13.
    assert torch.allclose(mouth[:2].mean(dim=(1, 2)), torch.tensor([0.0, 0.3]), atol=1e-3)
    assert (mouth[0, 0, -1] - mouth[0, 0, 0]).item() == pytest.approx(0.13 * (PART_SIZE - 1) / PART_SIZE, abs=2e-3)
    # The eyes together reach from -0.35 to 0.35, about (0, -0.3).
    assert torch.allclose(eyes[:2].mean(dim=(1, 2)), torch.tensor([0.0, -0.3]), atol=1e-3)
    assert (eyes[0, 0, -1] - eyes[0, 0, 0]).item() == pytest.approx(0.91 * (PART_SIZE - 1) / PART_SIZE, abs=2e-3)


def test_half_of_the_label_loss_is_the_difference_within_a_pair() -> None:
    labels = torch.tensor([[0.0, 1.0], [3.0, -1.0]])
    assert label_loss(labels, labels).item() == 0
    # Off by 1 throughout: the values cost |d| - beta / 2 = 0.75, the differences are right.
    assert label_loss(labels + 1, labels).item() == pytest.approx(0.75)
    # One of the pair off by 1: half of the values, and all of the differences.
    assert label_loss(labels + torch.tensor([[1.0], [0.0]]), labels).item() == pytest.approx(0.75 / 2 + 0.75)
