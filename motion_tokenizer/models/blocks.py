"""What encoder and decoder are built of: convolutions in time that look back only, or to both sides.

Tensors are (batch, frames, channels), with the channels next to each other in memory: that is the layout in which
oneDNN convolves fastest, padding copies whole frames, and features come and go without being transposed.

A causal convolution is padded on the left alone, so that nothing depends on what comes later and a clip may come in
pieces: a `StreamState` then holds the last inputs of each convolution, which take the place of the padding in front of
the next piece.
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

    def copy(self) -> StreamState:
        """The same memory, for a stream that goes another way from here."""
        other = StreamState()
        # What is remembered is replaced, never written to, so that two states may share it.
        other._past = dict(self._past)
        return other

    def rows(self, index: Tensor) -> StreamState:
        """The memory of the rows `index` (n,) of the batch, in that order; a row may be taken several times."""
        other = StreamState()
        other._past = {layer: past[index] for layer, past in self._past.items()}
        return other

    def become(self, other: StreamState) -> None:
        """Take over another one's memory."""
        self._past = dict(other._past)

    def extend(self, layer: nn.Module, x: Tensor, length: int) -> Tensor:
        """Put the last `length` inputs of `layer` in front of x (B, n, C), and remember those of the result."""
        past = self._past.get(layer)
        if past is None:
            past = x.new_zeros(x.shape[0], length, x.shape[2])
        joined = torch.cat([past, x], dim=1)
        # A copy, because a view would keep the whole piece alive, and change with it.
        self._past[layer] = joined[:, -length:].clone()
        return joined


class TemporalConv(nn.Module):
    """A convolution in time whose result has as many frames as its input, divided by the stride.

    Its weights begin as those of `nn.Conv1d`, but are kept as (out_channels, kernel, in_channels), like the tensors.

    Args:
        in_channels, out_channels, kernel, stride, dilation: as of `nn.Conv1d`.
        causal: pad on the left alone; otherwise to equal parts on both sides.
        activate: apply ReLU to the input first.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        causal: bool,
        stride: int = 1,
        dilation: int = 1,
        activate: bool = False,
    ) -> None:
        super().__init__()
        like = nn.Conv1d(in_channels, out_channels, kernel)
        self.weight = nn.Parameter(like.weight.detach().transpose(1, 2).contiguous())
        self.bias = like.bias
        self.stride = stride
        self.dilation = dilation
        self.padding = (kernel - 1) * dilation + 1 - stride
        self.causal = causal
        self.activate = activate

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        """(B, n, in_channels) -> (B, n / stride, out_channels)."""
        x = self._padded(x, state)
        if self.activate:
            # In place where `x` is a copy already.
            x = F.relu(x, inplace=self.padding > 0)
        # As pictures of one row, (B, C, 1, n), tensors and weights are in torch's channels-last format; of sequences,
        # (B, C, n), there is no such format.
        row = x.unsqueeze(1).permute(0, 3, 1, 2)
        weight = self.weight.unsqueeze(1).permute(0, 3, 1, 2)
        result = F.conv2d(row, weight, self.bias, stride=(1, self.stride), dilation=(1, self.dilation))
        return result.permute(0, 2, 3, 1).squeeze(1)

    def _padded(self, x: Tensor, state: StreamState | None) -> Tensor:
        """`x` with what precedes it in front, and with zeros on both sides where the convolution looks ahead."""
        if self.padding == 0:
            return x
        if state is not None:
            if not self.causal:
                raise ValueError("a convolution that looks ahead cannot be streamed")
            return state.extend(self, x, self.padding)
        left = self.padding if self.causal else self.padding // 2
        return F.pad(x, (0, 0, left, self.padding - left))


class ResidualBlock(nn.Module):
    """x + conv1(relu(conv3(relu(x)))), the block of T2M-GPT's networks."""

    def __init__(self, width: int, dilation: int, causal: bool) -> None:
        super().__init__()
        self.spread = TemporalConv(width, width, 3, causal, dilation=dilation, activate=True)
        self.mix = TemporalConv(width, width, 1, causal, activate=True)

    def forward(self, x: Tensor, state: StreamState | None = None) -> Tensor:
        return x + self.mix(self.spread(x, state))


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
        return self.smooth(self.stack(x, state).repeat_interleave(2, dim=1), state)
