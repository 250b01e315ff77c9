"""The animator's recipe on real frames: it learns, resumes bit for bit, and never keeps what came of a NaN."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from animator.builders import animator_config, build_animator
from animator.config_loader import load_config
from animator.errors import XNeMoError
from animator.models import AnimatorModels
from animator.pipeline import XNeMoPipeline
from animator.training.config import TrainAnimatorConfig
from animator.training.crops import FaceCrops
from animator.training.diffusion import diffusion_loss
from animator.training.image_token import ImageTokens
from animator.training.loop import Run, update
from animator.training.pairs import PairBatch, PairSampler
from animator.training.perceptual import PerceptualNetworks
from animator.training.recipe import train, train_animator
from animator.training.stages import MotionStage
from animator.training.stages.stage import Given
from animator.training.state import TrainingState
from animator.training.steps import encode_motion, gan_losses, generate
from tests.animator.tiny import shake
from tests.animator.training.runs import leaves

QUICK = ["animator=tiny", "image_size=64", "pairs=2", "diffusion_pairs=1", "learning_rate=1e-3"]
NO_LABELS = ["losses.label=0", "schedule.label_warm_up_steps=0"]


def settings(crops: Path, output: Path, steps: int, *overrides: str) -> TrainAnimatorConfig:
    where = [f"crops={crops}", f"output={output}", f"schedule.max_steps={steps}", "schedule.rise_steps=1"]
    return load_config("train_animator", [*QUICK, *NO_LABELS, *where, *overrides])


def fresh() -> AnimatorModels:
    return build_animator(animator_config("tiny"), 0)


def stage_of(config: TrainAnimatorConfig, models: AnimatorModels) -> MotionStage:
    scale = FaceCrops.open(Path(config.crops)).label_scale()
    return MotionStage(config, models, Given(ImageTokens(8), PerceptualNetworks(), scale))


def checkpoint(output: Path) -> dict[str, Any]:
    return torch.load(output / "checkpoint.pt", weights_only=True)


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an autoencoder, as `xnemo train autoencoder` leaves it."""
    folder = tmp_path_factory.mktemp("autoencoder")
    vae = fresh().vae
    assert vae is not None
    vae.save_pretrained(folder / "vae")
    return folder


def test_a_stopped_run_goes_on_bit_for_bit(crops_folder: Path, autoencoder: Path, tmp_path: Path) -> None:
    everything = [
        "train_diffusion=true", f"start_from={autoencoder}", "losses.adversarial=0.1",
        "losses.label=1", "schedule.label_warm_up_steps=2", "schedule.label_fade_steps=3",
    ]  # fmt: skip
    train_animator(settings(crops_folder, tmp_path / "through", 6, *everything))
    train_animator(settings(crops_folder, tmp_path / "stopped", 3, *everything))
    assert checkpoint(tmp_path / "stopped")["step"] == 3
    train_animator(settings(crops_folder, tmp_path / "stopped", 6, *everything))
    whole, resumed = checkpoint(tmp_path / "through"), checkpoint(tmp_path / "stopped")
    for part in ("modules", "averages", "optimizers", "generators", "step"):
        for (name, value), (_, other) in zip(leaves(whole[part]), leaves(resumed[part]), strict=True):
            same = torch.equal(value, other) if isinstance(value, Tensor) else value == other
            assert same, f"{part}{name}"
    modules = {"motion_encoder", "label_head", "gan_head", "discriminator", "reference_net", "unet"}
    assert set(whole["modules"]) == modules
    # Every network has learnt something; "label_head" has no fresh copy to compare with.
    for name in modules - {"label_head"}:
        before = getattr(fresh(), name).state_dict()
        assert any(not torch.equal(before[key], value) for key, value in whole["modules"][name].items()), name

    pipeline = XNeMoPipeline.from_pretrained(tmp_path / "stopped" / "weights")
    assert pipeline.unet is not None and pipeline.vae is not None
    assert (tmp_path / "stopped" / "validation_0000006.png").is_file()


def batch_of(crops: FaceCrops, split: str = "train", pairs: int = 6) -> PairBatch:
    return PairSampler(crops, split, 64, 32, None, 0).batch(pairs, 0)


@torch.no_grad()
def gan_loss(models: AnimatorModels, batch: PairBatch, config: TrainAnimatorConfig) -> float:
    motion = encode_motion(models.motion_encoder.eval(), batch)
    output = generate(models.gan_head.eval(), motion, batch, config)
    return float(sum(gan_losses(output, batch, config.losses, PerceptualNetworks(), None).values()))


def test_a_tiny_set_is_learnt(crops_folder: Path, tmp_path: Path) -> None:
    weak = ["augment.brightness=0", "augment.contrast=0", "augment.saturation=0", "augment.piecewise=0"]
    config = settings(crops_folder, tmp_path / "run", 80, "pairs=4", "learning_rate=3e-3", *weak)
    models, batch = fresh(), batch_of(FaceCrops.open(crops_folder))
    before = gan_loss(models, batch, config)
    train(config, stage_of(config, models))
    assert gan_loss(models, batch, config) < 0.85 * before


def test_labels_alone_warm_the_encoder_up(crops_folder: Path, tmp_path: Path) -> None:
    labels = ["losses.label=1", "schedule.label_warm_up_steps=100"]
    models = fresh()
    config = settings(crops_folder, tmp_path / "run", 2, *labels)
    state = train(config, stage_of(config, models))
    untouched = fresh().gan_head.state_dict()
    assert all(torch.equal(untouched[key], value) for key, value in state.modules["gan_head"].state_dict().items())
    changed = fresh().motion_encoder.state_dict()
    assert any(not torch.equal(changed[key], value) for key, value in models.motion_encoder.state_dict().items())


