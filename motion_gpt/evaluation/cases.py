"""What is continued: windows of held-out clips, each a prefix and how it really went on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from animator.errors import XNeMoError
from animator.motion_clip import MotionClip
from motion_gpt.seam import jerk
from motion_tokenizer.features import LATENTS, from_features


@dataclass(frozen=True, eq=False)
class Case:
    """One prefix.

    Attributes:
        name: of the clip, and where in it the prefix ends.
        clip: number of the clip.
        t0: frame of the clip at which the continuation begins.
        prefix: features of the given frames, (P, 515).
        truth: how it went on, (F, 515).
        roughness: median jerk of the whole clip, what seams are compared with.
        change: median length of the clip's second differences.
    """

    name: str
    clip: int
    t0: int
    prefix: Tensor
    truth: Tensor
    roughness: float
    change: float


def cut_cases(
    clips: Sequence[Tensor], names: Sequence[str], prefix: int, frames: int, stride: int, fps: float
) -> list[Case]:
    """Cut clips into prefixes and continuations, as many as fit.

    Args:
        clips: features, (T, 515) each, at `fps` frames a second.
        names: of the clips.
        prefix, frames: frames given and to be continued.
        stride: frames between two prefixes of a clip.
        fps: for the names.
    Raises:
        XNeMoError: no clip is long enough.
    """
    cases = []
    for number, (clip, name) in enumerate(zip(clips, names, strict=True)):
        rough = float(jerk(clip).median()) if len(clip) > 3 else 0.0
        change = float(change_lengths(clip).median()) if len(clip) > 2 else 0.0
        for first in range(0, len(clip) - prefix - frames + 1, stride):
            t0 = first + prefix
            label = f"{name} at {t0 / fps:.1f} s"
            cases.append(Case(label, number, t0, clip[first:t0], clip[t0 : t0 + frames], rough, change))
    if not cases:
        raise XNeMoError(
            f"no held-out clip has {(prefix + frames) / fps:g} s; add longer ones, or take less with prefix_seconds= "
            "and seconds="
        )
    return cases


def evenly(count: int, wanted: int) -> list[int]:
    """At most `wanted` of `count` numbers, evenly spaced, the first one always."""
    return torch.linspace(0, count - 1, min(count, wanted)).round().long().unique().tolist() if count else []


def as_clip(features: Tensor, fps: float, encoder_id: str) -> MotionClip:
    """Features (T, 515) as a clip."""
    latents, boxes = from_features(features)
    return MotionClip(latents.clone(), boxes.clone(), fps, encoder_id)


def change_lengths(features: Tensor) -> Tensor:
    """Lengths of the second differences of the latents: how much velocity jumps, (T - 2,)."""
    return features[:, LATENTS].diff(n=2, dim=0).norm(dim=1)
