"""Train the generator (X-NeMo appendix D: GPT-2 over motion tokens, for extrapolation and for emotions).

The recipe reads top to bottom: data, model, optimiser, loop. A run belongs to its output folder: started again with the
same settings it continues from the last checkpoint as if it had never stopped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.utils.tensorboard import SummaryWriter

from animator.dataset import MotionDataset
from animator.errors import XNeMoError
from animator.training.clock import ERROR, best_validation
from animator.training.loop import Run, Terms, update
from animator.training.state import AveragedWeights, TrainingState
from motion_gpt.builders import build_gpt
from motion_gpt.models.motion_gpt import MotionGpt
from motion_gpt.training.batches import BatchSampler, TokenBatch
from motion_gpt.training.clips import LabelledClips, read_labelled_clips
from motion_gpt.training.config import TrainGptConfig
from motion_gpt.training.detail import fit_detail
from motion_gpt.training.embedding import start_from_codebooks
from motion_gpt.training.losses import Neighbours, token_losses
from motion_gpt.training.pool import TokenPool
from motion_gpt.training.validation import Validator
from motion_gpt.vocabulary import CONDITION_ROWS
from motion_gpt.weights import load_gpt, save_gpt
from motion_tokenizer.tokenizer import MotionTokenizer

WEIGHTS = "weights"  # folder of the finished weights, inside the run's output
# Settings that say where things were on the machine, and nothing about the weights.
_PLACES = ("dataset", "output", "start_from", "tokenizer_weights")


def train_gpt(config: TrainGptConfig) -> Path:
    """Build or load a generator, train it and write the weights with the fewest held-out bits a token.

    Args:
        config: size, data and settings of the run.
    Returns:
        The folder of the finished weights, as `gpt_weights=` takes it.
    Raises:
        XNeMoError: settings that do not go together, data that cannot be read, a tokenizer of another encoder than the
            data's, or a loss that is not finite.
    """
    _check(config)
    dataset = MotionDataset.open(config.dataset)
    tokenizer = MotionTokenizer.from_pretrained(config.tokenizer_weights)
    trained = read_labelled_clips(dataset, "train", tokenizer, config.augment.mirrored)
    held_out = read_labelled_clips(dataset, "validation", tokenizer)
    if config.shuffled_labels:
        trained = trained.with_shuffled_labels(config.seed)
    model = _build(config, tokenizer)
    state = train(config, model, tokenizer, trained, held_out)
    model.load_state_dict(state.averages["best"].values)
    fit_detail(model.detail, trained, tokenizer)
    record = json.dumps(_record(config, state, trained, held_out, tokenizer), indent=1) + "\n"
    return save_gpt(model, Path(config.output) / WEIGHTS, record)


def train(
    config: TrainGptConfig,
    model: MotionGpt,
    tokenizer: MotionTokenizer,
    trained: LabelledClips,
    held_out: LabelledClips,
) -> TrainingState:
    """Train until the steps are done or the held-out bits no longer fall.

    Args:
        config: the run's settings.
        model: fresh or loaded; trained in place.
        tokenizer: whose tokens the model speaks.
        trained, held_out: clips of the two splits.
    Returns:
        The finished state; its average "best" holds the weights worth keeping.
    """
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    device = accelerator.device
    tokenizer.model.to(device)
    near = Neighbours.of(tokenizer.codebooks, max(config.smoothing.neighbours, config.corruption.neighbours))
    sampler = BatchSampler(TokenPool(trained, tokenizer, config), near.codes, config)
    near = near.to(device)

    # Before averages and optimisers are made or loaded, because these follow the weights to where they are.
    model.to(device).train()
    averages = {name: AveragedWeights(model, config.ema_decay) for name in ("gpt", "best")}
    state = TrainingState({"gpt": model}, {"model": _optimizer(config, model)}, averages, {})
    run = Run(state, config.schedule, Path(config.output))
    run.resume()
    validator = Validator(held_out, trained, tokenizer)

    def step(batch: TokenBatch, rate_factor: float) -> Terms:
        batch = batch.to(device)
        with _seeded(config.seed, state.step, device):
            with accelerator.autocast():
                logits = model(batch.ids, batch.clips)
            terms = token_losses(logits, batch.targets, near, config.smoothing)
            rate = config.learning_rate * rate_factor
            update(state.optimizers["model"], terms, rate, config.gradient_clip, accelerator)
        averages["gpt"].update(model, state.step)
        return {name: term.detach() for name, term in terms.items()}

    def validate(writer: SummaryWriter) -> dict[str, float]:
        with averages["gpt"].applied_to(model):
            figures = validator.run(model, state, writer)
        best = best_validation(state)
        if best is None or figures[ERROR] < best[ERROR]:
            averages["best"].load(averages["gpt"].values)
        return figures

    run.loop(sampler.stream(state.step), step, validate)
    return state


def _check(config: TrainGptConfig) -> None:
    if config.rows is not None and config.rows > config.gpt.context:
        raise XNeMoError(
            f"rows={config.rows}: more than gpt.context={config.gpt.context}; take fewer, or a wider context"
        )
    if config.smoothing.uniform + config.smoothing.near > 0.9:
        raise XNeMoError("smoothing.uniform and smoothing.near: together at most 0.9, or nothing is left for the code")


def _build(config: TrainGptConfig, tokenizer: MotionTokenizer) -> MotionGpt:
    """A fresh network, or that of `start_from`."""
    codebooks = tokenizer.codebooks
    fresh = build_gpt(
        config.gpt, tokenizer.codes, tokenizer.levels, tokenizer.id, config.seed, code_dim=codebooks.shape[-1]
    )
    fresh.recall.fit(codebooks)
    if config.start_from is None:
        if config.code_embedding == "codebook":
            start_from_codebooks(fresh, codebooks, config.seed)
        return fresh
    try:
        known = {f"recall.{name}": value for name, value in fresh.recall.state_dict().items()}
        fresh.load_state_dict(load_gpt(config.start_from, tokenizer).state_dict() | known)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise XNeMoError(
            f"{config.start_from}: does not fit this size; choose gpt= as it was trained ({reason})"
        ) from error
    return fresh


def _optimizer(config: TrainGptConfig, model: MotionGpt) -> torch.optim.AdamW:
    """AdamW; matrices decay, biases and norms do not."""
    decaying = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decaying, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95))


@contextmanager
def _seeded(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Let dropout depend on seed and step alone, and leave the global random state as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed((seed << 40) + step)
        yield


def _record(
    config: TrainGptConfig,
    state: TrainingState,
    trained: LabelledClips,
    held_out: LabelledClips,
    tokenizer: MotionTokenizer,
) -> dict[str, Any]:
    """What is kept of a training: its settings, its data in numbers, and the figures of every validation."""
    return {
        "settings": {name: value for name, value in asdict(config).items() if name not in _PLACES},
        "tokenizer_id": tokenizer.id,
        "encoder_id": tokenizer.encoder_id,
        "data": {"train": _data(trained, tokenizer), "validation": _data(held_out, tokenizer)},
        "tokens_a_step": config.batch * ((config.rows or config.gpt.context) - CONDITION_ROWS),
        "steps": state.step,
        "minutes": round(state.seconds / 60, 2),
        "best": best_validation(state),
        "history": state.history,
    }


def _data(clips: LabelledClips, tokenizer: MotionTokenizer) -> dict[str, Any]:
    """How much data there is; mirrored copies are no new data and counted apart."""
    own = [number for number in range(len(clips)) if not clips.clips.mirrored[number]]
    emotions = Counter(emotion for number in own if (emotion := clips.conditions[number].emotion) is not None)
    frames = int(clips.clips.lengths[own].sum())
    return {
        "clips": len(own),
        "mirrored": len(clips) - len(own),
        "identities": len({clips.clips.identities[number] for number in own}),
        "frames": frames,
        "tokens": frames // tokenizer.frames_per_token,
        "emotions": dict(sorted(emotions.items())),
    }
