"""Train the motion tokenizer (X-NeMo appendix D, after T2M-GPT).

The recipe reads top to bottom: data, model, optimiser, loop. A run belongs to its output folder: started again with the
same settings it continues from the last checkpoint as if it had never stopped.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from animator.dataset import MotionDataset
from animator.errors import XNeMoError
from animator.training.clock import ERROR, best_validation
from animator.training.loop import Run, Terms, update
from animator.training.state import AveragedWeights, TrainingState, evaluating
from motion_tokenizer.builders import build_model
from motion_tokenizer.features import BOXES, LATENTS
from motion_tokenizer.models.vqvae import MotionVQVAE
from motion_tokenizer.training.clips import FeatureClips, check_moving, read_clips
from motion_tokenizer.training.config import TrainTokenizerConfig
from motion_tokenizer.training.losses import reconstruction_losses
from motion_tokenizer.training.searched import SearchedTokens
from motion_tokenizer.training.validation import Validator
from motion_tokenizer.training.weights import WEIGHTS, save_weights, start_from
from motion_tokenizer.training.windows import WindowBatch, WindowSampler

_STD_FLOOR = 1e-2  # of the largest standard deviation of the same kind; what hardly moves must not be blown up
_LEAST_STD = 1e-4  # where nothing of a kind moves, as the boxes of a head that is cut out frame by frame
_BOTTLENECK = "bottleneck."
_POOL_STEP = 2**31  # the pool's windows are those of steps that no run comes to


def train_tokenizer(config: TrainTokenizerConfig) -> Path:
    """Build or load a tokenizer, train it and write the weights with the smallest held-out error.

    Args:
        config: architecture, data and settings of the run.
    Returns:
        The folder of the finished weights, as `tokenizer_weights=` takes it.
    Raises:
        XNeMoError: settings that do not go together, data that cannot be read or that nothing can be learnt from, or a
            loss that is not finite.
    """
    _check(config)
    dataset = MotionDataset.open(config.dataset)
    fps, stride = config.tokenizer.fps, config.tokenizer.stride
    trained = read_clips(dataset, "train", fps, stride, config.augment.mirrored)
    held_out = read_clips(dataset, "validation", fps, stride, mirrored=False)
    check_moving(trained, dataset.folder)
    model = build_model(config.tokenizer, config.seed)
    if config.start_from is None:
        model.set_statistics(*_statistics(trained))
    else:
        start_from(model, Path(config.start_from), dataset.encoder_id)
    state = train(config, model, trained, held_out)
    model.load_state_dict(state.averages["best"].values)
    return save_weights(model, config, state, dataset, Path(config.output) / WEIGHTS)


def train(
    config: TrainTokenizerConfig, model: MotionVQVAE, trained: FeatureClips, held_out: FeatureClips
) -> TrainingState:
    """Train until the steps are done or the held-out error no longer falls.

    Args:
        config: the run's settings.
        model: fresh, with the statistics of the data, or loaded; trained in place.
        trained, held_out: clips of the two splits.
    Returns:
        The finished state; its average "best" holds the weights worth keeping.
    """
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    sampler = WindowSampler(trained, config.window, config.batch, config.balance, config.augment, config.seed)

    # Before averages and optimisers are made or loaded, because these follow the weights to where they are.
    model.to(accelerator.device).train()
    averages = {name: AveragedWeights(model, config.ema_decay) for name in ("tokenizer", "best")}
    if searching := config.tokenizer.search > 1 and model.bottleneck.levels > 0:
        averages["searcher"] = AveragedWeights(model, config.ema_decay)
    state = TrainingState({"tokenizer": model}, {"model": _optimizer(config, model)}, averages, {})
    run = Run(state, config.schedule, Path(config.output))
    run.resume()
    validator = Validator(held_out, trained, config.losses.boxes)

    fresh = config.start_from is None
    plain_steps = config.schedule.steps - (config.searched_steps if searching else 0)
    searched = None
    if searching:
        rounds = config.searched_windows, config.searched_passes
        searched = SearchedTokens(model, averages["searcher"], plain_steps, *rounds)

    def step(batch: WindowBatch, rate_factor: float) -> Terms:
        if fresh and state.step == config.unquantised_steps:
            _start_codebook(config, model, averages["tokenizer"], sampler)
        quantised = not fresh or state.step >= config.unquantised_steps
        rate = config.learning_rate * rate_factor
        batch = batch.to(accelerator.device)
        vectors = None
        if searched is not None and state.step >= plain_steps:
            vectors = searched.vectors(state.step, batch)
        return _step(config, model, state, batch, accelerator, rate, quantised, vectors)

    def validate(writer: SummaryWriter) -> dict[str, float]:
        quantised = not fresh or state.step > config.unquantised_steps
        with averages["tokenizer"].applied_to(model):
            figures = validator.run(model, state, quantised, writer)
        best = best_validation(state)
        if ERROR in figures and (best is None or figures[ERROR] < best[ERROR]):
            averages["best"].load(averages["tokenizer"].values)
        return figures

    steps = itertools.count(state.step)
    batches = (sampler.draw(number if searched is None else searched.windows_of(number)) for number in steps)
    run.loop(batches, step, validate)
    return state


def _check(config: TrainTokenizerConfig) -> None:
    if config.window % config.tokenizer.stride:
        raise XNeMoError(
            f"window={config.window}: must be a multiple of tokenizer.stride={config.tokenizer.stride}, frames a token"
        )
    if config.unquantised_steps >= config.schedule.steps:
        raise XNeMoError(
            f"unquantised_steps={config.unquantised_steps}: leaves none of the schedule.steps={config.schedule.steps} "
            "for the codebook"
        )


def _statistics(trained: FeatureClips) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the training split, what hardly moves taken for moving a little."""
    mean, std = trained.statistics()
    for part in (LATENTS, BOXES):
        floor = max(float(std[part].max()) * _STD_FLOOR, _LEAST_STD)
        std[part] = std[part].clamp(min=floor)
    return mean, std


