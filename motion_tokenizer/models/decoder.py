"""Decoder of the tokenizer: one vector for every `stride` frames -> normalised features at the frame rate."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from motion_tokenizer.models.blocks import StreamState, TemporalConv, Up


class Decoder(nn.Module):
    """T2M-GPT's decoder, causal or not.

    Args:
        features: numbers a frame.
        width: channels of the hidden layers.
        depth: residual blocks before each doubling.
        growth: factor between the dilations of neighbouring blocks.
        doublings: how often the frame rate is doubled.
        code_dim: length of the vectors.
        causal: frames depend on their own vector and earlier ones only.
    """

    def __init__(
        self, features: int, width: int, depth: int, growth: int, doublings: int, code_dim: int, causal: bool
    ) -> None:
        super().__init__()
        self.enter = TemporalConv(code_dim, width, 3, causal)
        self.ups = nn.ModuleList(Up(width, depth, growth, causal) for _ in range(doublings))
        self.join = TemporalConv(width, width, 3, causal)
        self.leave = TemporalConv(width, features, 3, causal, activate=True)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        """Vectors (B, n, code_dim) -> features (B, n * 2 ** doublings, F)."""
        x = F.relu(self.enter(x, state))
        for up in self.ups:
            x = up(x, state)
        return self.leave(self.join(x, state), state)
