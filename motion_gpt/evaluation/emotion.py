"""Emotions: does a judge of real motion recognise what was asked for?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from motion_gpt.continuation import begin_continuation, nothing
from motion_gpt.decoder import Decoder
from motion_gpt.evaluation.config import EvaluateGenerationConfig
from motion_gpt.evaluation.features import MotionSpace, StretchFeatures, stretches_of
from motion_gpt.evaluation.probe import Judge, Labelled, accuracies, confusion, spearman
from motion_gpt.rollout import Item
from motion_gpt.sampling import generate_items
from motion_gpt.training.clips import LabelledClips
from motion_gpt.vocabulary import EMOTIONS, INTENSITIES, Condition
from motion_tokenizer.tokenizer import MotionTokenizer

_LABELS_NEEDED = 2  # people and classes, below which there is nothing to tell apart


@dataclass(frozen=True, eq=False)
class Asked:
    """Clips that were generated from nothing.

    Attributes:
        clips: (N, F, 515).
        classes: emotion that was asked for, (N,).
        levels: intensity that was asked for, (N,).
    """

    clips: Tensor
    classes: Tensor
    levels: Tensor


def emotion_report(
    config: EvaluateGenerationConfig,
    real: LabelledClips,
    reconstruct: Callable[[Tensor], Tensor],
    tokenizer: MotionTokenizer,
    generators: dict[str, Decoder],
    space: MotionSpace,
) -> dict[str, Any] | None:
    """Fit the judge on real clips, and let it judge.

    Args:
        config: the settings.
        real: labelled clips of both splits, in this order of importance: whoever is in them is a stranger to the
            probe that judges them.
        reconstruct: through the tokenizer and back, features (T, 515).
        tokenizer: of the generators.
        generators: by the name that the table calls them.
        space: of the motion features.
    Returns:
        classes: the emotions that the judge knows; chance: 1 over their number; methods: for "real", "reconstruction"
        and each generator accuracy with 95 % interval, balanced accuracy, recall of each class, confusion table (rows:
        what it should be), and the rank correlation of level and log-odds of the emotion. None where fewer than two
        people or emotions are labelled.
    """
    frames = round(config.emotion.window * tokenizer.fps)
    marked = [n for n in range(len(real)) if real.conditions[n].emotion and len(real.clips.clip(n)) >= frames]
    people = {real.clips.identities[n] for n in marked}
    known = sorted({EMOTIONS.index(str(real.conditions[n].emotion)) for n in marked})
    if not config.emotion.clips or len(people) < _LABELS_NEEDED or len(known) < _LABELS_NEEDED:
        return None
    windows = stretches_of([real.clips.clip(n) for n in marked], frames, frames // 2)
    # Tokens do not say the jitter of frames, and a probe must not ask for it.
    features = StretchFeatures.fit(space, windows, tokenizer.frames_per_token)
    true = _windows(real, marked, frames, features, lambda clip: clip)
    judge = Judge(true, len(EMOTIONS), config.emotion.penalty)
    again = _windows(real, marked, frames, features, reconstruct)
    methods = {
        "real": _judged(judge.strangers(true), true.classes, true.levels, known),
        "reconstruction": _judged(judge.strangers(again), again.classes, again.levels, known),
    }
    for name, decoder in generators.items():
        asked = generate_asked(config, decoder, tokenizer, config.emotion.clips)
        logs = judge.nobody(features(_windows_of(asked.clips, frames)))
        each = logs.view(len(asked.clips), -1, len(EMOTIONS)).mean(dim=1)
        wanted = torch.tensor([int(c) in known for c in asked.classes])
        methods[name] = _judged(each[wanted], asked.classes[wanted], asked.levels[wanted], known)
    return {
        "classes": [EMOTIONS[n] for n in known],
        "chance": 1 / len(known),
        "people": len(people),
        "clips": len(marked),
        "methods": methods,
    }


def generate_asked(config: EvaluateGenerationConfig, decoder: Decoder, tokenizer: MotionTokenizer, clips: int) -> Asked:
    """Make so many clips from nothing for every emotion and level."""
    settings = replace(config.sampling, guidance_scale=config.emotion.guidance_scale)
    frames = round(config.emotion.seconds * tokenizer.fps)
    length = -(-frames // tokenizer.frames_per_token)
    empty = nothing(tokenizer)
    wishes = [
        (emotion, level)
        for emotion in EMOTIONS
        for level in (INTENSITIES if emotion != "neutral" else INTENSITIES[:1])
        for _ in range(clips)
    ]
    items = [
        Item(empty.tokens, Condition(emotion, level), config.seed, candidate=number)
        for number, (emotion, level) in enumerate(wishes)
    ]
    made = [
        begin_continuation(decoder, tokenizer, empty, item, settings, config.seam).push(tokens)[:frames]
        for item, tokens in zip(items, generate_items(decoder, items, length, settings), strict=True)
    ]
    return Asked(
        torch.stack(made),
        torch.tensor([EMOTIONS.index(emotion) for emotion, _ in wishes]),
        torch.tensor([level for _, level in wishes]),
    )


def _windows(
    real: LabelledClips,
    numbers: list[int],
    frames: int,
    features: StretchFeatures,
    change: Callable[[Tensor], Tensor],
) -> Labelled:
    """Windows of labelled clips, each clip changed first."""
    found, classes, people, levels = [], [], [], []
    for number in numbers:
        windows = stretches_of([change(real.clips.clip(number))], frames, frames // 2)
        found.append(features(windows))
        condition = real.conditions[number]
        classes += [EMOTIONS.index(str(condition.emotion))] * len(windows)
        levels += [condition.intensity or 0] * len(windows)
        people += [real.clips.identities[number]] * len(windows)
    return Labelled(torch.cat(found), torch.tensor(classes), tuple(people), torch.tensor(levels))


def _windows_of(clips: Tensor, frames: int) -> Tensor:
    """Windows of clips (N, F, 515), those of one clip after each other, (N * windows, frames, 515)."""
    return clips.unfold(1, frames, max(1, frames // 2)).transpose(2, 3).flatten(0, 1)


def _judged(logs: Tensor, classes: Tensor, levels: Tensor, known: list[int]) -> dict[str, Any]:
    table = confusion(logs.argmax(dim=1), classes, len(EMOTIONS))[known][:, known]
    totals = table.sum(dim=1)
    recall = {EMOTIONS[c]: float(table[row, row] / totals[row]) if totals[row] else None for row, c in enumerate(known)}
    return accuracies(table) | {
        "recall": recall,
        "confusion": table.tolist(),
        "level_order": _level_order(logs, classes, levels, known),
    }


def _level_order(logs: Tensor, classes: Tensor, levels: Tensor, known: list[int]) -> float | None:
    """Mean over the emotions of the rank correlation of level and log-odds; None where no emotion has two levels."""
    found = []
    for c in known:
        chosen = (classes == c) & (levels > 0)
        own = logs[chosen, c]
        odds = own - torch.log1p(-own.exp().clamp(max=1 - 1e-9))
        rank = spearman(levels[chosen].tolist(), odds.tolist())
        if rank is not None:
            found.append(rank)
    return sum(found) / len(found) if found else None
