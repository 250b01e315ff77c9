"""Validation shows and measures everything that is trained, by the averaged weights, and leaves no trace in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from animator.builders import animator_config, build_animator
from animator.config_loader import load_config
from animator.image import read_image
from animator.models import AnimatorModels
from animator.training.config import TrainAnimatorConfig
from animator.training.crops import FaceCrops, motion_labels
from animator.training.image_token import ImageTokens
from animator.training.perceptual import PerceptualNetworks
from animator.training.stages.stage import Given
from animator.training.state import AveragedWeights, TrainingState
from animator.training.steps import LabelHead
from animator.training.validation import SHOWN, Validator
from tests.animator.tiny import shake

QUICK = ["animator=tiny", "image_size=64", "diffusion_pairs=2", "losses.label=1"]
GIVEN = Given(ImageTokens(8), PerceptualNetworks(), torch.ones(58))
LATENT = {"latent_variance", "latent_variance_least", "latent_effective_rank"}  # one person: no leakage


def state_of(models: AnimatorModels, crops: FaceCrops, *kept: str) -> TrainingState:
    labels = motion_labels(crops.blendshapes, crops.rotation)
    head = LabelHead(models.motion_encoder.config.latent_dim, torch.ones(labels.shape[1]))
    modules = {name: getattr(models, name) for name in kept}
    averages = {name: AveragedWeights(module, 0.9) for name, module in modules.items()}
    for number, name in enumerate(kept):
        with averages[name].applied_to(modules[name]):
            shake(modules[name], number)  # the average shall differ from what is trained
        modules[name].train()
    return TrainingState(modules | {"label_head": head}, {}, averages, {})


class Bench:
    """A validator over the held-out clip, and what it validates."""

    def __init__(self, crops_folder: Path, output: Path, *kept: str) -> None:
        self.crops = FaceCrops.open(crops_folder)
        self.config: TrainAnimatorConfig = load_config("train_animator", QUICK)
        self.models = build_animator(animator_config("tiny"))
        self.state = state_of(self.models, self.crops, *kept)
        self.output = output
        self.validator = Validator(self.crops, self.config, 32, output)

    def figures(self) -> dict[str, float]:
        with SummaryWriter(self.output / "log") as writer:
            return self.validator.run(self.models, self.state, GIVEN, writer)

    def tensors(self) -> list[torch.Tensor]:
        modules = [x for module in self.state.modules.values() for x in module.state_dict().values()]
        averages = [x for average in self.state.averages.values() for x in average.values.values()]
        return [x.clone() for x in modules + averages]


EVERYTHING = ("motion_encoder", "gan_head", "reference_net", "unet")


@pytest.fixture
def bench(crops_folder: Path, tmp_path: Path) -> Bench:
    return Bench(crops_folder, tmp_path, *EVERYTHING)


def test_everything_that_is_trained_is_measured_and_drawn(bench: Bench, crops_folder: Path, tmp_path: Path) -> None:
    figures = bench.figures()
    of_diffusion = {"diffusion", "l1_diffusion", "l1_copy_shown"}
    assert set(figures) == {"step", "minutes", "l1_copy", "l1_gan", "label"} | of_diffusion | LATENT
    assert all(np.isfinite(value) for value in figures.values())
    assert figures["label"] > 0 and figures["diffusion"] > 0
    without = Bench(crops_folder, tmp_path / "without", "motion_encoder", "gan_head")
    without.output.mkdir()
    assert set(without.figures()) == set(figures) - of_diffusion
    four, three = (read_image(b.output / "validation_0000000.png").shape for b in (bench, without))
    assert four[1] == three[1] and 3 * (four[0] - 4) == 4 * (three[0] - 4)  # a row more, 4 px about the sheet
    assert four[1] == SHOWN * (64 + 4) + 4


def test_the_same_weights_give_the_same_figures_and_stay_as_they_are(bench: Bench) -> None:
    before = bench.tensors()
    first = bench.figures()
    assert all(torch.equal(a, b) for a, b in zip(before, bench.tensors(), strict=True))
    assert all(bench.state.modules[name].training for name in EVERYTHING)
    torch.manual_seed(99)  # nothing is drawn from the global generator
    assert bench.figures() == first


def test_the_averages_are_what_is_measured_but_for_the_labels(bench: Bench) -> None:
    first = bench.figures()
    for name in EVERYTHING:
        shake(bench.state.modules[name], 7).train()
    trained = bench.figures()
    assert trained.pop("label") != first.pop("label")
    assert trained == first
    for value in bench.state.averages["unet"].values.values():
        value.mul_(1.1)
    other = bench.figures()
    assert other["diffusion"] != first["diffusion"] and other["l1_diffusion"] != first["l1_diffusion"]
    assert other["l1_gan"] == first["l1_gan"]
