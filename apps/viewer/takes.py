"""Take: one clip that is open in the viewer, the value that all pages pass around."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animator.errors import XNeMoError

if TYPE_CHECKING:
    # Only for types: the first page shall not wait for torch.
    from animator.motion_clip import MotionClip
    from animator.provenance.statement import Source
    from motion_tokenizer.token_sequence import TokenSequence
    from motion_tokenizer.tokenizer import MotionTokenizer


@dataclass(frozen=True)
class Origin:
    """Files that a clip comes from, where its motion does not say so itself.

    Attributes:
        sound: a file whose sound goes with the motion from its first frame on; None without.
        sound_until: seconds after which it falls silent, as what follows was made up; None for never.
        keys: files that key frames are of, for the marks of its videos.
    """

    sound: Path | None = None
    sound_until: float | None = None
    keys: tuple[Source, ...] = ()

    def until(self, seconds: float) -> Origin:
        """The same, silent from so many seconds on at the latest."""
        earlier = seconds if self.sound_until is None else min(seconds, self.sound_until)
        return self if self.sound is None else replace(self, sound_until=earlier)


@dataclass(frozen=True, eq=False)
class Take:
    """One clip that is open.

    Attributes:
        key: its address among the open takes and in the page's URL: lower-case letters, digits, "-" and "_".
        name: what people call it.
        tokens: its tokens, of the tokenizer in use.
        motion: the motion that was read from pictures or a file, at the tokenizer's rate and as long as the tokens
            decode to; None where there are only tokens, as after an edit.
        frames: a video whose frame i shows frame `first + i * video fps / fps` of the motion; None without.
        sound: a file whose sound goes with the motion from its first frame on; None without, and as soon as an edit
            moves anything in time.
        sound_until: as of `Origin`.
        keys: as of `Origin`.
        portrait: the picture that it is drawn with; None for the viewer's own.
        history: the edits since it was opened, oldest first, each an object of JSON.
        identity, emotion, intensity: as labelled by a motion dataset; None elsewhere.
        shared: whether somebody else who opens the address in this viewer can see it; uploads cannot.
    """

    key: str
    name: str
    tokens: TokenSequence
    motion: MotionClip | None = None
    frames: Path | None = None
    sound: Path | None = None
    sound_until: float | None = None
    keys: tuple[Source, ...] = ()
    portrait: Path | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    identity: str | None = None
    emotion: str | None = None
    intensity: int | None = None
    shared: bool = False

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    @property
    def length(self) -> int:
        """Number of frames."""
        return self.tokens.frames

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.tokens.fps

    @property
    def origin(self) -> Origin:
        """Its sound and its key frames."""
        return Origin(self.sound, self.sound_until, self.keys)


def shown_motion(take: Take, tokenizer: MotionTokenizer) -> MotionClip:
    """The motion that a take shows: what was observed, or what its tokens decode to."""
    return tokenizer.decode(take.tokens) if take.motion is None else take.motion


def from_motion(
    key: str, name: str, motion: MotionClip, tokenizer: MotionTokenizer, source: str | None = None, **about: Any
) -> Take:
    """Open motion: bring it to the tokenizer's rate and tokenise it.

    Args:
        key, name: of the take.
        motion: any frame rate.
        tokenizer: the one in use.
        source: what the motion says that it was read from; None for the take's name.
        about: further fields of the take.
    Raises:
        XNeMoError: latents of another encoder, or a clip shorter than a token.
    """
    if motion.fps != tokenizer.fps:
        motion = motion.resample(tokenizer.fps)
    motion = replace(motion, source=name if source is None else source)
    return Take(key, name, tokenizer.encode(motion), motion, **about)


def from_tokens(key: str, name: str, tokens: TokenSequence, tokenizer: MotionTokenizer, **about: Any) -> Take:
    """Open tokens.

    Raises:
        XNeMoError: tokens of another tokenizer, or damaged ones.
    """
    if tokens.tokenizer_id != tokenizer.id:
        raise XNeMoError(
            f"{name}: tokens of tokenizer {tokens.tokenizer_id}, but the one in use is {tokenizer.id}; tokenise the "
            "clip again, or start the viewer with tokenizer_weights=FOLDER"
        )
    tokenizer.decode(replace(tokens, source=name))  # says what is wrong with them
    return Take(key, name, tokens, **about)


def token_frames(take: Take, frames_per_token: int) -> list[tuple[int, int]]:
    """First frame, and the one after the last, of each token; the first token is shorter where the clip does not
    divide, as the end of a clip is on the grid."""
    padding = len(take) * frames_per_token - take.length
    starts = [max(0, n * frames_per_token - padding) for n in range(len(take))]
    return list(zip(starts, [*starts[1:], take.length], strict=True))


def token_at(take: Take, frame: int, frames_per_token: int) -> int:
    """Number of the token that a frame belongs to."""
    padding = len(take) * frames_per_token - take.length
    return min(max(frame + padding, 0) // frames_per_token, len(take) - 1)
