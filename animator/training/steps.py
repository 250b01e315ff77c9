"""The losses of one training step: labels, GAN head (Eq. 3 to 7) and diffusion (Eq. 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from animator.models.discriminator import Discriminator
from animator.models.gan_head import GanHead, GanOutput
from animator.models.motion_encoder import MotionEncoder
from animator.training import losses
from animator.training.config import LossConfig
from animator.training.crops import motion_labels
from animator.training.pairs import PairBatch
from animator.training.perceptual import PerceptualNetworks

if TYPE_CHECKING:
    from animator.training.config import TrainAnimatorConfig

Losses = dict[str, Tensor]

R1_INTERVAL = 16  # StyleGAN2's lazy regularisation


@dataclass(frozen=True)
class Motion:
    """What the motion encoder says of a batch: sample i moves frame i as its partner moves.

    Attributes:
        latents: f_mot of each frame, (2P, 512).
        tokens: motion tokens of each frame's partner with f_rts fused in, (2P, 32, 16).
        reference_tokens: motion tokens of each frame itself with f_rts (0, 0, 1), (2P, 32, 16).
    """

    latents: Tensor
    tokens: Tensor
    reference_tokens: Tensor


def encode_motion(encoder: MotionEncoder, batch: PairBatch) -> Motion:
    """Run the motion encoder once per frame; each latent drives the partner and is the frame's own reference."""
    return fuse_motion(encoder, encoder.encode(batch.crops), batch)


def fuse_motion(encoder: MotionEncoder, latents: Tensor, batch: PairBatch) -> Motion:
    """Motion of a batch from the latents (2P, 512) of its frames."""
    neutral = torch.tensor([0.0, 0.0, 1.0], device=latents.device).expand(len(latents), 3)
    return Motion(latents, encoder.fuse(PairBatch.swap(latents), batch.rts), encoder.fuse(latents, neutral))


class LabelHead(nn.Module):
    """Linear read-out of blendshapes and head rotation from the normalised f_mot; used in training only.

    Args:
        latent_dim: length of f_mot.
        scale: how much each label moves within a clip, (L,); predictions are in these units.
    """

    def __init__(self, latent_dim: int, scale: Tensor) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(latent_dim)
        self.linear = nn.Linear(latent_dim, len(scale))
        self.register_buffer("scale", scale)

    def forward(self, latents: Tensor) -> Tensor:
        """f_mot (N, latent_dim) -> labels in units of `scale`, (N, L)."""
        return self.linear(self.norm(latents))


def label_losses(head: LabelHead, motion: Motion, batch: PairBatch, weight: float) -> Losses:
    """The label term; see `losses.label_loss`."""
    labels = motion_labels(batch.blendshapes, batch.rotation) / head.get_buffer("scale")
    return {"label": weight * losses.label_loss(head(motion.latents), labels)}


def gan_losses(
    output: GanOutput,
    batch: PairBatch,
    config: LossConfig,
    networks: PerceptualNetworks,
    discriminator: Discriminator | None,
) -> Losses:
    """L_gan, Eq. 7, and the terms of the warp branch, for a generated batch; keys name the terms."""
    perceptual = networks.lpips
    target = PairBatch.swap(batch.images)
    target_landmarks = PairBatch.swap(batch.landmarks)
    weights = losses.region_weights(
        target_landmarks, target.shape[-1], config.background, config.face, config.eyes, config.mouth
    )
    terms = {"l1": config.reconstruction * losses.reconstruction_loss(output.image, target, weights)}
    if networks.vgg is not None:
        matched = losses.perceptual_loss(networks.vgg(output.image), networks.vgg(target))
        terms["vgg"] = config.vgg * matched
    if networks.vggface is not None:
        matched = losses.perceptual_loss(networks.vggface(output.image), networks.vggface(target))
        terms["vggface"] = config.vggface * matched
    if perceptual is not None and config.perceptual:
        terms["lpips"] = config.perceptual * perceptual(output.image, target).mean()
    if perceptual is not None and config.perceptual_parts:
        shown = losses.face_parts(output.image, target_landmarks)
        wanted = losses.face_parts(target, target_landmarks)
        terms["lpips_parts"] = config.perceptual_parts * perceptual(shown, wanted).mean()
    if discriminator is not None:
        fake_logits, fake_features = discriminator(_judged(discriminator, output.image))
        with torch.no_grad():
            _, real_features = discriminator(_judged(discriminator, target))
        adversarial = losses.generator_adversarial_loss(fake_logits)
        matching = losses.feature_matching_loss(fake_features, real_features)
        terms["adversarial"] = config.adversarial * (adversarial + config.feature_matching * matching)
    if output.flow is not None and config.landmark_flow:
        flow = losses.landmark_flow_loss(output.flow, target_landmarks, batch.landmarks)
        terms["landmark_flow"] = config.landmark_flow * flow
    if output.flow is not None and config.landmark_shape:
        shape = losses.landmark_shape_loss(output.flow, target_landmarks, batch.landmarks)
        terms["landmark_shape"] = config.landmark_shape * shape
    if output.flow is not None and config.smoothness:
        terms["smoothness"] = config.smoothness * losses.flow_smoothness(output.flow)
    if output.painted is not None and config.painted_mouth:
        mouth = losses.painted_mouth_loss(output.painted, target, target_landmarks)
        terms["painted_mouth"] = config.painted_mouth * mouth
    if output.mask is not None and config.painting:
        terms["painting"] = config.painting * losses.painted_share(output.mask, target_landmarks)
    return terms


def discriminator_losses(
    discriminator: Discriminator, output: GanOutput, batch: PairBatch, config: LossConfig, penalise: bool
) -> Losses:
    """The discriminator's own losses; `penalise` adds R1 (lazily, not at every step)."""
    real = _judged(discriminator, batch.images.detach()).requires_grad_(penalise)
    real_logits, _ = discriminator(real)
    # In single precision, whatever the generator worked in: R1 is a gradient of a gradient.
    fake_logits, _ = discriminator(_judged(discriminator, output.image.detach().float()))
    terms = {"discriminator": losses.discriminator_loss(real_logits, fake_logits)}
    if penalise:
        # Taken at every sixteenth step only, with so many times the weight.
        terms["r1"] = R1_INTERVAL * config.gradient_penalty * losses.gradient_penalty(real_logits, real)
    return terms


def _judged(discriminator: Discriminator, images: Tensor) -> Tensor:
    """Pictures at the discriminator's size, which may be smaller than they are."""
    side = discriminator.config.image_size
    return images if images.shape[-1] == side else F.interpolate(images, size=(side, side), mode="area")


def generate(head: GanHead, motion: Motion, batch: PairBatch, config: TrainAnimatorConfig) -> GanOutput:
    """Draw each frame with its partner's motion."""
    return head(batch.images, batch.boxes, motion.tokens, motion.reference_tokens, batch.rts, config.generator_levels)
