"""What a run looks like on other people: figures and a picture grid, from the averaged weights."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from animator.evaluation.lpips import Lpips
from animator.image import write_image
from animator.models import AnimatorModels
from animator.pixels import to_uint8
from animator.training.config import TrainAnimatorConfig
from animator.training.crops import FaceCrops
from animator.training.pairs import PairSampler
from animator.training.state import TrainingState
from animator.training.steps import encode_motion, generate
from animator.visuals import Row, contact_sheet

PAIRS = 24
SHOWN = 8
SEED = 1234


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
        """Figures of this moment: L1 in [0, 1] units of the GAN head and of copying the reference; LPIPS likewise."""
        encoder = copy.deepcopy(models.motion_encoder).cpu().eval()
        encoder.load_state_dict(state.averages["motion_encoder"].values)
        motion = encode_motion(encoder, self.batch)
        target = self.batch.swap(self.batch.images)
        figures = {"step": float(state.step), "minutes": state.seconds / 60}
        figures["l1_copy"] = _l1(self.batch.images, target)
        rows = [
            Row("reference", list(to_uint8(self.batch.images[:SHOWN]))),
            Row("driving", list(to_uint8(target[:SHOWN]))),
        ]
        if "gan_head" in state.averages:
            head = copy.deepcopy(models.gan_head).cpu().eval()
            head.load_state_dict(state.averages["gan_head"].values)
            drawn = generate(head, motion, self.batch, self.config).image.clamp(-1, 1)
            figures["l1_gan"] = _l1(drawn, target)
            rows.append(Row("GAN head", list(to_uint8(drawn[:SHOWN]))))
            if perceptual is not None:
                network = copy.deepcopy(perceptual).cpu()
                figures["lpips_gan"] = network(drawn, target).mean().item()
                figures["lpips_copy"] = network(self.batch.images, target).mean().item()
        for name, value in figures.items():
            writer.add_scalar(f"validation/{name}", value, state.step)
        write_image(self.output / f"validation_{state.step:07d}.png", contact_sheet(rows, side=self.config.image_size))
        return figures


def _l1(a: Tensor, b: Tensor) -> float:
    """Mean absolute difference of images in [-1, 1], on the scale of [0, 1]."""
    return (a - b).abs().mean().item() / 2
