"""Matrix products by oneDNN, the library that also does the convolutions of a CPU.

In float32 torch gives them to MKL, which does not use the wide registers of processors of other makers than its own:
on such a machine (AMD EPYC, AVX-512) oneDNN takes 0.4 of the time. In half precision torch itself asks oneDNN.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# The capability is torch's own finding: what the processor has and this build can use.
AVAILABLE = torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


class Linear(nn.Linear):
    """`nn.Linear` with the same parameters and, but for rounding, the same result, sooner.

    oneDNN's product has no gradient in torch, so training is left to MKL; a compiler chooses for itself.
    """

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight
        plain = input.device.type != "cpu" or input.dtype != torch.float32 or weight.dtype != torch.float32
        learning = torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad)
        if torch.compiler.is_compiling() or plain or learning or not torch.backends.mkldnn.enabled:
            return super().forward(input)
        return torch.ops.mkldnn._linear_pointwise(input, weight, self.bias, "none", [], "")


def multiply_by_onednn(net: nn.Module) -> None:
    """Put a `Linear` in the place of each `nn.Linear` of a net, with the same parameters under the same names.

    Does nothing where oneDNN has no kernels for the processor.
    """
    if not AVAILABLE:
        return
    for parent in list(net.modules()):
        for name, stock in list(parent.named_children()):
            if type(stock) is nn.Linear:
                ours = Linear(stock.in_features, stock.out_features, stock.bias is not None, device="meta")
                ours.weight, ours.bias = stock.weight, stock.bias
                ours.train(stock.training)
                setattr(parent, name, ours)
