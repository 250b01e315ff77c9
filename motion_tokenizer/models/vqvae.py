"""MotionVQVAE: features of a clip -> tokens -> features, after T2M-GPT (X-NeMo appendix D).

Tensors are (batch, frames, features). Features come and go in their own units; the statistics that normalise them are
buffers, so that no weights can be used with those of other data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from animator.motion_clip import BOX_DIM, LATENT_DIM
from motion_tokenizer.config import QuantizerConfig
from motion_tokenizer.features import BOXES, LATENTS
from motion_tokenizer.models.blocks import StreamState
from motion_tokenizer.models.decoder import Decoder
from motion_tokenizer.models.encoder import Encoder
from motion_tokenizer.models.search import Paths, Search
from motion_tokenizer.quantizers import Quantized, build_quantizer


@dataclass(frozen=True)
class VQOutput:
    """What a forward pass gives.

    Attributes:
        reconstruction: (B, T, F), in the units of the input.
        normalised: the same, normalised: what the losses compare with `MotionVQVAE.normalise` of the input.
        tokens: (B, T / stride, levels), int64.
        loss: of the quantiser (commitment, weighted), a scalar.
        metrics: of the quantiser, see `Quantized`.
    """

    reconstruction: Tensor
    normalised: Tensor
    tokens: Tensor
    loss: Tensor
    metrics: dict[str, Tensor]


class MotionVQVAE(ModelMixin, ConfigMixin):
    """Encoder, quantiser, decoder.

    Args:
        features: numbers a frame.
        width, depth, dilation_growth, stride, code_dim, codes, levels, causal, search, search_predicted,
            search_paths, search_delay, search_boxes: see `TokenizerConfig`.
        quantizer: values of `QuantizerConfig`.
    Raises:
        ValueError: a stride that is no power of 2, or settings of the quantiser that do not go together.
    """

    # How tokens are looked for does not change what they say.
    not_in_id: ClassVar[tuple[str, ...]] = (
        "search",
        "search_predicted",
        "search_paths",
        "search_delay",
        "search_boxes",
    )

    mean: Tensor
    std: Tensor

    @register_to_config
    def __init__(
        self,
        features: int = 515,
        width: int = 512,
        depth: int = 3,
        dilation_growth: int = 3,
        stride: int = 4,
        code_dim: int = 8,
        codes: int = 4096,
        levels: int = 1,
        causal: bool = True,
        search: int = 1,
        search_predicted: bool = False,
        search_paths: int = 1,
        search_delay: int = 0,
        search_boxes: float = 0.25,
        quantizer: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        halvings = stride.bit_length() - 1
        if stride != 2**halvings or halvings < 1:
            raise ValueError(f"stride must be 2, 4, 8, ..., not {stride}")
        if search > 1 and not causal:
            raise ValueError(f"search={search}: tokens can be tried one after the other only where causal is true")
        if search > codes:
            raise ValueError(f"search={search}: there are {codes} codes")
        if (search_paths > 1) != (search_delay > 0):
            raise ValueError(
                f"search_paths={search_paths}, search_delay={search_delay}: several paths need a delay until one of "
                "them is taken, and a delay needs several paths"
            )
        self.encoder = Encoder(features, width, depth, dilation_growth, halvings, code_dim, causal)
        self.decoder = Decoder(features, width, depth, dilation_growth, halvings, code_dim, causal)
        # Not called "quantizer": diffusers would find the configuration's entry of that name first.
        self.bottleneck = build_quantizer(QuantizerConfig(**(quantizer or {})), code_dim, codes, levels)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Take over the statistics of the training split, (F,) each; `std` must be above 0 (floor it where it is not).

        Raises:
            ValueError: wrong shapes, or values that cannot normalise.
        """
        if mean.shape != self.mean.shape or std.shape != self.std.shape:
            raise ValueError(
                f"statistics must be {tuple(self.mean.shape)}, not {tuple(mean.shape)}, {tuple(std.shape)}"
            )
        if not (torch.isfinite(mean).all() and torch.isfinite(std).all() and (std > 0).all()):
            raise ValueError("statistics must be finite, and standard deviations above 0")
        self.mean.copy_(mean)
        self.std.copy_(std)

    def normalise(self, features: Tensor) -> Tensor:
        """Features (..., F) -> mean 0 and standard deviation 1 over the training split."""
        return (features - self.mean) / self.std

    def denormalise(self, normalised: Tensor) -> Tensor:
        """Undo `normalise`."""
        return normalised * self.std + self.mean

    def encode_continuous(self, features: Tensor, state: StreamState | None = None) -> Tensor:
        """Features (B, T, F) -> vectors before the quantiser, (B, T / stride, code_dim).

        Args:
            features: T a multiple of the stride.
            state: of a stream, whose next piece this is; None for a whole clip.
        Raises:
            ValueError: T is no multiple of the stride.
        """
        stride = self.config.stride
        if features.shape[1] % stride:
            raise ValueError(f"{features.shape[1]} frames are no multiple of the stride {stride}")
        return self.encoder(self.normalise(features), state)

    def decode_continuous(self, vectors: Tensor, state: StreamState | None = None) -> Tensor:
        """Vectors (B, n, code_dim) -> features (B, n * stride, F); `state` as in `encode_continuous`."""
        return self.denormalise(self.decoder(vectors, state))

    def quantize(self, vectors: Tensor) -> Quantized:
        """Quantise vectors (B, n, code_dim); in training mode this also updates the codebook."""
        return self.bottleneck(vectors)

    def encode(self, features: Tensor) -> Tensor:
        """Features (B, T, F) of whole clips -> tokens (B, T / stride, levels), int64, without gradients or learning.

        T must be a multiple of the stride.
        """
        paths = Paths()
        decided = self.encode_next(features, None, paths)
        return decided if paths.best is None else torch.cat([decided, paths.best], dim=1)

    def encode_next(self, features: Tensor, state: StreamState | None, paths: Paths) -> Tensor:
        """The next frames of streams, (B, T, F), T a multiple of the stride -> the tokens decided now, (B, m, levels).

        Args:
            state: the encoder's memory of the streams; None for whole clips.
            paths: what their search remembers; its best tokens are those that are not decided yet.
        """
        own, vectors = self.config, self.encode_continuous(features, state)
        if own.search == 1 or self.bottleneck.levels == 0 or features.shape[1] == 0:
            return self.bottleneck.encode(vectors)
        weights = self._search_weights()
        how = (own.search, own.search_predicted, own.search_paths, own.search_delay)
        search = Search(self.bottleneck, self.decoder, weights, *how)
        return search.push(vectors, self.normalise(features), paths)

    def _search_weights(self) -> Tensor:
        """Weight of each feature's squared error: means over latents and over boxes, the latter weighted, (F,)."""
        weights = torch.ones_like(self.mean)
        weights[LATENTS] /= LATENT_DIM
        weights[BOXES] *= self.config.search_boxes / BOX_DIM
        return weights

    def decode(self, tokens: Tensor, state: StreamState | None = None) -> Tensor:
        """Tokens (B, n, levels) -> features (B, n * stride, F)."""
        return self.decode_continuous(self.bottleneck.decode(tokens), state)

    def forward(self, features: Tensor) -> VQOutput:
        """Encode, quantise and decode (B, T, F), T a multiple of the stride."""
        quantized = self.quantize(self.encode_continuous(features))
        normalised = self.decoder(quantized.vectors)
        return VQOutput(self.denormalise(normalised), normalised, quantized.tokens, quantized.loss, quantized.metrics)
