"""Train the animator: data, models, optimiser, loop, for each of the paper's stages (X-NeMo section 3.3).

What a stage trains, and by which losses, is in `animator.training.stages`; here is what they share. A run belongs to
its output folder: started again with the same settings it continues from the last checkpoint as if it had never
stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from animator.builders import build_animator
from animator.models import AnimatorModels
from animator.models.global_batch import join_batch_norms
from animator.training.checks import check_autoencoder, check_latents, check_settings, check_start
from animator.training.config import TrainAnimatorConfig
from animator.training.crops import FaceCrops
from animator.training.image_token import ImageTokens, load_image_encoder
from animator.training.loop import Run, refuse_bad_gradient, refuse_not_finite
from animator.training.optimisers import build_optimizer
from animator.training.perceptual import PerceptualNetworks
from animator.training.pieces import whole_state
from animator.training.plan import check_plan, plan_run
from animator.training.ranks import Ranks, Terms
from animator.training.stages import STAGES, Stage, StepLosses
from animator.training.stages.stage import Given, networks_of
from animator.training.state import AveragedWeights, TrainingState
from animator.training.utilisation import Utilisation, device_peak
from animator.training.validation import Validator
from animator.training.weights import NETWORKS, load_networks, save_networks, save_pipeline

WEIGHTS = "weights"  # folder of the finished weights, inside the run's output
Result = TypeVar("Result")


def train_animator(config: TrainAnimatorConfig) -> Path:
    """Build or load an animator, train a stage of it and write its averaged weights.

    Args:
        config: architecture, stage, data and settings of the run.
    Returns:
        The folder of the finished weights, as `start_from=` takes it, and `weights=` where a motion encoder or a
        control is in it.
    Raises:
        XNeMoError: settings that do not go together, data that cannot be read, too little memory, or a loss that is
            not finite.
    """
    accelerator = _accelerator(config)
    ranks = Ranks(accelerator)
    check_settings(config, ranks)
    crops = FaceCrops.open(Path(config.crops))
    check_latents(config, crops)
    given = _given(config, crops)
    operations = None
    if config.plan:
        plan = plan_run(config, ranks, accelerator.device, given.image_tokens.encoder)
        if ranks.main:
            tqdm.write(plan.table(), file=sys.stderr)
        check_plan(plan, config)
        operations = plan.operations
    models = build_animator(config.animator, config.seed)
    trained = load_networks(models, Path(config.start_from)) if config.start_from is not None else set()
    stage = STAGES[config.stage](config, models, given)
    check_start(config, stage.needs, trained)
    check_autoencoder(config, crops, models.vae)
    state = train(config, stage, accelerator, operations)
    for name, average in state.averages.items():
        average.store_in(getattr(models, name))
    if ranks.sharded:
        models = _put_together(config, models, ranks)
    trained |= set(stage.modules) & set(NETWORKS)
    folder = Path(config.output) / WEIGHTS
    if ranks.main and trained & {"motion_encoder", "control"}:
        save_pipeline(models, config.animator, trained, folder, given.image_tokens.encoder)
    elif ranks.main:
        save_networks(models, trained, folder, given.image_tokens.encoder)
    ranks.wait()
    return folder


def train(
    config: TrainAnimatorConfig,
    stage: Stage,
    accelerator: Accelerator | None = None,
    operations: float | None = None,
) -> TrainingState:
    """Train until the time or the steps are used up.

    Args:
        config: the run's settings.
        stage: what is trained, in place.
        accelerator: how and with whom; made as `config` says if None.
        operations: of a step of one process, for its speed in the log; None where nobody has counted.
    Returns:
        The finished state; its averages hold the weights worth keeping.
    """
    accelerator = accelerator or _accelerator(config)
    ranks, device, models, given = Ranks(accelerator), accelerator.device, stage.models, stage.given
    crops = FaceCrops.open(Path(config.crops))

    for network in (*networks_of(models).values(), *stage.modules.values()):
        network.to(device)
    given.image_tokens.to(device)
    given.networks.to(device)
    for module in stage.modules.values():
        join_batch_norms(module)
    if config.gradient_checkpointing:
        models.unet.enable_gradient_checkpointing()
        models.reference_net.enable_gradient_checkpointing()
    if config.compile != "no":
        for network in (models.unet, models.reference_net, models.gan_head):
            network.compile(mode=config.compile)  # in place: the names of the weights stay

    optimizers = {"model": build_optimizer(config, stage.modules.values())}
    together, optimizers["model"] = accelerator.prepare(Together(stage.modules), optimizers["model"])
    modules = dict(stage.modules)
    if stage.adversary is not None:
        modules["discriminator"] = stage.adversary
        optimizers["discriminator"] = build_optimizer(config, [stage.adversary])
    # After the wrapping, which may have moved the weights or cut them into pieces.
    kept = {
        name: AveragedWeights(module, config.ema_decay) for name, module in stage.modules.items() if name in NETWORKS
    }
    state = TrainingState(modules, optimizers, kept, {})
    utilisation = None
    if operations is not None:
        peak = device_peak(device, config.mixed_precision, config.device_teraflops)
        utilisation = Utilisation(operations, peak)
    run = Run(state, config.schedule, Path(config.output), ranks, _trackers(accelerator, config), utilisation)
    run.resume()
    validator = Validator(crops, config, models.motion_encoder.config.image_size, run.output if ranks.main else None)

    def step(parts: list[Any], rate_factor: float) -> Terms:
        parts = [batch.to(device) for batch in parts]
        rate = config.learning_rate * rate_factor
        terms, found = _learn(config, stage, state, together, accelerator, parts, rate)
        if stage.adversary is not None:
            terms |= _judge(config, stage, state, accelerator, parts, found, rate)
        for name, average in state.averages.items():
            average.update(state.modules[name], state.step)
        return terms | {"rate/model": torch.tensor(rate)}

    @torch.no_grad()
    def validate(writer: SummaryWriter) -> dict[str, float]:
        return validator.run(models, state, given, writer, together)

    shown = crops.on(device)
    run.loop(stage.stream(shown, state.step, ranks.shares(config.accumulate)), step, validate)
    return state


def _put_together(config: TrainAnimatorConfig, models: AnimatorModels, ranks: Ranks) -> AnimatorModels:
    """The networks as they are, in the main process, from the pieces of all."""
    states = {name: whole_state(network) for name, network in networks_of(models).items()}
    if not ranks.main:
        return models
    whole = build_animator(config.animator)
    for name, network in networks_of(whole).items():
        network.load_state_dict(states[name])
    return whole


class Together(nn.Module):
    """All modules of a stage as one, for accelerate to wrap; whatever uses their weights runs inside its forward."""

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(modules)

    def forward(self, work: Callable[[], Result]) -> Result:
        """Do some work with the modules."""
        return work()


def _learn(
    config: TrainAnimatorConfig,
    stage: Stage,
    state: TrainingState,
    together: nn.Module,
    accelerator: Accelerator,
    parts: list[Any],
    rate: float,
) -> tuple[Terms, list[StepLosses]]:
    """One update of the stage's modules; returns the terms, averaged over all parts, and what each part gave."""
    optimizer, ranks, found = state.optimizers["model"], Ranks(accelerator), []
    norm = torch.zeros(())
    for group in optimizer.param_groups:  # before the first part: DeepSpeed makes its step in `backward`
        group["lr"] = rate
    for batch in parts:
        with accelerator.accumulate(together):
            losses: StepLosses = together(lambda batch=batch: stage.losses(batch, state.step))
            refuse_not_finite(losses.terms, ranks)
            accelerator.backward(torch.stack(list(losses.terms.values())).sum())
            if accelerator.sync_gradients:
                norm = _descend(optimizer, losses.terms, config.gradient_clip, accelerator)
            found.append(losses)
    return ranks.mean(_average([losses.terms for losses in found])) | {"gradient/model": norm}, found


