"""What the recipe asks of a stage, and the parts of the denoiser that stages train."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from animator.models import AnimatorModels
from animator.models.autoencoder import downsampling
from animator.models.discriminator import Discriminator
from animator.models.gan_head import GanOutput
from animator.models.motion_unet import MotionUNet
from animator.training.config import TrainAnimatorConfig
from animator.training.crops import FaceCrops
from animator.training.image_token import ImageTokens
from animator.training.perceptual import PerceptualNetworks
from animator.training.randomness import Share
from animator.training.ranks import Terms


@dataclass(frozen=True)
class Given:
    """What a stage works with and does not train.

    Attributes:
        image_tokens: references -> image tokens.
        networks: of the perceptual losses.
        label_scale: how much each label moves within a clip, (L,).
    """

    image_tokens: ImageTokens
    networks: PerceptualNetworks
    label_scale: Tensor


class StepLosses(NamedTuple):
    """The weighted loss terms of a batch, and what the GAN head drew, for the discriminator to judge."""

    terms: Terms
    drawn: GanOutput | None = None


class Stage(ABC):
    """One stage.

    Args:
        config: of the run.
        models: all networks; what the stage does not train is frozen, in evaluation mode.
        given: what else it works with.
    Attributes:
        modules: what is trained, wholly or in part, by name; parameters that are not have no gradient.
        adversary: the discriminator, which has its own optimiser; None where there is none.
        needs: networks that must have been trained before.
    """

    needs: tuple[str, ...] = ()

    def __init__(self, config: TrainAnimatorConfig, models: AnimatorModels, given: Given) -> None:
        self.config = config
        self.models = models
        self.given = given
        self.modules: dict[str, nn.Module] = {}
        self.adversary: Discriminator | None = None
        for network in networks_of(models).values():
            network.requires_grad_(False).eval()

    @abstractmethod
    def stream(self, crops: FaceCrops, step: int, shares: Sequence[Share]) -> Iterator[list[Any]]:
        """The batches of the steps from `step` on: for each, these shares of it."""

    @abstractmethod
    def example(self, share: Share) -> Any:
        """A batch of the right sizes without content, on torch's device "meta"."""

    @abstractmethod
    def losses(self, batch: Any, step: int) -> StepLosses:
        """The loss terms of one share of a step's batch."""

    def adversary_losses(self, batch: Any, drawn: GanOutput, step: int) -> Terms:
        """The discriminator's own losses."""
        raise NotImplementedError(f"{type(self).__name__} has no discriminator")

    def _train(self, name: str, module: nn.Module, only: set[str] | None = None) -> None:
        """Train a module, or those of its parameters that `only` names."""
        self.modules[name] = module.train()
        for key, parameter in module.named_parameters():
            parameter.requires_grad_(only is None or key in only)


def networks_of(models: AnimatorModels) -> dict[str, nn.Module]:
    """Every network of an animator that is there, by name."""
    return {name: part for name, part in vars(models).items() if isinstance(part, nn.Module)}


def image_layers(unet: MotionUNet) -> set[str]:
    """Parameters of the denoiser that a UNet of single images has."""
    names = {name for name, _ in unet.named_parameters()}
    return names - motion_layers(unet) - temporal_layers(unet)


def motion_layers(unet: MotionUNet) -> set[str]:
    """Parameters through which motion enters: the motion attention, or the branch that its ablation has instead."""
    return {name for name, _ in unet.named_parameters() if ".motion_attention." in name or name.startswith("control.")}


def temporal_layers(unet: MotionUNet) -> set[str]:
    """Parameters of the temporal modules."""
    return {
        name for name, _ in unet.named_parameters() if ".motion_modules." in name and ".motion_attention." not in name
    }


def without_content(*shape: int) -> Tensor:
    """A tensor that has a shape and nothing else."""
    return torch.empty(shape, device="meta")


def latents_without_content(config: TrainAnimatorConfig, models: AnimatorModels, *count: int) -> Tensor | None:
    """Latents of `count` training pictures that have a shape and nothing else; None where none are kept."""
    if not config.cached_latents:
        return None
    assert models.vae is not None
    cells = config.picture_size // downsampling(models.vae)
    return without_content(*count, int(models.vae.config.latent_channels), cells, cells)
