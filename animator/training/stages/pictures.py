"""X-Portrait's two stages (Xie et al. 2024): control by driving pictures on pairs of frames, then temporal modules.

They are no stages of X-NeMo: in place of motion encoder and motion attention, two ControlNets learn (which begin as the
denoiser's own encoder), the reference net hears the noise level, and no label or GAN head helps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from animator.builders import load_pipeline
from animator.config import RuntimeConfig
from animator.controls.control_nets import ControlNets
from animator.errors import XNeMoError
from animator.models import AnimatorModels
from animator.models.motion_control import ControlResiduals
from animator.training.clips import ClipBatch
from animator.training.config import TrainAnimatorConfig
from animator.training.crops import FaceCrops
from animator.training.diffusion import Denoising, cell_weights, clip_latents, denoising_loss, latents_of
from animator.training.drivers import Drivers, Renderer, mesh_points, scaled, themselves
from animator.training.pairs import PairBatch
from animator.training.randomness import Share, sample_generators
from animator.training.stages.image import pair_sampler, pairs_without_content
from animator.training.stages.stage import Given, Stage, StepLosses, image_layers
from animator.training.stages.temporal import TemporalStage


class PicturesStage(Stage):
    """ControlNets and, with `train_backbone`, reference net and image layers, by the diffusion loss."""

    def __init__(self, config: TrainAnimatorConfig, models: AnimatorModels, given: Given) -> None:
        super().__init__(config, models, given)
        self.control = control_of(models)
        self.needs = ("vae",) if config.train_backbone else ("vae", "reference_net", "unet")
        if self.control.untrained:
            self.control.begin_as(models.unet)
        if config.gradient_checkpointing:
            for net in (self.control.face, self.control.local):
                net.enable_gradient_checkpointing()
        self._train("control", self.control)
        if config.train_backbone:
            self._train("reference_net", models.reference_net)
            self._train("unet", models.unet, image_layers(models.unet))

    @cached_property
    def renderer(self) -> Renderer:
        """The weights that draw strangers, loaded when they are first needed."""
        pipeline = load_pipeline(RuntimeConfig(weights=self.config.driver_weights, device="cpu", dtype="float32"))
        if pipeline.gan_head is None or pipeline.motion_encoder is None:
            raise XNeMoError(
                f"driver_weights={self.config.driver_weights}: draws nobody: it lacks a GAN head or a motion encoder"
            )
        return Renderer(pipeline.motion_encoder, pipeline.gan_head, pipeline.config.image_size)

    def stream(self, crops: FaceCrops, step: int, shares: Sequence[Share]) -> Iterator[list[PairBatch]]:
        return pair_sampler(self.config, self.models, crops, "train").stream(self.config.pairs, step, shares)

    def example(self, share: Share) -> PairBatch:
        return pairs_without_content(self.config, self.models, share)

    def losses(self, batch: PairBatch, step: int) -> StepLosses:
        # Without content there is nothing to render; a plan counts the training alone.
        rendered = self.config.drivers == "strangers" and not batch.images.is_meta
        drivers = self.renderer.strangers(batch) if rendered else themselves(batch)
        references = latents_of(self.models, batch.images, batch.latents)
        clean = PairBatch.swap(references)[:, :, None]
        dropped = int((batch.numbers < round(2 * self.config.pairs * self.config.condition_dropout)).sum())
        weights = cell_weights(self.config, PairBatch.swap(batch.landmarks)[:, None], clean)
        windows = Denoising(clean, references, self.control.prompts(clean), None, dropped, weights)
        return picture_losses(self, self.control, drivers, windows, batch.numbers, step, temporal=False)


class PicturesTemporalStage(TemporalStage):
    """The denoiser's temporal modules, on clips whose frames drive themselves."""

    needs = ("control", "reference_net", "unet", "vae")

    def __init__(self, config: TrainAnimatorConfig, models: AnimatorModels, given: Given) -> None:
        super().__init__(config, models, given)
        self.control = control_of(models)

    def losses(self, batch: ClipBatch, step: int) -> StepLosses:
        references, clean = clip_latents(self.models, batch)
        drivers = Drivers(batch.frames.flatten(0, 1), mesh_points(batch.landmarks.flatten(0, 1)))
        dropped = int((batch.numbers < round(self.config.clips * self.config.condition_dropout)).sum())
        weights = cell_weights(self.config, batch.landmarks, clean)
        windows = Denoising(clean, references, self.control.prompts(clean), None, dropped, weights)
        return picture_losses(self, self.control, drivers, windows, batch.numbers, step, temporal=True)


def control_of(models: AnimatorModels) -> ControlNets:
    """The control that these stages train.

    Raises:
        XNeMoError: the architecture has another one.
    """
    if not isinstance(models.control, ControlNets):
        raise XNeMoError("these stages train control by pictures; choose animator=xportrait or xportrait-lite")
    return models.control


def picture_losses(
    stage: Stage,
    control: ControlNets,
    drivers: Drivers,
    windows: Denoising,
    numbers: Tensor,
    step: int,
    temporal: bool,
) -> StepLosses:
    """Eq. 1 of X-NeMo, which is every latent diffusion's loss, with control by pictures.

    Args:
        drivers: of B windows of F frames, (B F, ...); they are scaled here, all frames of a window alike.
        windows: what is denoised, still without what the control tells.
        numbers: of the windows in the step's whole batch, (B,).
    """
    config, frames = stage.config, windows.clean.shape[2]
    generators = sample_generators(config.seed + 2, step, numbers.tolist())
    # One and the same draw for all frames of a window.
    again = [g.clone_state() for g in generators for _ in range(frames)]
    drivers = scaled(drivers, config.driver_scaling, again)
    # Each control is left out by itself now and then, so that neither relies on the other.
    kept = torch.stack([torch.rand(2, generator=g) for g in generators]) >= config.control_dropout
    told = telling(control, drivers, kept.to(windows.clean), frames, windows.dropped)
    noise = sample_generators(config.seed + 1, step, numbers.tolist())
    loss = denoising_loss(stage.models, replace(windows, told=told), config.reference_masking, noise, temporal)
    return StepLosses({"diffusion": config.losses.diffusion * loss})


def telling(
    control: ControlNets, drivers: Drivers, kept: Tensor, frames: int, dropped: int = 0
) -> Callable[[Tensor, Tensor], ControlResiduals | None]:
    """What the control says of noisy windows, but for the first `dropped`: (B', C, F, h, w), (B',) -> residuals."""
    first = dropped * frames
    face, local = drivers.pictures[first:], drivers.local()[first:]
    shares = kept[dropped:].repeat_interleave(frames, dim=0)

    def told(noisy: Tensor, timesteps: Tensor) -> ControlResiduals | None:
        latents = noisy.transpose(1, 2).flatten(0, 1)
        levels = timesteps.expand(len(noisy)).repeat_interleave(frames)
        return control(latents, levels, face, local, shares)

    return told
