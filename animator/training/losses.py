"""Losses of the animator's training, each under the number that the paper gives it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from animator.models.flow import identity_grid

# MediaPipe face mesh: outlines of the lips and of the two eyes.
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
# Groups of points that move against each other: lips and chin, the lids of an eye, an eye and its brow.
EXPRESSIVE_PARTS = (
    LIPS + INNER_LIPS + (152, 175, 199),
    RIGHT_EYE,
    LEFT_EYE,
    RIGHT_EYE + RIGHT_BROW,
    LEFT_EYE + LEFT_BROW,
)
PART_SIZE = 64  # pixels to which mouth and eyes are enlarged


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
        inside = _box_of(landmarks[:, points], line, margin)
        weights = torch.where(inside, weights.clamp(min=weight), weights)
    return (weights / weights.mean(dim=(1, 2), keepdim=True))[:, None]


def _box_of(points: Tensor, line: Tensor, margin: float) -> Tensor:
    """Which pixels lie in the box of points (B, L, 2), widened by `margin` of its shorter side, (B, S, S) bool.

    `line` (S,) holds the coordinates of the pixels along either axis.
    """
    low, high = points.amin(dim=1), points.amax(dim=1)
    pad = (high - low).amin(dim=1, keepdim=True) * margin
    low, high = low - pad, high + pad
    inside_x = (line >= low[:, :1]) & (line <= high[:, :1])
    inside_y = (line >= low[:, 1:]) & (line <= high[:, 1:])
    return inside_y[:, :, None] & inside_x[:, None, :]


def face_parts(images: Tensor, landmarks: Tensor) -> Tensor:
    """Mouth and eyes of each picture, enlarged to PART_SIZE pixels.

    Args:
        images: (B, 3, S, S).
        landmarks: (B, 478, 2) in [-1, 1].
    Returns:
        (2B, 3, PART_SIZE, PART_SIZE): all mouths, then all pairs of eyes.
    """
    cuts = []
    for points in (LIPS, RIGHT_EYE + LEFT_EYE):
        part = landmarks[:, list(points)]
        low, high = part.amin(dim=1), part.amax(dim=1)
        side = (high - low).amax(dim=1) * 0.65  # half of the square's side: a margin on each side of the part
        grid = identity_grid(PART_SIZE, PART_SIZE, images.device, images.dtype) * side[:, None, None, None]
        grid = grid + ((low + high) / 2)[:, None, None, :]
        cuts.append(F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False))
    return torch.cat(cuts)


def reconstruction_loss(images: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """L_recon, Eq. 3: weighted mean absolute difference of images in [-1, 1], with weights (B, 1, H, W) of mean 1."""
    return ((images - targets).abs() * weights).mean()


def perceptual_loss(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """L_vgg and L_vggf, Eq. 4 and 5: L1 between a network's activations of generated and real images.

    The sum over layers of the mean absolute difference in each: a norm that grows with the size of the pictures would
    change what the weights of Eq. 7 mean.
    """
    return torch.stack([(a - b.detach()).abs().mean() for a, b in zip(fake, real, strict=True)]).sum()


def feature_matching_loss(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """L_fm, Eq. 6: L1 between the discriminator's features of generated and real images, as `perceptual_loss`."""
    return perceptual_loss(fake, real)


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
    found = _followed(flow, target_landmarks)
    weight = torch.ones(target_landmarks.shape[1], device=flow.device)
    weight[list(LIPS + INNER_LIPS + RIGHT_EYE + LEFT_EYE)] = 4
    distance = (found - reference_landmarks).abs().sum(dim=-1)
    return (distance * weight).mean() / weight.mean()


def landmark_shape_loss(flow: Tensor, target_landmarks: Tensor, reference_landmarks: Tensor) -> Tensor:
    """The landmark flow within each expressive part, after the part's mean error is taken off.

    Not in the paper. How far a mouth opens is a hundredth of the picture, and the head's own place is uncertain by
    more than that: in the absolute loss the mouth would be heard last, and the eyelids after it.

    Args: as `landmark_flow_loss`.
    Returns:
        Mean L1 distance over the parts, each in units of how far the part's points lie from their middle.
    """
    found = _followed(flow, target_landmarks)
    terms = []
    for points in EXPRESSIVE_PARTS:
        reference = _about_middle(reference_landmarks[:, list(points)])
        error = _about_middle(found[:, list(points)]) - reference
        size = reference.abs().sum(dim=-1).mean(dim=1)
        terms.append((error.abs().sum(dim=-1).mean(dim=1) / size).mean())
    return torch.stack(terms).mean()


def _about_middle(points: Tensor) -> Tensor:
    return points - points.mean(dim=1, keepdim=True)


def _followed(flow: Tensor, points: Tensor) -> Tensor:
    """Where the flow (B, 2, R, R) leads from points (B, L, 2) in [-1, 1]."""
    sampled = F.grid_sample(flow, points[:, :, None, :], mode="bilinear", padding_mode="border", align_corners=False)
    return points + sampled[..., 0].transpose(1, 2)


def painted_mouth_loss(painted: Tensor, targets: Tensor, landmarks: Tensor) -> Tensor:
    """L1 of what is painted, in the mouth's box alone, whether or not the mask shows it.

    A closed mask hands no gradient to what it hides, and nothing would be there when a mouth first opens.

    Args:
        painted: (B, 3, S, S).
        targets: (B, 3, S, S) in [-1, 1].
        landmarks: of the targets, (B, 478, 2) in [-1, 1].
    """
    line = (torch.arange(targets.shape[-1], device=targets.device) + 0.5) * (2 / targets.shape[-1]) - 1
    inside = _box_of(landmarks[:, list(LIPS)], line, margin=0.0)[:, None]
    return ((painted - targets).abs() * inside).sum() / (3 * inside.sum()).clamp(min=1)


def painted_share(mask: Tensor, landmarks: Tensor) -> Tensor:
    """Mean share of painting outside the mouth, whose inside a reference with closed lips cannot show.

    Without this term the head blends a blurred guess over the warped picture, and shows both.

    Args:
        mask: share of the warped reference, (B, 1, R, R) in [0, 1].
        landmarks: of the target, (B, 478, 2) in [-1, 1].
    """
    line = (torch.arange(mask.shape[-1], device=mask.device) + 0.5) * (2 / mask.shape[-1]) - 1
    outside = ~_box_of(landmarks[:, list(LIPS)], line, margin=0.0)
    return ((1 - mask[:, 0]) * outside).mean()


def flow_smoothness(flow: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring flow vectors, (B, 2, R, R); holds the background together."""
    return (flow.diff(dim=-1).abs().mean() + flow.diff(dim=-2).abs().mean()) / 2


def label_loss(predicted: Tensor, labels: Tensor) -> Tensor:
    """Regression of blendshapes and head rotation, the warm-up of the small model's motion encoder.

    Half of it is the regression itself, half that of the difference between the two frames of a pair: these show one
    person, so the difference is motion alone, while the values also hold how the labelling network sees a face.

    Args:
        predicted: (2P, L), sample i and i + P of one clip, in units of how much each label moves within a clip.
        labels: (2P, L), likewise.
    """

    def difference(x: Tensor) -> Tensor:
        first, second = x.chunk(2)
        return first - second

    return F.smooth_l1_loss(predicted, labels, beta=0.5) + F.smooth_l1_loss(
        difference(predicted), difference(labels), beta=0.5
    )
