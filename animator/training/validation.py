"""What a run looks like on other people: figures and a picture grid, from the averaged weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from animator.image import write_image
from animator.models import AnimatorModels
from animator.models.autoencoder import encode_images
from animator.pixels import to_uint8
from animator.training.config import TrainAnimatorConfig
from animator.training.crops import FaceCrops
from animator.training.diffusion import (
    Denoising,
    cell_weights,
    clip_loss,
    clip_motion,
    denoising_loss,
    diffusion_loss,
    draw,
)
from animator.training.drivers import Drivers, themselves
from animator.training.latent_statistics import latent_statistics
from animator.training.pairs import PairSampler
from animator.training.randomness import sample_generators
from animator.training.stages.pictures import control_of, telling
from animator.training.stages.stage import Given
from animator.training.stages.temporal import clip_sampler
from animator.training.state import TrainingState, evaluating
from animator.training.steps import LabelHead, encode_motion, generate, label_losses
from animator.training.tracking import log_picture
from animator.visuals import Row, contact_sheet

PAIRS = 24
SHOWN = 8
CLIPS = 2
SEED = 1234
DDIM_STEPS = 8  # enough to see what is learnt; a validation must not cost what training could have

Figures = dict[str, float]


class Validator:
    """Scores the averaged weights on one fixed batch of validation pairs, or clips, and draws it.

    Args:
        crops: data with a "validation" split.
        config: of the run.
        crop_size: side of the encoder's crops.
        output: folder in which `validation_STEP.png` appears; None writes none.
    """

    def __init__(self, crops: FaceCrops, config: TrainAnimatorConfig, crop_size: int, output: Path | None) -> None:
        sampler = PairSampler(crops, "validation", config.picture_size, crop_size, None, SEED)
        self.batch = sampler.batch(PAIRS, step=0)
        self.crops = crops
        self.config = config
        self.output = output

    @torch.no_grad()
    def run(
        self,
        models: AnimatorModels,
        state: TrainingState,
        given: Given,
        writer: SummaryWriter,
        within: Callable[[Callable[[], Any]], Any] = lambda work: work(),
    ) -> Figures:
        """Figures of this moment, of what the run trains; the same weights always give the same.

        Args:
            models, state, given: of the run.
            writer: the run's log.
            within: where weights are in pieces, what does work with all of them.
        Returns:
            step, minutes; diffusion: Eq. 1 with fixed noise, noise levels and masks.
            Of pairs: l1_copy, l1_gan, l1_diffusion: mean absolute error, in [0, 1] units, of copying the reference, of
            the GAN head, and of the diffusion model without guidance, which draws only the pictures that are shown;
            l1_copy_shown: of copying these. lpips_copy, lpips_gan: likewise. label: the label loss of the encoder as it
            is trained, for the label head has no average. What `LatentStatistics.figures` names, where an encoder is
            trained.
            Of clips: l1_copy, l1_diffusion; flicker, flicker_true: mean absolute difference of neighbouring frames, of
            what is drawn and of the clip.
        """
        figures = {"step": float(state.step), "minutes": state.seconds / 60}
        with ExitStack() as stack:
            if "label_head" in state.modules and self.config.stage == "motion":
                head = cast(LabelHead, state.modules["label_head"])
                figures |= within(lambda: self._labels(models, head))
            for name, average in state.averages.items():
                stack.enter_context(average.applied_to(state.modules[name]))
            judges = {"temporal": self._clips, "pictures": self._pictures, "pictures_temporal": self._pictures}
            judge = judges.get(self.config.stage, self._pairs)
            found, rows = within(lambda: judge(models, state, given))
            figures |= found
            if "motion_encoder" in state.averages:
                latent = within(lambda: latent_statistics(models.motion_encoder, self.crops, "validation"))
                figures |= latent.figures()
                writer.add_histogram("latent/variance", latent.variance, state.step)  # type: ignore[no-untyped-call]
        for name, value in figures.items():
            writer.add_scalar(f"validation/{name}", value, state.step)
        sheet = contact_sheet(rows, side=self.config.picture_size)
        log_picture(writer, "validation", sheet, state.step)
        if self.output is not None:
            write_image(self.output / f"validation_{state.step:07d}.png", sheet)
        return figures

    def _labels(self, models: AnimatorModels, head: LabelHead) -> Figures:
        batch = self.batch.to(models.motion_encoder.device)
        with evaluating(models.motion_encoder):
            trained = encode_motion(models.motion_encoder, batch)
        return {"label": label_losses(head, trained, batch, 1.0)["label"].item()}

    def _pairs(self, models: AnimatorModels, state: TrainingState, given: Given) -> tuple[Figures, list[Row]]:
        batch = self.batch.to(models.motion_encoder.device)
        target, perceptual = batch.swap(batch.images), given.networks.lpips
        figures = {"l1_copy": _l1(batch.images, target)}
        rows = [_row("reference", batch.images), _row("driving", target)]
        motion = None if self.config.stage == "image" else encode_motion(models.motion_encoder, batch)
        if "gan_head" in state.averages and motion is not None:
            drawn = generate(models.gan_head, motion, batch, self.config).image.clamp(-1, 1)
            rows.append(_row("GAN head", drawn))
            figures["l1_gan"] = _l1(drawn, target)
            if perceptual is not None:
                figures["lpips_gan"] = perceptual(drawn, target).mean().item()
                figures["lpips_copy"] = perceptual(batch.images, target).mean().item()
        if "unet" in state.averages:
            loss = diffusion_loss(models, given.image_tokens, motion, batch, self.config, step=0)
            figures["diffusion"] = loss.item()
            tokens = None if motion is None else motion.tokens[:SHOWN, None]
            generator = torch.Generator().manual_seed(SEED)
            drawn = draw(models, given.image_tokens, tokens, batch.images[:SHOWN], DDIM_STEPS, generator)[:, 0]
            rows.append(_row("diffusion", drawn))
            figures["l1_diffusion"] = _l1(drawn, target[:SHOWN])
            figures["l1_copy_shown"] = _l1(batch.images[:SHOWN], target[:SHOWN])
        return figures, rows

    def _clips(self, models: AnimatorModels, state: TrainingState, given: Given) -> tuple[Figures, list[Row]]:
        sampler = clip_sampler(self.config, models, self.crops, "validation", SEED)
        batch = sampler.batch(CLIPS, step=0).to(models.motion_encoder.device)
        loss = clip_loss(models, given.image_tokens, batch, self.config, step=0)
        generator, tokens = torch.Generator().manual_seed(SEED), clip_motion(models, batch)
        drawn = draw(models, given.image_tokens, tokens, batch.references, DDIM_STEPS, generator, temporal=True)
        figures = {
            "diffusion": loss.item(),
            "l1_copy": _l1(batch.references[:, None].expand_as(batch.frames), batch.frames),
            "l1_diffusion": _l1(drawn, batch.frames),
            "flicker": _l1(drawn[:, 1:], drawn[:, :-1]),
            "flicker_true": _l1(batch.frames[:, 1:], batch.frames[:, :-1]),
        }
        rows = []
        for clip in range(len(drawn)):
            rows += [_row("driving", batch.frames[clip]), _row("diffusion", drawn[clip])]
        return figures, rows

    def _pictures(self, models: AnimatorModels, state: TrainingState, given: Given) -> tuple[Figures, list[Row]]:
        """Frame by frame, with the targets as their own drivers."""
        batch, control = self.batch.to(models.unet.device), control_of(models)
        target, drivers = batch.swap(batch.images), themselves(batch)
        references = encode_images(models.vae, batch.images)
        prompt = control.prompts(references)
        told = telling(control, drivers, torch.ones(len(references), 2).to(references), 1)
        clean = batch.swap(references)[:, :, None]
        weights = cell_weights(self.config, batch.swap(batch.landmarks)[:, None], clean)
        windows = Denoising(clean, references, prompt, None, 0, weights, told)
        loss = denoising_loss(models, windows, 0.0, sample_generators(SEED, 0, batch.numbers.tolist()), temporal=False)
        shown = Drivers(drivers.pictures[:SHOWN], drivers.points[:SHOWN])
        told = telling(control, shown, torch.ones(len(shown.points), 2).to(references), 1)
        generator = torch.Generator().manual_seed(SEED)
        drawn = draw(models, lambda x: prompt[: len(x)], None, batch.images[:SHOWN], DDIM_STEPS, generator, told=told)[
            :, 0
        ]
        figures = {
            "diffusion": loss.item(),
            "l1_diffusion": _l1(drawn, target[:SHOWN]),
            "l1_copy_shown": _l1(batch.images[:SHOWN], target[:SHOWN]),
        }
        rows = [_row("reference", batch.images), _row("driving", drivers.pictures), _row("diffusion", drawn)]
        return figures, rows


def _row(label: str, images: Tensor) -> Row:
    return Row(label, list(to_uint8(images[:SHOWN])))


def _l1(a: Tensor, b: Tensor) -> float:
    """Mean absolute difference of images in [-1, 1], on the scale of [0, 1]."""
    return (a - b).abs().mean().item() / 2
