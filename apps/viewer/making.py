"""Motion that pages make up: continuations and emotions in several ways, and keeping them as takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from animator.errors import XNeMoError
from apps.viewer import networks, stills
from apps.viewer.parts import errors_in_words, go_to
from apps.viewer.session import Session
from apps.viewer.takes import Origin, Take, from_motion, shown_motion

if TYPE_CHECKING:
    from animator.motion_clip import MotionClip
    from motion_gpt.settings import Sampling
    from motion_gpt.vocabulary import Condition

LONGEST = 20.0  # seconds that a page makes at once
LEAD_IN = 1.0  # seconds of what was given that are shown before what was made up


@dataclass(frozen=True, eq=False)
class Made:
    """A clip that was made up.

    Attributes:
        title: what people call it.
        motion: all of it, what was given first.
        look: its new part, and a moment before, as a small moving picture.
        origin: the sound of what was given, as far as that goes, and its key frames.
    """

    title: str
    motion: MotionClip
    look: bytes
    origin: Origin


def continued(
    take: Take,
    end: int,
    seconds: float,
    settings: Sampling,
    condition: Condition,
    candidates: int,
    portrait: Path,
    progress: Callable[[float], object],
) -> list[Made]:
    """A take that goes on by itself, in several ways.

    Args:
        take: the clip.
        end: frame after the last one that is kept; what follows is made up.
        seconds: how much is made up.
        settings, condition: how, and what it expresses.
        candidates: how many ways.
        portrait: for the looks.
        progress: called with the share that is done, 0 to 1.
    Raises:
        XNeMoError: a part shorter than a token, or settings that are not allowed.
    """
    from motion_gpt.outpainting import continue_motion

    tokenizer = networks.tokenizer()
    driving = shown_motion(take, tokenizer)[:end]
    frames = max(1, round(seconds * driving.fps))
    clips = continue_motion(networks.generator(), tokenizer, driving, frames, settings, condition, candidates)
    begin = max(0, end - round(LEAD_IN * driving.fps))
    made = []
    for number, motion in enumerate(clips, 1):
        progress((number - 0.5) / len(clips))
        look = stills.moving(portrait, motion[begin:])
        title = f"{take.name}, continued {number} (seed {settings.seed})"
        made.append(Made(title, motion, look, take.origin.until(end / driving.fps)))
    progress(1.0)
    return made


def felt(
    conditions: Sequence[Condition],
    seconds: float,
    settings: Sampling,
    before: Take | None,
    portrait: Path,
    progress: Callable[[float], object],
) -> list[Made]:
    """Motion under several conditions, from nothing or behind a take.

    Args:
        conditions: what each clip expresses.
        seconds: how much is made up.
        settings: how; all clips have the same random numbers.
        before: what comes first; None for nothing.
        portrait: for the looks.
        progress: called with the share that is done, 0 to 1.
    Raises:
        XNeMoError: as of `continued`.
    """
    from animator.motion_clip import MotionClip
    from motion_gpt.outpainting import join, stream_motion

    tokenizer = networks.tokenizer()
    driving = None if before is None else shown_motion(before, tokenizer)
    frames = max(1, round(seconds * tokenizer.fps))
    origin = Origin() if before is None or driving is None else before.origin.until(driving.seconds)
    made = []
    for number, condition in enumerate(conditions):
        progress(number / len(conditions))
        pieces = list(stream_motion(networks.generator(), tokenizer, driving, frames, settings, ((condition, None),)))
        new = MotionClip.concatenate(pieces, rebase=False)
        motion = new if driving is None else join(driving, new)
        begin = 0 if driving is None else max(0, len(driving) - round(LEAD_IN * tokenizer.fps))
        look = stills.moving(portrait, motion[begin:])
        made.append(Made(f"{feeling_in_words(condition)} (seed {settings.seed})", motion, look, origin))
    progress(1.0)
    return made


def conditions_of(emotions: Sequence[str], intensity: int, blend: str | None, share: float) -> list[Condition]:
    """What each of the clips expresses.

    Args:
        emotions: one clip each.
        intensity: 1 to 3; neutral has 1 in any case.
        blend: a second emotion for all of them; None for none. With itself an emotion is not blended.
        share: of the second one, 0 to 1.
    Raises:
        XNeMoError: no emotion, or one that is unknown.
    """
    from motion_gpt.emotion import feeling

    if not emotions:
        raise XNeMoError("choose at least one emotion")
    return [
        feeling(
            emotion,
            1 if emotion == "neutral" else intensity,
            None if blend is None or blend == emotion or share == 0 else f"{blend}:{share:g}",
        )
        for emotion in emotions
    ]


def feeling_in_words(condition: Condition) -> str:
    """A condition as people would say it."""
    if condition.emotion is None:
        return "no emotion"
    level = "" if condition.intensity is None else f" {condition.intensity}"
    blend = "" if condition.blend is None else f" with {condition.blend_share:.0%} {condition.blend}"
    return f"{condition.emotion}{level}{blend}"


def keep_button(session: Session, title: str, motion: MotionClip, portrait: Path, key: str, origin: Origin) -> None:
    """A button that opens made-up motion as a take of its own."""
    if st.button("Keep", key=key, icon=":material/add:", help="Opens it as a take: to look into, edit and export."):
        with errors_in_words():
            keep(session, title, motion, portrait, origin)
            go_to("timeline")


def keep(session: Session, title: str, motion: MotionClip, portrait: Path, origin: Origin) -> None:
    """Open made-up motion as a take.

    Raises:
        XNeMoError: too many are open, or it is shorter than a token.
    """
    key = session.new_key(title)
    about = {"portrait": portrait, "sound": origin.sound, "sound_until": origin.sound_until, "keys": origin.keys}
    source = motion.source if motion.source_sha256 else None  # the name of the file that the checksum is of
    session.add(from_motion(key, title, motion, networks.tokenizer(), source, **about))
