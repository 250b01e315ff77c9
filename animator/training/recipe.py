"""Train the animator: motion encoder, GAN head and diffusion model together (X-NeMo section 3.3).

The recipe reads top to bottom: data, models, optimisers, loop. A run belongs to its output folder: started again
with the same settings it continues from the last checkpoint as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from animator.builders import build_animator
from animator.errors import XNeMoError
from animator.evaluation.lpips import Lpips
from animator.models import AnimatorModels
from animator.training.config import TrainAnimatorConfig
from animator.training.crops import FaceCrops
from animator.training.diffusion import diffusion_loss
from animator.training.loop import Run, update
from animator.training.pairs import PairBatch, PairSampler
from animator.training.state import AveragedWeights, TrainingState
from animator.training.steps import (
    R1_INTERVAL,
    LabelHead,
    Losses,
    discriminator_losses,
    encode_motion,
    gan_losses,
    generate,
    label_losses,
)
from animator.training.validation import Validator
from animator.training.weights import load_networks, save_pipeline

WEIGHTS = "weights"  # folder of the finished weights, inside the run's output


def train_animator(config: TrainAnimatorConfig) -> Path:
    """Build or load an animator, train it and write its averaged weights.

    Args:
        config: architecture, data and settings of the run.
    Returns:
        The folder of the finished weights, as `weights=` takes it.
    Raises:
        XNeMoError: settings that do not go together, data that cannot be read, or a loss that is not finite.
    """
    _check(config)
    models = build_animator(config.animator, config.seed)
    trained = load_networks(models, Path(config.start_from)) if config.start_from is not None else set()
    if config.train_diffusion and "vae" not in trained:
        raise XNeMoError(
            "train_diffusion=true needs a trained autoencoder: run `xnemo train autoencoder` and name its weights "
            "with start_from=, or set train_diffusion=false"
        )
    if not config.train_encoder and "motion_encoder" not in trained:
        raise XNeMoError("train_encoder=false needs a trained motion encoder; name its weights with start_from=")
    state = train(config, models)
    for name, average in state.averages.items():
        getattr(models, name).load_state_dict(average.values)
    return save_pipeline(models, config.animator, trained | set(state.averages), Path(config.output) / WEIGHTS)


def train(config: TrainAnimatorConfig, models: AnimatorModels) -> TrainingState:
    """Train until the time or the steps are used up.

    Args:
        config: the run's settings.
        models: the modules, fresh or loaded; trained in place.
    Returns:
        The finished state; its averages hold the weights worth keeping.
    """
    accelerator = Accelerator(mixed_precision=config.mixed_precision)

    crops = FaceCrops.open(Path(config.crops))
    crop_size = models.motion_encoder.config.image_size
    sampler = PairSampler(crops, "train", config.image_size, crop_size, config.augment, config.seed)
    noise = torch.Generator().manual_seed(config.seed + 1)

    perceptual = None
    if config.perceptual_weights is not None:
        perceptual = Lpips(Path(config.perceptual_weights)).to(accelerator.device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        label_head = LabelHead(models.motion_encoder.config.latent_dim, crops.label_scale())
    modules = _trained_modules(config, models, label_head)
    # Before averages and optimisers are made or loaded, because these follow the weights to where they are.
    for module in modules.values():
        module.to(accelerator.device).train()
    if not config.train_encoder:
        # The statistics of its normalisations would move as well, and with them the encoder's id.
        models.motion_encoder.eval()
    kept = {name: AveragedWeights(m, config.ema_decay) for name, m in modules.items() if hasattr(m, "save_pretrained")}
    state = TrainingState(modules, _optimizers(config, modules), kept, {"noise": noise})
    run = Run(state, config.schedule, Path(config.output))
    run.resume()

    assert models.vae is not None
    models.vae.to(accelerator.device).eval().requires_grad_(False)
    validator = Validator(crops, config, crop_size, run.output)

    def step(batch: PairBatch, rate_factor: float) -> Losses:
        batch = batch.to(accelerator.device)
        rate = config.learning_rate * rate_factor
        return _step(config, models, label_head, state, batch, perceptual, noise, accelerator, rate)

    def validate(writer: SummaryWriter) -> dict[str, float]:
        return validator.run(models, state, perceptual, writer)

    run.loop(sampler.stream(config.pairs, state.step), step, validate)
    return state


def _check(config: TrainAnimatorConfig) -> None:
    for term in ("perceptual", "perceptual_parts"):
        if getattr(config.losses, term) and config.perceptual_weights is None:
            raise XNeMoError(f"losses.{term} is on but perceptual_weights names no file; name one or set it to 0")
    if not (config.train_gan or config.train_diffusion):
        raise XNeMoError("nothing to train: train_gan and train_diffusion are both off")
    if config.train_diffusion and config.animator.image_encoder:
        raise XNeMoError(
            "animator.image_encoder=true: the diffusion model is trained without CLIP's image token; set "
            "animator.image_encoder=false"
        )
    if config.schedule.label_warm_up_steps and not config.losses.label:
        raise XNeMoError("losses.label=0 leaves nothing to learn in the warm-up; set schedule.label_warm_up_steps=0")
    judged = config.animator.discriminator.image_size
    if config.losses.adversarial and judged != config.image_size:
        raise XNeMoError(
            f"image_size={config.image_size}, but animator.discriminator.image_size={judged}; make them equal"
        )


def _trained_modules(
    config: TrainAnimatorConfig, models: AnimatorModels, label_head: LabelHead
) -> dict[str, nn.Module]:
    modules: dict[str, nn.Module] = {"motion_encoder": models.motion_encoder, "label_head": label_head}
    if config.train_gan:
        modules["gan_head"] = models.gan_head
        if config.losses.adversarial:
            modules["discriminator"] = models.discriminator
    if config.train_diffusion:
        modules |= {"reference_net": models.reference_net, "unet": models.unet}
    models.motion_encoder.requires_grad_(config.train_encoder)
    return modules


def _optimizers(config: TrainAnimatorConfig, modules: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
    def adamw(trained: Iterable[nn.Module]) -> torch.optim.AdamW:
        parameters = [p for module in trained for p in module.parameters() if p.requires_grad]
        return torch.optim.AdamW(
            parameters, lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )

    optimizers: dict[str, torch.optim.Optimizer] = {
        "model": adamw(module for name, module in modules.items() if name != "discriminator")
    }
    if "discriminator" in modules:
        optimizers["discriminator"] = adamw([modules["discriminator"]])
    return optimizers


def _step(
    config: TrainAnimatorConfig,
    models: AnimatorModels,
    label_head: LabelHead,
    state: TrainingState,
    batch: PairBatch,
    perceptual: Lpips | None,
    noise: torch.Generator,
    accelerator: Accelerator,
    rate: float,
) -> Losses:
    """One update of everything that is trained; returns the weighted loss terms."""
    weights = config.losses
    warming_up = state.step < config.schedule.label_warm_up_steps
    terms: Losses = {}
    drawn = None
    with accelerator.autocast():
        motion = encode_motion(models.motion_encoder, batch)
        if weights.label:
            terms |= label_losses(label_head, motion, batch, _label_weight(config, state.step))
        if config.train_gan and not warming_up:
            drawn = generate(models.gan_head, motion, batch, config)
            discriminator = models.discriminator if weights.adversarial else None
            terms |= gan_losses(drawn, batch, weights, perceptual, discriminator)
        if config.train_diffusion and not warming_up:
            terms["diffusion"] = weights.diffusion * diffusion_loss(models, motion, batch, config, noise)
    update(state.optimizers["model"], terms, rate, config.gradient_clip, accelerator)
    if drawn is not None and "discriminator" in state.optimizers:
        penalise = state.step % R1_INTERVAL == 0
        judged = discriminator_losses(models.discriminator, drawn, batch, weights, penalise)
        update(state.optimizers["discriminator"], judged, rate, config.gradient_clip, accelerator)
        terms |= judged
    for name, average in state.averages.items():
        average.update(state.modules[name], state.step)
    return {name: term.detach() for name, term in terms.items()}


def _label_weight(config: TrainAnimatorConfig, step: int) -> float:
    """Full during the warm-up, then falling in a straight line to its floor."""
    faded = (step - config.schedule.label_warm_up_steps) / config.schedule.label_fade_steps
    share = min(max(faded, 0.0), 1.0)
    return config.losses.label + (config.losses.label_floor - config.losses.label) * share
