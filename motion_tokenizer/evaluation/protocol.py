"""The evaluation of a tokenizer: held-out reconstruction beside baselines, use of the codebook, and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from animator.builders import load_pipeline
from animator.dataset import MotionDataset
from animator.errors import XNeMoError
from animator.motion_clip import MotionClip
from motion_tokenizer.evaluation.baselines import blocks_of, simple_baselines
from motion_tokenizer.evaluation.config import EvaluateTokenizerConfig
from motion_tokenizer.evaluation.pixels import pixel_report
from motion_tokenizer.evaluation.reconstruction import reconstruction_report
from motion_tokenizer.evaluation.usage import usage_report
from motion_tokenizer.features import from_features, to_features
from motion_tokenizer.models.vqvae import MotionVQVAE
from motion_tokenizer.training.clips import read_clips
from motion_tokenizer.training.validation import reconstruct
from motion_tokenizer.training.weights import WEIGHTS, TrainedNetworks, data_report, load_networks

SCHEMA = 1
TOKENS = "tokens"  # how tables call the tokenizer that is evaluated


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured.

    Attributes:
        report: everything, as plain objects for JSON.
        counts: how often each code of each level occurs in the held-out tokens, (levels, codes).
        example: a held-out clip before and after the tokenizer, features, two of (T, 515).
    """

    report: dict[str, Any]
    counts: Tensor
    example: tuple[Tensor, Tensor]


def evaluate_tokenizer(config: EvaluateTokenizerConfig, folder: Path) -> Evaluation:
    """Measure a tokenizer on the validation split of a dataset.

    Args:
        config: which tokenizer, which others beside it, and what to render.
        folder: a motion dataset; its training split fits the PCA baselines.
    Raises:
        XNeMoError: weights or data that cannot be read, that do not belong together, or an empty split.
    """
    networks = load_networks(config.tokenizer_weights)
    others = [load_networks(path) for path in config.baselines]
    dataset = MotionDataset.open(folder)
    for loaded in (networks, *others):
        _check_encoder(loaded, dataset)
    stride = networks.model.config.stride
    held_out = read_clips(dataset, "validation", networks.fps, stride, mirrored=False)
    trained = read_clips(dataset, "train", networks.fps, stride, mirrored=False)
    true = held_out.clips()
    mean, deviation = trained.statistics()

    def reconstruction(ours: Sequence[Tensor]) -> dict[str, Any]:
        return reconstruction_report(true, ours, mean, deviation, held_out.emotions)

    done = [reconstruct(networks.model, clip) for clip in true]
    methods: dict[str, Any] = {TOKENS: _about(networks) | reconstruction([ours for ours, _ in done])}
    for other in others:
        ours = [reconstruct(other.model, clip)[0] for clip in true]
        methods[_unused(other.folder, methods)] = _about(other) | reconstruction(ours)
    blocks = torch.cat([blocks_of(clip, stride) for clip in trained.clips()])
    numbers = networks.model.config.code_dim
    for baseline in simple_baselines(trained.features, blocks, mean, deviation, numbers):
        about = {"about": baseline.about, "numbers_per_token": baseline.numbers}
        methods[baseline.name] = about | reconstruction([baseline.reconstruct(clip) for clip in true])

    codes = networks.model.config.codes
    levels = _levels([tokens for _, tokens in done])
    seen = _levels([reconstruct(networks.model, clip)[1] for clip in trained.clips()])
    report = {
        "schema": SCHEMA,
        "tokenizer": _about(networks),
        "encoder_id": dataset.encoder_id,
        "data": data_report(dataset, networks.fps, stride),
        "usage": [_usage(level, networks) for level in levels],
        "usage_on_training_split": [_usage(level, networks) for level in seen],
        "training": _training(networks),
        "ways": methods,
        "pixels": _pixels(config, networks, dataset),
    }
    counts = [torch.bincount(torch.cat(level), minlength=codes) for level in levels]
    longest = int(held_out.lengths.argmax())
    return Evaluation(
        report, torch.stack(counts) if counts else torch.zeros(0, codes), (true[longest], done[longest][0])
    )


def _check_encoder(networks: TrainedNetworks, dataset: MotionDataset) -> None:
    if networks.encoder_id != dataset.encoder_id:
        raise XNeMoError(
            f"{dataset.folder}: latents of motion encoder {dataset.encoder_id}, but {networks.folder} was trained for "
            f"{networks.encoder_id}; extract the dataset with that encoder, or name another tokenizer"
        )


