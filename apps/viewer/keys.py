"""Key frames that somebody collected, and the three ways through them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from animator.errors import XNeMoError
from animator.files import sha256_of
from apps.viewer import networks, stills
from apps.viewer.server import settings
from apps.viewer.session import Session
from apps.viewer.takes import Take, shown_motion

if TYPE_CHECKING:
    from animator.motion_clip import MotionClip
    from animator.provenance.statement import Source

MOST = 8
WAYS = {
    "linear": "Linear",
    "slerp": "Slerp",
    "tokens": "Token path",
}
HELP = {
    "linear": "Latents are mixed: the straight line between two frames.",
    "slerp": "Their directions turn at constant speed, their lengths are mixed.",
    "tokens": "The straight line between two codes of the codebook, at each step the nearest code: what the tokens "
    "can say of the way. Only where the head is in the picture goes as in the other two, as a single token says little "
    "of it.",
}


@dataclass(frozen=True, eq=False)
class Key:
    """A key frame.

    Attributes:
        name: where it comes from.
        motion: one frame.
        picture: what it looks like, drawn.
        files: that it was made from, as far as they are known.
    """

    name: str
    motion: MotionClip
    picture: stills.Pictures
    files: tuple[Source, ...] = ()


def key_of_take(session: Session, take: Take, frame: int) -> Key:
    """A frame of a take."""
    from animator.provenance.statement import Source

    motion = shown_motion(take, networks.tokenizer())
    files = take.keys
    if motion.source_sha256:
        files += (Source("key", motion.source, motion.source_sha256),)
    frame = min(max(frame, 0), len(motion) - 1)
    return _drawn(session, f"{take.name}, frame {frame}", motion[frame : frame + 1], files)


def key_of_picture(session: Session, name: str, data: bytes) -> Key:
    """The expression of a picture that was uploaded.

    Args:
        session: whose folder holds it while it is read.
        name: what its owner calls it; never used as a path.
        data: its bytes.
    Raises:
        XNeMoError: too large, no picture, or no face in it.
    """
    from animator.config import RenderConfig
    from animator.face import FaceDetector
    from animator.keyframes import KeySource
    from animator.provenance.statement import Source
    from apps.keys import KeyReader

    config: RenderConfig = settings()
    limit = settings().upload_mb
    if len(data) > limit * 2**20:
        raise XNeMoError(f"{name}: has {len(data) / 2**20:.0f} MB; at most {limit} MB are taken")
    path = session.new_file(".upload")
    try:
        path.write_bytes(data)
        with ExitStack() as stack:
            detector = stack.enter_context(FaceDetector(min_score=config.face.min_score))
            motion = KeyReader(networks.pipeline(), detector, config).read(KeySource(str(path)))
        motion = replace(motion, source=name)
        files = (Source("key", name, sha256_of(path)),)
    except XNeMoError as error:
        raise XNeMoError(str(error).replace(str(path), name)) from error
    finally:
        path.unlink(missing_ok=True)
    return _drawn(session, name, motion, files)


def _drawn(session: Session, name: str, motion: MotionClip, files: tuple[Source, ...]) -> Key:
    return Key(name, motion, stills.draw(stills.portrait_of(session, session.take), motion, [0])[0], files)


def files_of(keys: list[Key]) -> tuple[Source, ...]:
    """The files that key frames were made from, each once."""
    return tuple({source.sha256: source for key in keys for source in key.files}.values())


def add(session: Session, key: Key) -> None:
    """Put a key behind the others.

    Raises:
        XNeMoError: there are as many as are taken.
    """
    keys = collected(session)
    if len(keys) >= MOST:
        raise XNeMoError(f"{MOST} key frames are taken at most; remove one first")
    keys.append(key)


def collected(session: Session) -> list[Key]:
    """The session's keys, in order; to be changed in place."""
    keys: list[Key] = session.scratch.setdefault("keys", [])
    return keys


def ways_through(keys: list[Key], seconds: float, easing: str, loop: bool) -> dict[str, MotionClip]:
    """The three ways, all of one length, at the tokenizer's rate.

    Args:
        keys: at least two.
        seconds: from each to the next.
        easing: name in `animator.keyframes.EASINGS`.
        loop: come back to the first.
    Raises:
        XNeMoError: fewer than two keys.
    """
    from animator.keyframes import through
    from motion_tokenizer.token_path import through_tokens

    tokenizer = networks.tokenizer()
    motions = [key.motion for key in keys]
    linear = through(motions, seconds, tokenizer.fps, "linear", easing, loop=loop)
    return {
        "linear": linear,
        "slerp": through(motions, seconds, tokenizer.fps, "slerp", easing, loop=loop),
        # What a held frame's token says of the head's place is off by up to a tenth of the picture.
        "tokens": replace(through_tokens(tokenizer, motions, seconds, easing, loop), boxes=linear.boxes),
    }
