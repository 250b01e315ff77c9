"""Live: driving frames come one at a time, and when they stop the motion goes on by itself, token by token.

Where the driving ends decides which frames share a token, and nobody knows that before it has ended. So its tokens are
made on all grids at once: with 4 frames a token there are four streams, begun one frame apart, of which each frame
completes one. When the driving stops, the stream that is complete has tokenised, and decoded, what an offline
continuation of the same clip would start from; the generator then reads its tokens in one pass and goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from animator.errors import XNeMoError
from animator.live_face import LiveFace
from animator.preview import Preview
from motion_gpt.continuation import RECENT, Prefix, begin_continuation, check_pair, smooth_starts, stream_tokens
from motion_gpt.decoder import Decoder
from motion_gpt.models.motion_gpt import MotionGpt
from motion_gpt.outpainting import NULL
from motion_gpt.rollout import Item, window_start
from motion_gpt.sampling import as_decoder
from motion_gpt.seam import SeamSettings
from motion_gpt.settings import Sampling
from motion_gpt.vocabulary import CONDITION_ROWS, Condition
from motion_tokenizer.features import FEATURES, from_features, to_features
from motion_tokenizer.tokenizer import MotionTokenizer

_SEAM = SeamSettings()


class LiveMotion:
    """A driving motion that is heard as it comes, and continued when it stops.

    Memory does not grow with the driving or the continuation. With a tokenizer of one level the continuation is that
    of `continue_motion` for all frames heard, to rounding. (With several levels, from the first time that the
    generator's window slides, the finer codes of the oldest token in it are missing.)

    Args:
        generator: the network; a `Decoder` of it saves making one.
        tokenizer: the one that it was trained with; it must be causal.
        settings: how tokens are drawn.
        condition: what the continuation shall express.
        seam: how it is joined to the driving. Each attempt at a smoother seam takes its time at the moment of the stop.
    Raises:
        XNeMoError: weights that do not belong together, or a tokenizer that looks ahead.
    """

    def __init__(
        self,
        generator: MotionGpt | Decoder,
        tokenizer: MotionTokenizer,
        settings: Sampling,
        condition: Condition = NULL,
        seam: SeamSettings = _SEAM,
    ) -> None:
        settings.check()
        self.tokenizer = tokenizer
        self._decoder = as_decoder(generator)
        check_pair(self._decoder, tokenizer)
        self._settings, self._condition, self._seam = settings, condition, seam
        capacity = settings.context(self._decoder.context) - CONDITION_ROWS
        self._grids = [_Grid(tokenizer, capacity) for _ in range(tokenizer.frames_per_token)]
        self._recent = torch.zeros(0, FEATURES)
        self._heard = 0

    def push(self, latents: Tensor, boxes: Tensor) -> None:
        """Hear the next driving frames.

        Args:
            latents, boxes: (t, 512) and (t, 3), as in a MotionClip of the tokenizer's frame rate.
        Raises:
            ValueError: wrong shapes, NaN or infinity, or a size that is not above 0.
        """
        for latent, box in zip(latents.split(1), boxes.split(1), strict=True):
            for begin, grid in enumerate(self._grids):
                if begin <= self._heard:
                    grid.push(latent, box)
            self._recent = torch.cat([self._recent, to_features(latent, box)])[-RECENT:]
            self._heard += 1

    def go_on(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Continue what was heard, for as long as somebody asks.

        Yields:
            The frames of one token at a time: latents (n, 512) and boxes (n, 3).
        Raises:
            XNeMoError: less than a token was heard.
        """
        stride = self.tokenizer.frames_per_token
        if self._heard < stride:
            raise XNeMoError(
                f"the driving stopped after {self._heard} frames, but a token stands for {stride}; drive for longer"
            )
        prefix = self._grids[self._heard % stride].prefix(self._recent)
        item = Item(prefix.tokens, self._condition, self._settings.seed)
        (item,) = smooth_starts(self._decoder, self.tokenizer, prefix, [item], self._settings, self._seam)
        continuation = begin_continuation(self._decoder, self.tokenizer, prefix, item, self._settings, self._seam)
        passages = [(self._condition, None)]
        for token in stream_tokens(self._decoder, prefix.tokens, passages, self._settings, item.seed, 0):
            yield from_features(continuation.push(token))


class _Grid:
    """The driving on one of the grids that its end may lie on: its newest tokens, and a decoder that has heard all."""

    def __init__(self, tokenizer: MotionTokenizer, capacity: int) -> None:
        self._stream = tokenizer.stream()
        self._capacity = capacity
        self._tokens = torch.zeros(0, tokenizer.levels, dtype=torch.int64)
        self._decoded = torch.zeros(0, FEATURES)

    def push(self, latent: Tensor, box: Tensor) -> None:
        self._hear(self._stream.push_motion(latent, box))

    def prefix(self, recent: Tensor) -> Prefix:
        """What was heard, as if the driving ended here; it may go on all the same."""
        ended = copy(self)
        ended._stream = self._stream.fork()
        ended._hear(self._stream.last_tokens())
        return Prefix(ended._tokens, recent, ended._decoded, ended._stream)

    def _hear(self, tokens: Tensor) -> None:
        for token in tokens.split(1):
            latents, boxes = self._stream.push_tokens(token)
            self._decoded = torch.cat([self._decoded, to_features(latents, boxes)])[-RECENT:]
            kept = torch.cat([self._tokens, token])
            # The network's window slides by whole strides; without what lies before it, it slides at the same places.
            self._tokens = kept[window_start(len(kept), self._capacity) :].clone()


class LiveLoop:
    """Driving frames in, pictures of a portrait out, through the GAN head.

    Args:
        preview: the GAN head with the portrait, see `XNeMoPipeline.preview_of`.
        motion: hears the driving.
        face: reads motion out of the driving's pictures; None where it comes as motion.
    """

    def __init__(self, preview: Preview, motion: LiveMotion, face: LiveFace | None = None) -> None:
        self._preview, self._motion, self._face = preview, motion, face

    def drive(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Take the next picture of the driving, at the tokenizer's frame rate.

        Args:
            picture: uint8 (height, width, 3); all of one size.
        Returns:
            The portrait, uint8 (side, side, 3); None where the face was not found, and the frame does not count.
        """
        if self._face is None:
            raise ValueError("pictures need a LiveFace")
        seen = self._face.see(picture)
        return None if seen is None else self.drive_motion(*seen)[0]

    def drive_motion(self, latents: Tensor, boxes: Tensor) -> NDArray[np.uint8]:
        """Take the next driving frames as motion, (t, 512) and (t, 3); the portrait, uint8 (t, side, side, 3)."""
        self._motion.push(latents, boxes)
        return self._preview.draw(latents, boxes)

    def go_on(self) -> Iterator[NDArray[np.uint8]]:
        """The driving has stopped: pictures of what follows, a token's frames at a time, without end."""
        for latents, boxes in self._motion.go_on():
            yield self._preview.draw(latents, boxes)
