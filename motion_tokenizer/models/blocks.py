"""What encoder and decoder are built of: convolutions in time that look back only, or to both sides.

Tensors are (batch, channels, frames). A causal convolution is padded on the left alone, so that nothing depends on
what comes later and a clip may come in pieces: a `StreamState` then holds the last inputs of each convolution, which
take the place of the padding in front of the next piece.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class StreamState:
    """What the convolutions of one network remember between two pieces of one stream: their last inputs.

    It starts empty, which stands for the zeros that a whole clip is padded with.
    """

    def __init__(self) -> None:
        self._past: dict[nn.Module, Tensor] = {}

    def extend(self, layer: nn.Module, x: Tensor, length: int) -> Tensor:
        """Put the last `length` inputs of `layer` in front of x (B, C, n), and remember those of the result."""
        past = self._past.get(layer)
        if past is None:
            past = x.new_zeros(*x.shape[:2], length)
        joined = torch.cat([past, x], dim=2)
        # A copy, because a view would keep the whole piece alive.
        self._past[layer] = joined[:, :, -length:].clone()
        return joined


class TemporalConv(nn.Module):
    """A convolution in time whose result has as many frames as its input, divided by the stride.

    Args:
        in_channels, out_channels, kernel, stride, dilation: as of `nn.Conv1d`.
        causal: pad on the left alone; otherwise to equal parts on both sides.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, causal: bool, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel, stride=stride, dilation=dilation)
        self.padding = (kernel - 1) * dilation + 1 - stride
        self.causal = causal

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        if self.padding == 0:
            return self.conv(x)
        if state is not None:
            if not self.causal:
                raise ValueError("a convolution that looks ahead cannot be streamed")
            return self.conv(state.extend(self, x, self.padding))
        left = self.padding if self.causal else self.padding // 2
        return self.conv(F.pad(x, (left, self.padding - left)))


class ResidualBlock(nn.Module):
    """x + conv1x1(relu(conv3(relu(x)))), the block of T2M-GPT's networks."""

    def __init__(self, width: int, dilation: int, causal: bool) -> None:
        super().__init__()
        self.spread = TemporalConv(width, width, 3, causal, dilation=dilation)
        self.mix = TemporalConv(width, width, 1, causal)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        return x + self.mix(F.relu(self.spread(F.relu(x), state)))


class ResidualStack(nn.Module):
    """`depth` residual blocks, the one that reaches farthest first: dilation growth ** (depth - 1), ..., growth, 1."""

    def __init__(self, width: int, depth: int, growth: int, causal: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(width, growth**i, causal) for i in reversed(range(depth)))

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, state)
        return x


class Down(nn.Module):
    """Half the frame rate, then a residual stack."""

    def __init__(self, width: int, depth: int, growth: int, causal: bool) -> None:
        super().__init__()
        self.halve = TemporalConv(width, width, 4, causal, stride=2)
        self.stack = ResidualStack(width, depth, growth, causal)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        return self.stack(self.halve(x, state), state)


class Up(nn.Module):
    """A residual stack, then twice the frame rate: each frame repeated, and a convolution over them."""

    def __init__(self, width: int, depth: int, growth: int, causal: bool) -> None:
        super().__init__()
        self.stack = ResidualStack(width, depth, growth, causal)
        self.smooth = TemporalConv(width, width, 3, causal)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        return self.smooth(self.stack(x, state).repeat_interleave(2, dim=2), state)