def test_the_diffusion_loss_reaches_the_motion_encoder(crops_folder: Path, tmp_path: Path) -> None:
    config = settings(crops_folder, tmp_path, 1, "diffusion_pairs=2")
    models = fresh()
    # Projections that start at zero would hide the path.
    shake(models.unet)
    batch = batch_of(FaceCrops.open(crops_folder), pairs=2)
    motion = encode_motion(models.motion_encoder, batch)
    models.vae.requires_grad_(False)
    loss = diffusion_loss(models, ImageTokens(8), motion, batch, config, step=0)
    loss.backward()
    for name in ("to_latent", "fusion", "box_mlp"):
        for parameter in getattr(models.motion_encoder, name).parameters():
            assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    assert all(parameter.grad is None for parameter in models.vae.parameters())


def test_a_nan_stops_the_run_and_keeps_the_checkpoint(crops_folder: Path, tmp_path: Path) -> None:
    train_animator(settings(crops_folder, tmp_path, 2))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(XNeMoError, match=r"the loss .* is not finite at step \d+; the last checkpoint is kept"):
        train_animator(settings(crops_folder, tmp_path, 12, "learning_rate=1e30"))
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    train_animator(settings(crops_folder, tmp_path, 3))
    assert checkpoint(tmp_path)["step"] == 3


def test_a_gradient_that_is_no_number_stops_the_run_before_the_step(tmp_path: Path) -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1.0)
    run = Run(TrainingState({"layer": layer}, {"model": optimizer}, {}, {}), TrainAnimatorConfig().schedule, tmp_path)
    accelerator = Accelerator()

    def step(batch: int, rate: float) -> dict[str, Tensor]:
        terms = {"length": layer.weight.square().sum().sqrt()}  # 0, with the slope 0 / 0
        update(optimizer, terms, rate, 1.0, accelerator)
        return terms

    with pytest.raises(XNeMoError, match="the gradient of length is not finite at step 0; the last checkpoint is kept"):
        run.loop(iter(range(9)), step, lambda writer: {})
    assert layer.weight.abs().max() == 0 and not optimizer.state
    assert not (tmp_path / "checkpoint.pt").exists()


def test_an_interruption_keeps_the_steps_that_were_done(tmp_path: Path) -> None:
    layer = torch.nn.Linear(1, 1)
    run = Run(TrainingState({"layer": layer}, {}, {}, {}), TrainAnimatorConfig().schedule, tmp_path)

    def step(batch: int, rate: float) -> dict[str, Tensor]:
        if batch == 3:
            signal.raise_signal(signal.SIGINT)
        with torch.no_grad():
            layer.weight.fill_(batch)  # what comes after Ctrl-C still belongs to the step
        return {"loss": torch.zeros(())}

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run.loop(iter(range(9)), step, lambda writer: {})
    assert checkpoint(tmp_path)["step"] == 4
    assert checkpoint(tmp_path)["modules"]["layer"]["weight"].item() == 3
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_frozen_encoder_keeps_its_id(crops_folder: Path, tmp_path: Path) -> None:
    first = train_animator(settings(crops_folder, tmp_path / "first", 1))
    frozen = settings(crops_folder, tmp_path / "next", 2, f"start_from={first}", "train_encoder=false")
    ids = [XNeMoPipeline.from_pretrained(weights).encoder_id for weights in (first, train_animator(frozen))]
    assert ids[0] == ids[1]


def test_weights_without_diffusion_load_and_hold_the_head_alone(crops_folder: Path, tmp_path: Path) -> None:
    weights = train_animator(settings(crops_folder, tmp_path, 1))
    pipeline = XNeMoPipeline.from_pretrained(weights)
    assert pipeline.unet is None and pipeline.vae is None
    kept, averaged = pipeline.gan_head.state_dict(), checkpoint(tmp_path)["averages"]["gan_head"]
    # Half precision, and back in a folder that goes on with `start_from`.
    assert all(torch.equal(value.half(), averaged[key].half()) for key, value in kept.items())
    train_animator(settings(crops_folder, tmp_path / "next", 1, f"start_from={weights}"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train_diffusion=true"], "needs a trained autoencoder, and start_from names no folder"),
        (["train_gan=false"], "nothing to train"),
        (["losses.perceptual=1"], "losses.perceptual is on but perceptual_weights names no file"),
        (["losses.perceptual_parts=1"], "losses.perceptual_parts is on but perceptual_weights names no file"),
        (["start_from=absent"], "no weights here"),
        (["crops=absent"], "not a folder of face crops"),
        (["train_diffusion=true", "animator.image_encoder=true"], "or set animator.image_encoder=false"),
    ],
)
def test_settings_that_do_not_go_together_are_named(
    crops_folder: Path, tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(XNeMoError, match=message):
        train_animator(settings(crops_folder, tmp_path, 1, *overrides))


def test_another_architectures_checkpoint_is_refused(crops_folder: Path, tmp_path: Path) -> None:
    train_animator(settings(crops_folder, tmp_path, 1))
    with pytest.raises(XNeMoError, match="cannot continue from this checkpoint"):
        train_animator(settings(crops_folder, tmp_path, 2, "animator.motion_encoder.box_dim=16"))
