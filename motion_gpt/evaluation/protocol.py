"""What `xnemo evaluate generation` measures, in the order of its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from animator.dataset import MotionDataset
from animator.errors import XNeMoError
from motion_gpt.decoder import Decoder
from motion_gpt.evaluation.baselines import NearestClip
from motion_gpt.evaluation.cases import Case, cut_cases, evenly
from motion_gpt.evaluation.config import EvaluateGenerationConfig
from motion_gpt.evaluation.continuations import GENERATOR, REAL, Subject, baselines_of, continue_all, roll_out
from motion_gpt.evaluation.distances import diversity, frechet, halves, kernel_distance, median_distance, multimodality
from motion_gpt.evaluation.dynamics import (
    STILL,
    SeamReference,
    drift_figures,
    longest_still,
    repeated_grams,
    seam_figures,
    self_transitions,
    speeds,
)
from motion_gpt.evaluation.emotion import emotion_report
from motion_gpt.evaluation.features import ChangeFeatures, MotionSpace, StretchFeatures, stretches_of
from motion_gpt.training.clips import LabelledClips, tokens_of
from motion_gpt.training.validation import ClipTokens, held_out_bits
from motion_gpt.weights import find_gpt, load_gpt
from motion_tokenizer.features import to_features
from motion_tokenizer.tokenizer import find_tokenizer

SHUFFLED = "shuffled_labels"
_DRIFT_DIMENSIONS = 4
_DRIFT_SECONDS = 5.0
_REPEAT_SECONDS = 32.0

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Column:
    """One figure of the table.

    Attributes:
        key: its name.
        label: its head.
        about: what it is.
        digits: after the point.
    """

    key: str
    label: str
    about: str
    digits: int = 2


COLUMNS = (
    Column("frechet", "Fréchet", "distance of clip features from those of real continuations of other seconds"),
    Column("frechet_spread", "±", "standard deviation of it over the splits"),
    Column("frechet_slow", "Fréchet, slow", "the same of means over a token's frames, without the jitter of frames"),
    Column(
        "frechet_change", "Fréchet of change", "of how means over tokens, their spread and speed differ from the prefix"
    ),
    Column("mmd", "MMD² × 100", "the same by a kernel, unbiased: 0 is no difference, it may be a little below"),
    Column("diversity", "diversity", "mean distance of two continuations of different prefixes"),
    Column("multimodality", "multimodality", "mean distance of two continuations of one prefix"),
    Column("speed", "speed", "mean frame-to-frame change over that of real continuations"),
    Column("seam_jerk", "seam jerk", "jerk around the seam over the clip's median, median of the cases"),
    Column("seam_jerk_high", "above p95", "share of seams with more jerk than 95 % of real frames have"),
    Column("seam_jump", "seam jump", "change of velocity at the seam over the clip's median, median of the cases"),
    Column("still", "longest still", f"longest run of frames slower than {STILL:g} of the real median, seconds"),
    Column("self_transition", "same token", "share of tokens that equal the one before"),
    Column("repeats", "8-gram repeats", "share of runs of 8 tokens that came before, in 32 s"),
    Column("bits", "bits/token", "of the held-out clips, fewer is better"),
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured.

    Attributes:
        report: everything that the files say.
        cases: the prefixes.
        continued: continuations by method, (cases, samples, F, 515).
        subject: what was measured.
    """

    report: dict[str, Any]
    cases: list[Case]
    continued: dict[str, Tensor]
    subject: Subject


@dataclass(frozen=True, eq=False)
class _Measures:
    """What continuations are compared by: all frames, means over tokens, and how these change from the prefix on."""

    features: StretchFeatures
    slow: StretchFeatures
    change: ChangeFeatures

    @staticmethod
    def fit(config: EvaluateGenerationConfig, subject: Subject, prefix: int, frames: int) -> _Measures:
        clips = subject.trained.clips.clips()
        stretches = stretches_of(clips, prefix + frames, frames)
        if len(stretches) < 2:
            raise XNeMoError(
                f"fewer than two training stretches of {(prefix + frames) / subject.tokenizer.fps:g} s; take less with "
                "prefix_seconds= and seconds="
            )
        plain = stretches_of(clips, frames, frames)
        stride = subject.tokenizer.frames_per_token
        features, slow = (StretchFeatures.fit(subject.space, plain, together) for together in (1, stride))
        return _Measures(features, slow, ChangeFeatures.fit(slow, stretches, prefix))