def _judge(
    config: TrainAnimatorConfig,
    stage: Stage,
    state: TrainingState,
    accelerator: Accelerator,
    parts: list[Any],
    found: list[StepLosses],
    rate: float,
) -> Terms:
    """One update of the discriminator on what the GAN head has just drawn; nothing where it drew nothing."""
    optimizer, ranks = state.optimizers["discriminator"], Ranks(accelerator)
    assert stage.adversary is not None
    optimizer.zero_grad(set_to_none=True)
    seen = []
    for batch, losses in zip(parts, found, strict=True):
        if losses.drawn is None:
            return {}
        terms = stage.adversary_losses(batch, losses.drawn, state.step)
        refuse_not_finite(terms, ranks)
        (torch.stack(list(terms.values())).sum() / len(parts)).backward()
        seen.append({name: term.detach() for name, term in terms.items()})
    ranks.average_gradients(stage.adversary.parameters())
    for group in optimizer.param_groups:
        group["lr"] = rate
    norm = nn.utils.clip_grad_norm_(stage.adversary.parameters(), config.gradient_clip)
    refuse_bad_gradient(norm, seen[0])
    optimizer.step()
    return ranks.mean(_average(seen)) | {"gradient/discriminator": norm}


def _descend(optimizer: torch.optim.Optimizer, terms: Terms, clip: float, accelerator: Accelerator) -> torch.Tensor:
    """Make a step along the gradients that are there, with a norm of at most `clip`; returns the norm before that."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = accelerator.clip_grad_norm_(parameters, clip)
    # DeepSpeed has clipped and stepped already, and gives a number; at stage 0 it keeps the norm to itself.
    norm = norm.full_tensor() if hasattr(norm, "full_tensor") else torch.as_tensor(0.0 if norm is None else norm)
    refuse_bad_gradient(norm, terms)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm.detach()


def _average(terms: list[Terms]) -> Terms:
    """The mean of each term over the parts of a step."""
    return {name: torch.stack([part[name].detach().float() for part in terms]).mean() for name in terms[0]}


def _accelerator(config: TrainAnimatorConfig) -> Accelerator:
    # Which parameters take part differs by stage and by step; buffers are kept equal by the batch itself.
    wrapping = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.accumulate,
        kwargs_handlers=[wrapping],
        log_with=list(config.trackers) or None,
        project_dir=config.output,
    )
    plugin = accelerator.state.deepspeed_plugin
    if plugin is not None:
        # DeepSpeed asks for it where accelerate has no data loader to ask.
        samples = config.clips if config.stage.endswith("temporal") else config.pairs
        part = max(1, samples // (accelerator.num_processes * config.accumulate))
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = part
        plugin.deepspeed_config["gradient_clipping"] = config.gradient_clip
    return accelerator


def _trackers(accelerator: Accelerator, config: TrainAnimatorConfig) -> list[Any]:
    if config.trackers:
        accelerator.init_trackers("xnemo")
    return list(accelerator.trackers)


def _given(config: TrainAnimatorConfig, crops: FaceCrops) -> Given:
    """What the stages work with and do not train, from the files that the settings name."""
    encoder = None
    if config.animator.image_encoder and (config.stage != "motion" or config.train_diffusion):
        encoder = load_image_encoder(Path(config.start_from or "") / "image_encoder")
    tokens = ImageTokens(config.animator.unet.cross_attention_dim, encoder)
    return Given(tokens, PerceptualNetworks.load(config), crops.label_scale())