def _optimizer(config: TrainTokenizerConfig, model: MotionVQVAE) -> torch.optim.AdamW:
    """AdamW; weights decay, biases and what belongs to the quantiser do not."""
    decaying: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in model.named_parameters():
        decays = parameter.ndim > 1 and not name.startswith(_BOTTLENECK)
        (decaying if decays else others).append(parameter)
    groups = [{"params": decaying, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=config.learning_rate, betas=(0.9, 0.99))


@torch.no_grad()
def _start_codebook(
    config: TrainTokenizerConfig, model: MotionVQVAE, average: AveragedWeights, sampler: WindowSampler
) -> None:
    """Start the codebook from what the encoder makes of training windows, which are drawn as a step's are.

    Raises:
        XNeMoError: the data do not give as many vectors as there are codes.
    """
    codes, stride = config.tokenizer.codes, config.tokenizer.stride
    if model.bottleneck.levels == 0:
        return
    wanted = codes * config.pool_vectors_per_code
    there = len(sampler.clips.features)  # in one window or another, each frame is the last of a token
    if there < codes:
        raise XNeMoError(
            f"{config.dataset}: its {there} training frames are fewer than the {codes} codes to start from them; add "
            "clips, or take fewer with tokenizer.codes="
        )
    vectors: list[Tensor] = []
    with evaluating(model):
        for batch in sampler.stream(_POOL_STEP):
            kept = batch.valid.to(model.device)[:, stride - 1 :: stride]
            vectors.append(model.encode_continuous(batch.features.to(model.device))[kept])
            if sum(map(len, vectors)) >= wanted:
                break
    generator = torch.Generator().manual_seed(config.seed)
    model.bottleneck.initialise(torch.cat(vectors)[:wanted], generator)
    _follow_codebook(average, model)


def _step(
    config: TrainTokenizerConfig,
    model: MotionVQVAE,
    state: TrainingState,
    batch: WindowBatch,
    accelerator: Accelerator,
    rate: float,
    quantised: bool,
    searched: Tensor | None,
) -> Terms:
    """One update; returns the weighted loss terms. The decoder reads `searched`, or what the encoder says if None."""
    terms: Terms = {}
    with accelerator.autocast():
        vectors = model.encode_continuous(batch.noisy) if searched is None else searched
    if quantised and searched is None:
        # In full precision: the codes are running means.
        done = model.quantize(vectors.float())
        vectors = done.vectors
        terms["quantiser"] = done.loss
        state.sums["resets"] = state.sums.get("resets", 0.0) + float(done.metrics.get("resets", 0.0))
        state.sums["steps"] = state.sums.get("steps", 0.0) + 1
    with accelerator.autocast():
        ours = model.decoder(vectors)
    terms |= reconstruction_losses(ours.float(), model.normalise(batch.features), batch.valid, config.losses)
    update(state.optimizers["model"], terms, rate, config.gradient_clip, accelerator)
    state.averages["tokenizer"].update(model, state.step)
    _follow_codebook(state.averages["tokenizer"], model)
    return {name: term.detach() for name, term in terms.items()}


@torch.no_grad()
def _follow_codebook(average: AveragedWeights, model: MotionVQVAE) -> None:
    """Let the average have the codebook of this moment.

    Its codes are running means already, with a memory of their own; a replaced code would spend a thousand steps on its
    way from the old place to the new one, and stand for neither.
    """
    for name, value in model.state_dict().items():
        if name.startswith(_BOTTLENECK):
            average.values[name].copy_(value)
