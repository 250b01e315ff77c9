"""What the timeline shows of a take: curves over frames, figures over tokens, pictures."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from apps.viewer import networks
from apps.viewer.latent_space import Array, Pca
from apps.viewer.surveys import packaged_survey
from apps.viewer.takes import Take, shown_motion, token_frames

if TYPE_CHECKING:
    from motion_gpt.decoder import Decoder
    from motion_tokenizer.token_sequence import TokenSequence
    from motion_tokenizer.tokenizer import MotionTokenizer

CURVES = 3  # principal components that are drawn
EXPECTED = 5  # codes that the generator would have expected, kept for each token
_LN2 = float(np.log(2))


@dataclass(frozen=True, eq=False)
class Analysis:
    """Figures of a take of T frames and n tokens.

    Attributes:
        places: coordinates along the first principal components, in standard deviations, (T, k).
        signals: mouth, blink, smile (0 to 1) and yaw (degrees) of each frame, (T,) each; empty for latents of an
            encoder that no readout was fitted for.
        error: how far the frames of a token are from what was read, (n,): 0 is exact, 1 is as far as motion is from
            its mean; None where nothing was read, as for made-up motion.
        surprise: bits that the generator needs for each token, given those before it, (n,): 0 is certain, 12 a guess
            among 4096 codes.
        expected: the codes that it held most likely in each place, most likely first, (n, m).
        probabilities: of `expected`, (n, m).
    """

    places: Array
    signals: dict[str, Array]
    error: Array | None
    surprise: Array
    expected: NDArray[np.int64]
    probabilities: Array


def analyse(take: Take) -> Analysis:
    """The figures of a take, kept for as long as its tokens and motion stay the same."""
    return _analyse(fingerprint(take), take)


def fingerprint(take: Take) -> str:
    """A name for what a take says; two takes of the same motion and tokens have one."""
    digest = hashlib.sha256(take.tokens.tokens.numpy().tobytes())
    digest.update(str(take.length).encode())
    if take.motion is not None:
        digest.update(take.motion.latents.numpy().tobytes())
    digest.update(f"{take.emotion} {take.intensity}".encode())
    return digest.hexdigest()[:24]


@st.cache_resource(show_spinner="Looking at the clip …", max_entries=40)
def _analyse(name: str, _take: Take) -> Analysis:
    tokenizer, survey = networks.tokenizer(), packaged_survey()
    motion = shown_motion(_take, tokenizer)
    pca, readout = survey.pca, survey.readout
    latents = motion.latents.numpy()
    known = motion.encoder_id == survey.encoder_id
    surprise, expected, probabilities = token_surprise(networks.generator(), _take.tokens)
    return Analysis(
        places=pca(latents)[:, :CURVES],
        signals=readout(latents) if known and readout is not None else {},
        error=None if _take.motion is None else token_error(_take, tokenizer, pca),
        surprise=surprise,
        expected=expected,
        probabilities=probabilities,
    )


def token_error(take: Take, tokenizer: MotionTokenizer, pca: Pca) -> Array:
    """How far what the tokens decode to is from the motion that was read, for each token: (n,).

    The root of the mean squared distance of latents, over that of motion from its mean.
    """
    assert take.motion is not None
    decoded = tokenizer.decode(take.tokens)
    squares = ((decoded.latents - take.motion.latents) ** 2).sum(dim=1).numpy()
    spread = float((pca.deviation[0] ** 2) / pca.share[0])
    parts = token_frames(take, tokenizer.frames_per_token)
    return np.array([np.sqrt(squares[start:stop].mean() / spread) for start, stop in parts], np.float32)


def token_surprise(decoder: Decoder, tokens: TokenSequence) -> tuple[Array, NDArray[np.int64], Array]:
    """Bits for each token, the codes that were expected, and how likely those were.

    No emotion is given: what is asked is how usual the motion is by itself.

    Returns:
        (n,), (n, m) and (n, m); with residual levels the bits are of all levels, the codes of the first.
    """
    from motion_gpt.scoring import score
    from motion_gpt.vocabulary import Condition

    scores = score(decoder, tokens.tokens, Condition(), top=EXPECTED)
    bits = scores.nats.sum(dim=1).numpy() / _LN2
    return bits.astype(np.float32), scores.best[:, 0].numpy(), scores.probabilities[:, 0].float().numpy()
