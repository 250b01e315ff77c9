"""Encoder of the tokenizer: normalised features at the frame rate -> one vector for every `stride` frames."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from motion_tokenizer.models.blocks import Down, StreamState, TemporalConv


class Encoder(nn.Module):
    """T2M-GPT's encoder, causal or not.

    Args:
        features: numbers a frame.
        width: channels of the hidden layers.
        depth: residual blocks after each halving.
        growth: factor between the dilations of neighbouring blocks.
        halvings: how often the frame rate is halved.
        code_dim: length of the resulting vectors.
        causal: a vector depends on its own frames and earlier ones only.
    """

    def __init__(
        self, features: int, width: int, depth: int, growth: int, halvings: int, code_dim: int, causal: bool
    ) -> None:
        super().__init__()
        self.enter = TemporalConv(features, width, 3, causal)
        self.downs = nn.ModuleList(Down(width, depth, growth, causal) for _ in range(halvings))
        self.leave = TemporalConv(width, code_dim, 3, causal)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        """Features (B, T, F), T a multiple of 2 ** halvings -> vectors (B, T / 2 ** halvings, code_dim)."""
        x = F.relu(self.enter(x, state))
        for down in self.downs:
            x = down(x, state)
        return self.leave(x, state)
