"""What a run looks like on other people: figures and a picture grid, from the averaged weights."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from animator.evaluation.lpips import Lpips
from animator.image import write_image
from animator.models import AnimatorModels
from animator.pixels import to_uint8
from animator.training.config import TrainAnimatorConfig
from animator.training.crops import FaceCrops
from animator.training.diffusion import diffusion_loss, draw
from animator.training.pairs import PairSampler
from animator.training.state import TrainingState, evaluating
from animator.training.steps import LabelHead, encode_motion, generate, label_losses
from animator.visuals import Row, contact_sheet

PAIRS = 24
SHOWN = 8
SEED = 1234
DDIM_STEPS = 8  # enough to see what is learnt; a validation must not cost what training could have


class Validator:
    """Scores the averaged weights on one fixed batch of validation pairs and draws it.

    Args:
        crops: data with a "validation" split.
        config: of the run.
        crop_size: side of the encoder's crops.
        output: folder in which `validation_STEP.png` appears.
    """

    def __init__(self, crops: FaceCrops, config: TrainAnimatorConfig, crop_size: int, output: Path) -> None:
        sampler = PairSampler(crops, "validation", config.image_size, crop_size, None, SEED)
        self.batch = sampler.batch(PAIRS, step=0)
        self.config = config
        self.output = output

    @torch.no_grad()
    def run(
        self, models: AnimatorModels, state: TrainingState, perceptual: Lpips | None, writer: SummaryWriter
    ) -> dict[str, float]:
        """Figures of this moment, of what the run trains; the same weights always give the same.

        Returns:
            l1_copy, l1_gan, l1_diffusion: mean absolute error, in [0, 1] units, of copying the reference, of the GAN
            head, and of the diffusion model without guidance, which draws only the pictures that are shown;
            l1_copy_shown: of copying these. lpips_copy, lpips_gan: likewise. diffusion: Eq. 1 with fixed noise, noise
            levels and masks. label: the label loss of the encoder as it is trained, for the label head has no average.
        """
        batch = self.batch.to(models.motion_encoder.device)
        target = batch.swap(batch.images)
        figures = {"step": float(state.step), "minutes": state.seconds / 60}
        figures["l1_copy"] = _l1(batch.images, target)
        rows = [_row("reference", batch.images), _row("driving", target)]
        if self.config.losses.label:
            head = cast(LabelHead, state.modules["label_head"])
            with evaluating(models.motion_encoder):
                trained = encode_motion(models.motion_encoder, batch)
            figures["label"] = label_losses(head, trained, batch, 1.0)["label"].item()
        with ExitStack() as stack:
            for name, average in state.averages.items():
                stack.enter_context(average.applied_to(state.modules[name]))
            motion = encode_motion(models.motion_encoder, batch)
            if "gan_head" in state.averages:
                drawn = generate(models.gan_head, motion, batch, self.config).image.clamp(-1, 1)
                rows.append(_row("GAN head", drawn))
                figures["l1_gan"] = _l1(drawn, target)
                if perceptual is not None:
                    figures["lpips_gan"] = perceptual(drawn, target).mean().item()
                    figures["lpips_copy"] = perceptual(batch.images, target).mean().item()
            if "unet" in state.averages:
                generator = torch.Generator().manual_seed(SEED)
                figures["diffusion"] = diffusion_loss(models, motion, batch, self.config, generator).item()
                drawn = draw(models, motion, batch.images[:SHOWN], DDIM_STEPS, generator.manual_seed(SEED))
                rows.append(_row("diffusion", drawn))
                figures["l1_diffusion"] = _l1(drawn, target[:SHOWN])
                figures["l1_copy_shown"] = _l1(batch.images[:SHOWN], target[:SHOWN])
        for name, value in figures.items():
            writer.add_scalar(f"validation/{name}", value, state.step)
        write_image(self.output / f"validation_{state.step:07d}.png", contact_sheet(rows, side=self.config.image_size))
        return figures


def _row(label: str, images: Tensor) -> Row:
    return Row(label, list(to_uint8(images[:SHOWN])))


def _l1(a: Tensor, b: Tensor) -> float:
    """Mean absolute difference of images in [-1, 1], on the scale of [0, 1]."""
    return (a - b).abs().mean().item() / 2
