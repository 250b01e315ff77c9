"""Motion in, tokens out, and tokens in, motion out, piece by piece, with the result of the whole at once."""

from __future__ import annotations

import torch
from torch import Tensor

from animator.motion_clip import BOX_DIM, LATENT_DIM
from motion_tokenizer.features import FEATURES, from_features, to_features
from motion_tokenizer.models.blocks import StreamState
from motion_tokenizer.models.search import Paths
from motion_tokenizer.models.vqvae import MotionVQVAE


class TokenizerStream:
    """One running clip: `push_motion` and `push_tokens` give at once what is settled, and remember the rest.

    Pieces of any length give what `MotionTokenizer.encode` and `decode` give for the whole clip, to rounding (below
    1e-5). The two directions do not know of each other. A whole clip is aligned by its end, which is not known while
    it runs: where it is, give `padding`; otherwise the clip's first frame is the first of a token, and the last
    frames, fewer than a token holds, stay in the stream. Tokens come `tokenizer.search_delay` tokens late, as they hang
    on what follows; `last_tokens` are the late ones, were the clip over now, and `settle` decides them now.

    Args:
        model: a causal tokenizer's networks.
        padding: frames put before the first (repetitions of it) on the way in, and dropped on the way out:
            (-frames) % stride for a clip of known length.
    Raises:
        ValueError: the model looks ahead, or more padding than a token holds.
    """

    def __init__(self, model: MotionVQVAE, padding: int = 0) -> None:
        if not model.config.causal:
            raise ValueError("a tokenizer with causal=false needs the whole clip at once")
        if not 0 <= padding < model.config.stride:
            raise ValueError(f"padding must be 0 to {model.config.stride - 1} frames, not {padding}")
        self._model = model
        self._padding = padding
        self._to_drop = padding
        self._waiting: Tensor | None = None
        self._encoder_state = StreamState()
        self._paths = Paths()
        self._decoder_state = StreamState()

    def fork(self) -> TokenizerStream:
        """Another stream that has seen what this one has; from here on they go their own ways."""
        other = TokenizerStream(self._model, self._padding)
        other._to_drop, other._waiting = self._to_drop, self._waiting
        other._encoder_state, other._paths = self._encoder_state.copy(), self._paths.copy()
        other._decoder_state = self._decoder_state.copy()
        return other

    @torch.no_grad()
    def push_motion(self, latents: Tensor, boxes: Tensor) -> Tensor:
        """Take the next frames.

        Args:
            latents, boxes: (t, 512) and (t, 3), as in a MotionClip of the tokenizer's frame rate; t may be 0.
        Returns:
            The tokens that are settled now, (m, levels), int64 on the CPU; m may be 0.
        Raises:
            ValueError: wrong shapes, NaN or infinity, or a size that is not above 0.
        """
        check_frames(latents, boxes)
        features = to_features(latents, boxes).to(self._model.mean)
        if self._waiting is None:
            self._waiting = features[:1].expand(self._padding, FEATURES) if len(features) else None
        if self._waiting is not None:
            features = torch.cat([self._waiting, features])
            ready = len(features) // self._model.config.stride * self._model.config.stride
            features, self._waiting = features[:ready], features[ready:]
        if len(features) == 0:
            return torch.zeros(0, self._model.config.levels, dtype=torch.int64)
        return self._model.encode_next(features[None], self._encoder_state, self._paths)[0].cpu()

    def last_tokens(self) -> Tensor:
        """The tokens that more motion might still change, (m, levels), int64 on the CPU; the stream stays as it is."""
        best = self._paths.best
        return torch.zeros(0, self._model.config.levels, dtype=torch.int64) if best is None else best[0].cpu()

    def settle(self) -> Tensor:
        """Decide the tokens that more motion might still change, (m, levels); the search goes on behind them."""
        late = self.last_tokens()
        self._paths.settle()
        return late

    @torch.no_grad()
    def push_tokens(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Take the next tokens.

        Args:
            tokens: (m, levels), int64; m may be 0.
        Returns:
            Their frames: latents (m * stride, 512) and boxes (m * stride, 3), float32 on the CPU; the first push
            lacks the frames that are padding.
        Raises:
            ValueError: wrong shape, or a token that the codebook does not have.
        """
        check_tokens(tokens, self._model.config.codes, self._model.config.levels)
        if len(tokens) == 0:
            return torch.zeros(0, LATENT_DIM), torch.zeros(0, BOX_DIM)
        features = self._model.decode(tokens[None].to(self._model.mean.device), self._decoder_state)[0].cpu()
        features, self._to_drop = features[self._to_drop :], 0
        return from_features(features)


def check_frames(latents: Tensor, boxes: Tensor) -> None:
    """Raise ValueError unless the tensors could be those of a MotionClip; no frames at all are allowed."""
    if latents.shape != (len(latents), LATENT_DIM) or boxes.shape != (len(latents), BOX_DIM):
        raise ValueError(
            f"latents and boxes must be (frames, {LATENT_DIM}) and (frames, {BOX_DIM}), "
            f"not {tuple(latents.shape)} and {tuple(boxes.shape)}"
        )
    for name, tensor in (("latents", latents), ("boxes", boxes)):
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} hold NaN or infinity")
    if (boxes[:, 2] <= 0).any():
        raise ValueError("boxes: the third column is a size and must be above 0")


def check_tokens(tokens: Tensor, codes: int, levels: int) -> None:
    """Raise ValueError unless tokens are (m, levels), int64, each 0 to codes - 1."""
    if tokens.ndim != 2 or tokens.shape[1] != levels or tokens.dtype != torch.int64:
        raise ValueError(f"tokens must be (steps, {levels}) of int64, not {tuple(tokens.shape)} of {tokens.dtype}")
    wrong = ((tokens < 0) | (tokens >= codes)).any(dim=1).nonzero()
    if len(wrong):
        step = int(wrong[0])
        raise ValueError(f"token {tokens[step].tolist()} at step {step} is not 0 to {codes - 1}")
