"""Losses of the animator's training, each under the number that the paper gives it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# MediaPipe face mesh: outlines of the lips and of the two eyes.
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)


def region_weights(landmarks: Tensor, size: int, background: float, face: float, eyes: float, mouth: float) -> Tensor:
    """Weight of each pixel by what it shows, with mean 1 over each image.

    Args:
        landmarks: (B, 478, 2) in [-1, 1].
        size: side of the weight map in pixels.
        background, face, eyes, mouth: relative weights; where regions overlap the larger one counts.
    Returns:
        (B, 1, size, size).
    """
    line = (torch.arange(size, device=landmarks.device) + 0.5) * (2 / size) - 1
    weights = torch.full((len(landmarks), size, size), float(background), device=landmarks.device)
    parts = ((slice(None), face, 0.05), (RIGHT_EYE, eyes, 0.6), (LEFT_EYE, eyes, 0.6), (LIPS, mouth, 0.4))
    for points, weight, margin in parts:
        region = landmarks[:, points]
        low, high = region.amin(dim=1), region.amax(dim=1)
        pad = (high - low).amin(dim=1, keepdim=True) * margin
        low, high = low - pad, high + pad
        inside_x = (line >= low[:, :1]) & (line <= high[:, :1])
        inside_y = (line >= low[:, 1:]) & (line <= high[:, 1:])
        inside = inside_y[:, :, None] & inside_x[:, None, :]
        weights = torch.where(inside, weights.clamp(min=weight), weights)
    return (weights / weights.mean(dim=(1, 2), keepdim=True))[:, None]


def reconstruction_loss(images: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """L_recon, Eq. 3: weighted mean absolute difference of images in [-1, 1], with weights (B, 1, H, W) of mean 1."""
    return ((images - targets).abs() * weights).mean()


def feature_matching_loss(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """L_fm, Eq. 6: L1 between the discriminator's features of generated and real images, averaged over layers."""
    return torch.stack([(a - b.detach()).abs().mean() for a, b in zip(fake, real, strict=True)]).mean()


def generator_adversarial_loss(fake_logits: Tensor) -> Tensor:
    """L_adv of Eq. 7 for the generator, non-saturating (StyleGAN2)."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Logistic loss of the discriminator."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def gradient_penalty(real_logits: Tensor, real_images: Tensor) -> Tensor:
    """R1 (Mescheder et al. 2018): squared gradient of the logits on real images, which must require grad."""
    (gradient,) = torch.autograd.grad(real_logits.sum(), real_images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def landmark_flow_loss(flow: Tensor, target_landmarks: Tensor, reference_landmarks: Tensor) -> Tensor:
    """Where the flow leads from the target's landmarks, against where these lie in the reference.

    Not in the paper: a head start for the small model. Lips and eyes count four times.

    Args:
        flow: backward flow in [-1, 1] coordinates, (B, 2, R, R).
        target_landmarks: (B, L, 2) in [-1, 1].
        reference_landmarks: (B, L, 2) in [-1, 1].
    Returns:
        Mean L1 distance, in half picture widths.
    """
    sampled = F.grid_sample(
        flow, target_landmarks[:, :, None, :], mode="bilinear", padding_mode="border", align_corners=False
    )
    found = target_landmarks + sampled[..., 0].transpose(1, 2)
    weight = torch.ones(target_landmarks.shape[1], device=flow.device)
    weight[list(LIPS + INNER_LIPS + RIGHT_EYE + LEFT_EYE)] = 4
    distance = (found - reference_landmarks).abs().sum(dim=-1)
    return (distance * weight).mean() / weight.mean()


def flow_smoothness(flow: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring flow vectors, (B, 2, R, R); holds the background together."""
    return (flow.diff(dim=-1).abs().mean() + flow.diff(dim=-2).abs().mean()) / 2


def label_loss(predicted: Tensor, blendshapes: Tensor, rotation: Tensor) -> Tensor:
    """Regression of blendshapes and head rotation, the warm-up of the small model's motion encoder.

    Args:
        predicted: (B, 52 + 6): blendshapes and the first two columns of the rotation matrix.
        blendshapes: (B, 52) in [0, 1].
        rotation: (B, 3, 3).
    """
    columns = rotation[:, :, :2].flatten(1)
    count = blendshapes.shape[1]
    # Most blendshapes are near 0 most of the time; the factor brings both parts to one scale.
    return 4 * F.smooth_l1_loss(predicted[:, :count], blendshapes, beta=0.05) + 2 * F.l1_loss(
        predicted[:, count:], columns
    )