def _about(networks: TrainedNetworks) -> dict[str, Any]:
    """What a table says of trained networks."""
    model, settings = networks.model, networks.model.config
    levels, per_second = model.bottleneck.levels, networks.fps / settings.stride
    return {
        "about": f"trained, quantiser {settings.quantizer['kind']}" + (_search(model) if levels else ""),
        "folder": _run_name(networks.folder),
        "kind": settings.quantizer["kind"],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "numbers_per_token": settings.code_dim,
        "codes": settings.codes if levels else None,
        "levels": levels,
        "tokens_per_second": per_second * levels,
        "bits_per_second": per_second * levels * math.log2(settings.codes) if levels else None,
    }


def _search(model: MotionVQVAE) -> str:
    """How tokens are looked for, in words; none for the nearest code."""
    settings = model.config
    if settings.search == 1:
        return ""
    tried = f", best of {settings.search} {'predicted' if settings.search_predicted else 'nearest'} codes tried"
    if settings.search_paths == 1:
        return f"{tried} for each token"
    return f"{tried} on each of {settings.search_paths} ways, one taken after {settings.search_delay} tokens"


def _levels(clips: list[Tensor]) -> list[list[Tensor]]:
    """Tokens of clips, (n, levels) each, by level: (n,) of each clip."""
    return [list(level) for level in zip(*(tokens.unbind(dim=1) for tokens in clips), strict=True)]


def _usage(tokens: list[Tensor], networks: TrainedNetworks) -> dict[str, float | None]:
    settings = networks.model.config
    figures: dict[str, float | None] = dict(usage_report(tokens, settings.codes))
    per_second = networks.fps / settings.stride
    for name in ("unigram", "bigram"):
        entropy = figures[f"{name}_entropy"]
        figures[f"{name}_bits_per_second"] = None if entropy is None else entropy * per_second
    return figures


def _training(networks: TrainedNetworks) -> dict[str, Any]:
    """What is told of the training; None where the weights have no record of it."""
    record = networks.record
    history = record.get("history", [])
    late = [
        figures["reset_rate"]
        for figures in history
        if figures["step"] > 0.75 * record["steps"] and "reset_rate" in figures
    ]
    return {
        "steps": record.get("steps"),
        "minutes": record.get("minutes"),
        "best": record.get("best"),
        "data": record.get("data"),
        "reset_rate_last_quarter": sum(late) / len(late) if late else None,
        "history": history,
    }


def _pixels(
    config: EvaluateTokenizerConfig, networks: TrainedNetworks, dataset: MotionDataset
) -> dict[str, Any] | None:
    """The comparison in pictures; None where no portraits are named."""
    if not config.pixels.portraits:
        return None
    pipeline = load_pipeline(config)
    if pipeline.encoder_id != dataset.encoder_id:
        raise XNeMoError(
            f"{dataset.folder}: latents of motion encoder {dataset.encoder_id}, but the animator's weights have "
            f"{pipeline.encoder_id}; name the weights that the motion was extracted with by weights=FOLDER"
        )
    pipeline.set_progress_bar_config(disable=True)
    motions = [record.motion for record in dataset.records("validation") if not record.mirrored]
    motions = [m if m.fps == networks.fps else m.resample(networks.fps) for m in motions]
    return pixel_report(config.pixels, pipeline, motions, lambda motion: reconstructed(networks.model, motion))


def reconstructed(model: MotionVQVAE, motion: MotionClip) -> MotionClip:
    """A clip of the model's frame rate and what the model makes of it, of any quantiser."""
    features, _ = reconstruct(model, to_features(motion.latents, motion.boxes))
    latents, boxes = from_features(features)
    return replace(motion, latents=latents.contiguous(), boxes=boxes)


def _run_name(folder: Path) -> str:
    """What a folder of weights is called: the run's folder where the weights lie in `RUN/weights`."""
    return folder.resolve().parent.name if folder.name == WEIGHTS else folder.name


def _unused(folder: Path, taken: dict[str, Any]) -> str:
    """A row's name, numbered where it is taken."""
    name = _run_name(folder)
    names = [name, *(f"{name} ({number})" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)
