"""What a clip shall express, in words: emotions, blends of two, and scripts of several one after the other."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from animator.errors import XNeMoError
from motion_gpt.continuation import Passage, tokens_needed
from motion_gpt.vocabulary import EMOTIONS, Condition, Vocabulary
from motion_tokenizer.tokenizer import MotionTokenizer

GRAMMAR = (
    "a script is EMOTION:SECONDS or EMOTION@LEVEL:SECONDS, several of them with spaces, "
    'as in "neutral:2s happy@3:3s surprised:2s"'
)

_SCENE = re.compile(r"(?P<emotion>[^:@]+)(@(?P<level>[^:@]*))?:(?P<seconds>[^:@]+?)s?")


@dataclass(frozen=True)
class Scene:
    """A part of a script.

    Attributes:
        condition: what it expresses.
        seconds: how long, above 0.
    """

    condition: Condition
    seconds: float


def feeling(emotion: str, intensity: int | None = None, blend: str | None = None) -> Condition:
    """A condition from words.

    Args:
        emotion: one of the eight.
        intensity: 1, 2 or 3; None for no wish.
        blend: a second emotion and its share, as in "sad:0.3"; None for none.
    Raises:
        XNeMoError: an unknown emotion (the message lists the eight), neutral with another level than 1, or a blend
            that is not understood.
    """
    second, share = None, 0.0
    if blend is not None:
        second, _, number = blend.partition(":")
        try:
            share = float(number)
        except ValueError:
            raise XNeMoError(f"blend {blend}: not understood; write EMOTION:SHARE, such as sad:0.3") from None
    condition = Condition(emotion, intensity, second, share)
    condition.branches(Vocabulary())  # says what is wrong with it
    return condition


def every_feeling(intensity: int | None) -> list[Condition]:
    """All eight emotions at one intensity; neutral at the only one that it has."""
    return [feeling(name, 1 if name == "neutral" and intensity is not None else intensity) for name in EMOTIONS]


def parse_script(text: str, intensity: int | None = None) -> list[Scene]:
    """Read a script such as "neutral:2s happy@3:3s surprised:2s".

    Args:
        text: the scenes, with spaces or commas between them.
        intensity: of scenes that name none; neutral has 1 in any case.
    Raises:
        XNeMoError: it is empty or not understood, or a scene's emotion, level or length cannot be.
    """
    words = text.replace(",", " ").split()
    if not words:
        raise XNeMoError(f"the script is empty; {GRAMMAR}")
    return [_scene(word, intensity) for word in words]


def _scene(word: str, intensity: int | None) -> Scene:
    match = _SCENE.fullmatch(word)
    if match is None:
        raise XNeMoError(f"script: {word} is not understood; {GRAMMAR}")
    emotion, level = match["emotion"], match["level"]
    try:
        seconds = float(match["seconds"])
        chosen = intensity if level is None else int(level)
    except ValueError:
        raise XNeMoError(f"script: {word} is not understood; {GRAMMAR}") from None
    if not (math.isfinite(seconds) and seconds > 0):
        raise XNeMoError(f"script: {word} must last for more than 0 seconds")
    if level is None and emotion == "neutral" and intensity is not None:
        chosen = 1
    return Scene(feeling(emotion, chosen), seconds)


def plan_passages(scenes: Sequence[Scene], tokenizer: MotionTokenizer, fps: float) -> tuple[list[Passage], int]:
    """Put a script on the grid of tokens: each change falls on the nearest one.

    Args:
        scenes: at least one.
        tokenizer: whose tokens are counted.
        fps: frames a second of the result.
    Returns:
        The passages, and the number of frames that all of them last.
    Raises:
        XNeMoError: a scene that is shorter than a token.
    """
    token = tokenizer.frames_per_token / tokenizer.fps
    total = sum(scene.seconds for scene in scenes)
    frames = max(1, round(total * fps))
    passages: list[Passage] = []
    done, passed = 0, 0.0
    for number, scene in enumerate(scenes, 1):
        if scene.seconds < token:
            raise XNeMoError(
                f"{scene.condition.emotion} for {scene.seconds:g} s: shorter than a token ({token:g} s); make it longer"
            )
        passed += scene.seconds
        # Halves up, not to the even neighbour: scenes of a token keep one each.
        end = tokens_needed(tokenizer, frames, fps) if number == len(scenes) else math.floor(passed / token + 0.5)
        passages.append((scene.condition, end - done))
        done = end
    return passages, frames