def evaluate_generation(config: EvaluateGenerationConfig, dataset: Path, limit: int | None = None) -> Evaluation:
    """Measure a generator on the validation split of a dataset, beside real motion and baselines.

    Args:
        config: the settings.
        dataset: a motion dataset.
        limit: at most so many prefixes and rollouts, evenly spaced, and clips for each emotion.
    Raises:
        XNeMoError: weights or data that do not go together, or no held-out clip is long enough.
    """
    if limit is not None and limit < 1:
        raise XNeMoError(f"--limit {limit}: must be at least 1")
    config.sampling.check()
    opened = MotionDataset.open(dataset)
    subject = Subject.read(config, opened)
    frames = round(config.seconds * subject.tokenizer.fps)
    cases = _cases(config, subject, frames, limit)
    measures = _Measures.fit(config, subject, len(cases[0].prefix), frames)
    baselines = baselines_of(config, subject)
    continued = continue_all(config, subject, cases, baselines, frames)
    seams = SeamReference.of(subject.held_out.clips.clips())
    methods = _methods(config, subject, cases, continued, measures, seams)
    rollouts: dict[str, Tensor] = {}
    if config.rollout_seconds >= _DRIFT_SECONDS:
        chosen = _firsts(cases, config.rollouts if limit is None else min(limit, config.rollouts))
        long = round(config.rollout_seconds * subject.tokenizer.fps)
        rollouts = roll_out(config, subject, chosen, baselines, long)
    _add_repeats(methods, subject, rollouts)
    _add_bits(methods, subject)
    limits = seams.limits()
    report = {
        "generator": _about(config, subject),
        "data": {
            "dataset": dataset.name,
            "encoder_id": opened.encoder_id,
            "held_out_clips": len(subject.held_out),
            "clips_with_cases": len({case.clip for case in cases}),
            "cases": len(cases),
            "prefix_seconds": config.prefix_seconds,
            "seconds": config.seconds,
            "samples": config.samples,
        },
        "columns": [asdict(column) for column in COLUMNS],
        "ways": methods,
        "seam_of_real_clips": {"jerk_p95": limits[0], "jump_p95": limits[1]},
        "drift": _drift(subject, rollouts),
        "emotion": _emotions(config, subject, limit),
    }
    return Evaluation(report, cases, continued, subject)


def _cases(config: EvaluateGenerationConfig, subject: Subject, frames: int, limit: int | None) -> list[Case]:
    fps = subject.tokenizer.fps
    clips = subject.held_out.clips
    prefix = max(round(config.prefix_seconds * fps), NearestClip.frames_compared)
    stride = max(1, round(config.stride_seconds * fps))
    cases = cut_cases(clips.clips(), clips.names, prefix, frames, stride, fps)
    return cases if limit is None else [cases[n] for n in evenly(len(cases), limit)]


def _firsts(cases: Sequence[Case], wanted: int) -> list[Case]:
    """The first prefix of each clip, of so many clips."""
    firsts = [case for n, case in enumerate(cases) if n == 0 or cases[n - 1].clip != case.clip]
    return [firsts[n] for n in evenly(len(firsts), wanted)]


def _methods(
    config: EvaluateGenerationConfig,
    subject: Subject,
    cases: Sequence[Case],
    continued: dict[str, Tensor],
    measures: _Measures,
    seams: SeamReference,
) -> dict[str, Figures]:
    """All figures that come from continuations."""
    fps = subject.tokenizer.fps
    truth = continued[REAL][:, 0]
    real, slow_real = measures.features(truth), measures.slow(truth)
    prefixes = torch.stack([case.prefix for case in cases])
    changed = measures.change(prefixes, truth)
    width = median_distance(real) if len(real) > 1 else 1.0
    splits = list(halves([case.clip for case in cases], config.splits, config.seed))
    typical = float(speeds(continued[REAL]).median())
    mean_speed = float(speeds(continued[REAL]).mean())

    def of_one(clips: Tensor) -> Figures:
        """Figures of one continuation of each prefix, (cases, F, 515)."""
        own = measures.features(clips)
        return {
            **_distances(real, own, splits, width),
            "frechet_slow": _mean_frechet(slow_real, measures.slow(clips), splits),
            "frechet_change": _mean_frechet(changed, measures.change(prefixes, clips), splits),
            "diversity": diversity(own),
            "speed": float(speeds(clips).mean()) / max(mean_speed, 1e-12),
            **seam_figures(cases, clips, seams),
            "still": longest_still(clips, STILL * typical, fps),
        }

    methods: dict[str, Figures] = {}
    for name, samples in continued.items():
        vectors = measures.features(samples)
        first = samples[:, 0]
        joined = [torch.cat([case.prefix, clip]) for case, clip in zip(cases, first, strict=True)]
        new = first.shape[1] // subject.tokenizer.frames_per_token
        tokens = [clip[-new:] for clip in tokens_of(joined, subject.tokenizer)]
        methods[name] = {
            **_means([of_one(clips) for clips in samples.unbind(dim=1)]),
            "multimodality": multimodality(vectors) if vectors.shape[1] > 1 else (None if name == REAL else 0.0),
            "self_transition": self_transitions(tokens),
        }
    return methods


def _means(found: Sequence[Figures]) -> Figures:
    """Means over the samples; None where there is nothing to be measured."""

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(values) else None

    return {name: mean([each[name] for each in found]) for name in found[0]}


