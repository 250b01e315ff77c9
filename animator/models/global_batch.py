"""Statistics over the whole batch of a step, however many processes share it.

Batch normalisation and the discriminator's minibatch statistic look at a batch as a whole. When several processes
hold a part of it each, they average what they see, so that training does not depend on their number.
(`torch.nn.SyncBatchNorm` does the first of the two, but on GPUs only.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn


def processes() -> int:
    """How many processes train together; 1 without `torch.distributed`."""
    together = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if together else 1


def mean_over_processes(x: Tensor) -> Tensor:
    """Average a tensor over all processes; gradients flow back to all of them."""
    count = processes()
    return x if count == 1 else _Sum.apply(x) / count


class _Sum(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs, as each one's input went into all results."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)  # by itself, so that R1 can take a gradient of it


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with the statistics of all processes' batches, which must be of one size."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, C, h, w)."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        mean = mean_over_processes(x.mean(dim=(0, 2, 3)))
        centred = x - mean[:, None, None]
        variance = mean_over_processes(centred.square().mean(dim=(0, 2, 3)))
        self._remember(mean.detach(), variance.detach(), x.numel() // x.shape[1] * processes())
        y = centred * torch.rsqrt(variance + self.eps)[:, None, None]
        return (y * self.weight[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum)


def join_batch_norms(net: nn.Module) -> None:
    """Put a `GlobalBatchNorm2d` in the place of each `nn.BatchNorm2d` of a net, with the same state and names.

    Does nothing in a process that trains alone.
    """
    if processes() == 1:
        return
    for parent in list(net.modules()):
        for name, stock in list(parent.named_children()):
            if type(stock) is nn.BatchNorm2d:
                ours = GlobalBatchNorm2d(stock.num_features, stock.eps, stock.momentum)
                ours.to(stock.weight.device).load_state_dict(stock.state_dict())
                ours.requires_grad_(stock.weight.requires_grad).train(stock.training)
                setattr(parent, name, ours)
