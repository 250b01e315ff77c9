"""Short runs of the animator's recipe for tests: settings that are quick, and stages built by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from animator.builders import build_animator
from animator.config_loader import load_config
from animator.training.config import TrainAnimatorConfig
from animator.training.image_token import ImageTokens
from animator.training.perceptual import PerceptualNetworks
from animator.training.stages import STAGES, Stage
from animator.training.stages.stage import Given
from tests.animator.tiny import shake

QUICK = ["animator=tiny", "pairs=2", "diffusion_pairs=2", "clips=2", "frames=4", "learning_rate=1e-3", "plan=false"]
NO_FILES = ["losses.vgg=0", "losses.vggface=0"]  # networks that cannot be had without a fetch


def settings(stage: str, crops: Path, output: Path, steps: int, *overrides: str) -> TrainAnimatorConfig:
    """Settings of a stage's own recipe at size tiny."""
    where = [f"train={stage}", f"crops={crops}", f"output={output}", f"schedule.max_steps={steps}"]
    return load_config("train_animator", [*where, *QUICK, *NO_FILES, "schedule.rise_steps=1", *overrides])


def stage_of(config: TrainAnimatorConfig, shaken: bool = False) -> Stage:
    """A stage on fresh networks; `shaken` ones have no projection that is zero."""
    models = build_animator(config.animator, 0)
    if shaken:
        for seed, network in enumerate((models.unet, models.reference_net)):
            shake(network, seed)
    width = config.animator.unet.cross_attention_dim
    return STAGES[config.stage](config, models, Given(ImageTokens(width), PerceptualNetworks(), torch.ones(58)))


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor and number in nested dictionaries and lists, with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{name}/{key}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from leaves(item, f"{name}/{number}")
    else:
        yield name, value


def check_same(one: dict[str, Any], other: dict[str, Any], parts: tuple[str, ...]) -> None:
    """Fail where two checkpoints differ in a bit of these parts."""
    for part in parts:
        for (name, value), (_, second) in zip(leaves(one[part]), leaves(other[part]), strict=True):
            same = torch.equal(value, second) if isinstance(value, Tensor) else value == second
            assert same, f"{part}{name}"


def logged(output: Path) -> dict[str, dict[int, float]]:
    """Every scalar of a run's TensorBoard log: name -> step -> value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(output / "log"))
    events.Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
