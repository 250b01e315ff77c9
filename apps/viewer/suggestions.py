"""What the generator would put in the place of tokens, and what that looks like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from apps.viewer import networks, stills
from apps.viewer.analysis import fingerprint
from apps.viewer.session import Session
from apps.viewer.takes import Take, token_frames
from motion_tokenizer.editing import Resample, steps_of
from motion_tokenizer.token_sequence import TokenSequence

if TYPE_CHECKING:
    from motion_gpt.resampling import Alternative, Resampled
    from motion_gpt.settings import Sampling
    from motion_gpt.vocabulary import Condition

SHOWN = 6  # alternatives for a token
CANDIDATES = 4  # ways to draw tokens anew
PICTURES = 3  # of each of them

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Suggestion:
    """A code that could stand in a place, and the frame that it would make."""

    alternative: Alternative
    picture: stills.Pictures


@dataclass(frozen=True, eq=False)
class Candidate:
    """A take with its free tokens drawn anew, as an edit, and some of the frames that it would have."""

    edit: Resample
    resampled: Resampled
    pictures: stills.Pictures


def with_tokens(take: Take, tokens: Tensor) -> TokenSequence:
    """A take's sequence with other tokens, as many as there are."""
    return replace(take.tokens, tokens=tokens)


def suggest(session: Session, take: Take, place: int, portrait: Path) -> list[Suggestion]:
    """What else could stand in a place, likeliest first; kept until take, place or portrait change.

    Raises:
        XNeMoError: no portrait to draw with.
    """

    def find() -> list[Suggestion]:
        from motion_gpt.resampling import alternatives
        from motion_gpt.vocabulary import Condition

        tokenizer = networks.tokenizer()
        tokens = take.tokens.tokens
        found = alternatives(networks.generator(), tokens, place, Condition(), SHOWN)
        if all(each.code != int(tokens[place, 0]) for each in found[:SHOWN]):
            # The one that is there stays in sight, to be compared with.
            found = found[: SHOWN - 1] + [each for each in found if each.code == int(tokens[place, 0])]
        found = found[:SHOWN]
        start, stop = token_frames(take, tokenizer.frames_per_token)[place]
        latents, boxes = [], []
        for each in found:
            changed = tokens.clone()
            changed[place, 0] = each.code
            motion = tokenizer.decode(with_tokens(take, changed))
            latents.append(motion.latents[(start + stop) // 2])
            boxes.append(motion.boxes[(start + stop) // 2])
        shown = replace(motion, latents=torch.stack(latents), boxes=torch.stack(boxes), t0=None)
        pictures = stills.draw(portrait, shown, range(len(found)))
        return [Suggestion(each, picture) for each, picture in zip(found, pictures, strict=True)]

    return kept(session, "suggestions", (fingerprint(take), place, portrait), find)


def draw_anew(
    take: Take, clip: int, held: Tensor, condition: Condition, settings: Sampling, portrait: Path
) -> list[Candidate]:
    """Ways to draw a take's free tokens anew, the most fitting first.

    Args:
        take: the clip.
        clip: its number in its history.
        held: tokens that stay, (n,) bool.
        condition: what the new ones shall express.
        settings: how they are drawn.
        portrait: for the pictures.
    Raises:
        XNeMoError: no token is free, or settings that are not allowed.
    """
    from motion_gpt.resampling import gaps_of, resample

    tokenizer = networks.tokenizer()
    parts = token_frames(take, tokenizer.frames_per_token)
    gaps = gaps_of(held)
    results = resample(networks.generator(), take.tokens.tokens, held, condition, settings, CANDIDATES)
    first, last = gaps[0][0], gaps[-1][1]
    # Pictures of the first gap; one that is long is shown from end to end.
    begin, end = parts[first][0], parts[gaps[0][1] - 1][1]
    frames = [begin + frame for frame in stills.evenly(end - begin, PICTURES)]
    candidates = []
    for number, result in enumerate(results):
        edit = Resample(
            clip=clip,
            start=first,
            tokens=steps_of(result.tokens[first:last]),
            seed=settings.seed,
            candidate=number,
            temperature=settings.temperature,
            top_k=settings.top_k,
            guidance_scale=settings.guidance_scale,
            emotion=condition.emotion,
            intensity=condition.intensity,
        )
        motion = tokenizer.decode(with_tokens(take, result.tokens))
        candidates.append(Candidate(edit, result, stills.draw(portrait, motion, frames)))
    return candidates


def kept(session: Session, name: str, about: Any, find: Callable[[], Result]) -> Result:
    """The last result under a name if it is about the same thing, else a new one in its place."""
    known = session.scratch.get(name)
    if known is not None and known[0] == about:
        result: Result = known[1]
        return result
    made = find()
    session.scratch[name] = (about, made)
    return made