def _distances(real: Tensor, own: Tensor, splits: Sequence[tuple[Tensor, Tensor]], width: float) -> Figures:
    """Distances of one half of the real continuations and the other half of a method's, means over the splits."""
    usable = [(a, b) for a, b in splits if len(a) > 1]
    if not usable:
        return {"frechet": None, "frechet_spread": None, "mmd": None}
    distances = torch.tensor([frechet(real[a], own[b]) for a, b in usable])
    kernels = [kernel_distance(real[a], own[b], width) for a, b in usable]
    return {
        "frechet": float(distances.mean()),
        "frechet_spread": float(distances.std(correction=0)),
        "mmd": 100 * sum(kernels) / len(kernels),
    }


def _mean_frechet(real: Tensor, own: Tensor, splits: Sequence[tuple[Tensor, Tensor]]) -> float | None:
    """The mean over the splits alone."""
    found = [frechet(real[a], own[b]) for a, b in splits if len(a) > 1]
    return sum(found) / len(found) if found else None


def _drift(subject: Subject, rollouts: dict[str, Tensor]) -> dict[str, Any] | None:
    """Figures of every five seconds of the rollouts."""
    if not rollouts:
        return None
    frames = round(_DRIFT_SECONDS * subject.tokenizer.fps)
    training = stretches_of(subject.trained.clips.clips(), frames, frames)
    real = [clip for clip in subject.held_out.clips.clips() if len(clip) >= frames]
    if len(training) < 2 or not real:
        return None
    space = MotionSpace.fit(subject.trained.clips.clips(), _DRIFT_DIMENSIONS)
    features = StretchFeatures.fit(space, training)
    return {
        "seconds": _DRIFT_SECONDS,
        "rollouts": len(next(iter(rollouts.values()))),
        "methods": {name: drift_figures(clips, real, features, frames) for name, clips in rollouts.items()},
    }


def _add_repeats(methods: dict[str, Figures], subject: Subject, rollouts: dict[str, Tensor]) -> None:
    length = round(_REPEAT_SECONDS * subject.tokenizer.fps) // subject.tokenizer.frames_per_token
    # Of the training clips too: hardly any held-out clip is that long.
    real = tokens_of([*subject.held_out.clips.clips(), *subject.trained.clips.clips()], subject.tokenizer)
    for name, figures in methods.items():
        if name == REAL:
            figures["repeats"] = repeated_grams(real, length)
        else:
            tokens = tokens_of(list(rollouts.get(name, ())), subject.tokenizer)
            figures["repeats"] = repeated_grams(tokens, length)


def _add_bits(methods: dict[str, Figures], subject: Subject) -> None:
    tokens = ClipTokens.of(subject.held_out, subject.tokenizer)
    for figures in methods.values():
        figures["bits"] = None
    methods[GENERATOR]["bits"] = held_out_bits(subject.decoder, tokens)
    for name, model in subject.counted.items():
        methods.setdefault(name, {})["bits"] = model.bits(tokens.tokens)


def _emotions(config: EvaluateGenerationConfig, subject: Subject, limit: int | None) -> dict[str, Any] | None:
    generators = {GENERATOR: subject.decoder}
    if config.shuffled_gpt is not None:
        generators[SHUFFLED] = Decoder(load_gpt(config.shuffled_gpt, subject.tokenizer))
    if limit is not None:
        config = replace(config, emotion=replace(config.emotion, clips=min(limit, config.emotion.clips)))
    return emotion_report(
        config,
        _together(subject.trained, subject.held_out),
        lambda clip: _through(subject, clip),
        subject.tokenizer,
        generators,
        subject.space,
    )


def _through(subject: Subject, clip: Tensor) -> Tensor:
    """Features (T, 515) through the tokenizer and back."""
    again = subject.tokenizer.reconstruct(subject.motion(clip))
    return to_features(again.latents, again.boxes)


def _together(a: LabelledClips, b: LabelledClips) -> LabelledClips:
    """The clips of both splits."""
    lengths = torch.cat([a.clips.lengths, b.clips.lengths])
    clips = replace(
        a.clips,
        features=torch.cat([a.clips.features, b.clips.features]),
        starts=lengths.cumsum(0) - lengths,
        lengths=lengths,
        names=a.clips.names + b.clips.names,
        identities=a.clips.identities + b.clips.identities,
        emotions=a.clips.emotions + b.clips.emotions,
        mirrored=torch.cat([a.clips.mirrored, b.clips.mirrored]),
    )
    return LabelledClips(clips, a.conditions + b.conditions)


def _about(config: EvaluateGenerationConfig, subject: Subject) -> dict[str, Any]:
    size = subject.model.config
    return {
        "folder": find_gpt(config.gpt_weights).name,
        "tokenizer_folder": find_tokenizer(config.tokenizer_weights).name,
        "tokenizer_id": subject.tokenizer.id,
        "layers": size.layers,
        "width": size.width,
        "heads": size.heads,
        "context": size.context,
        "parameters": sum(parameter.numel() for parameter in subject.model.parameters()),
        "sampling": asdict(config.sampling),
        "seam": asdict(config.seam),
        "seed": config.seed,
    }
