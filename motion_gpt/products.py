"""Products of a few rows with a large matrix, fast on a CPU and with the same bits in any batch.

At batch 1 a product costs the reading of its weights, and which routine reads them fastest depends on format and
layout (one thread of an AMD EPYC with AVX-512 and bfloat16 instructions, GB/s of weights, 768 x 3072 / 3072 x 768):

    rows                                          1      2      4      8
    float32  x W, W stored (in, out)            24/24  14/12  12/12  10/10    `addmm` on GPT-2's own layout, no copy
             x W, W stored (out, in)            16/21   9/11  12/13  10/10    `F.linear`
             (W x^T)^T, stored (out, in)        16/21  22/13  21/7    9/6     fast up to 4 rows and 768 columns, so
             the same in blocks of 768 columns         22/22  21/21           wider matrices are cut
    bfloat16 x W, W stored (out, in)            15/17  14/18  15/18  12/14    `F.linear`

In float32 a row is rounded differently for each number of rows that share a product. So there the items take turns,
and an item's rows share one; from the second item on the weights come out of the processor's cache. In bfloat16 on a
CPU the rows do not depend on each other, except that a lone one is treated specially; so it is given a companion.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_COLUMNS = 768
_TRANSPOSED_ROWS = range(2, 5)


class Product(nn.Module):
    """y = x W + b.

    Args:
        weight: W, (in, out), as GPT-2 stores it.
        bias: b, (out,); None for none.
        dtype: format of the product. Rows come and go in float32.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.exact = dtype == torch.float32
        self.weight = nn.Parameter((weight if self.exact else weight.t()).to(dtype).contiguous(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.to(dtype), requires_grad=False)
        self._blocks: list[Tensor] | None = None

    def many(self, x: Tensor) -> Tensor:
        """The rows of one sequence, (n, in) to (n, out)."""
        if not self.exact:
            return F.linear(x.to(self.dtype), self.weight, self.bias).float()
        if self.bias is None:
            return torch.mm(x, self.weight)
        return torch.addmm(self.bias, x, self.weight)

    def few(self, x: Tensor, group: int) -> Tensor:
        """The newest rows of several sequences, (rows, in) to (rows, out).

        Args:
            x: rows, ordered by item.
            group: rows of one item.
        """
        if torch.compiler.is_compiling():
            # The caller gives items one by one, and the compiler chooses routine and layout.
            return self.many(x)
        if self.dtype == torch.bfloat16 and x.device.type == "cpu":
            return self.many(x) if len(x) > 1 else self.many(x.expand(2, -1))[:1]
        if len(x) == group:
            return self._item(x)
        return torch.cat([self._item(item) for item in x.split(group)])

    def _item(self, x: Tensor) -> Tensor:
        if self.exact and len(x) in _TRANSPOSED_ROWS and x.device.type == "cpu":
            return self._transposed(x)
        return self.many(x)

    def _transposed(self, x: Tensor) -> Tensor:
        """(W x^T)^T in blocks of columns."""
        if self._blocks is None:
            # A second copy of the weights, made only where guidance needs it.
            self._blocks = [block.contiguous() for block in self.weight.t().split(_COLUMNS, dim=1)]
        first, *others = [block.contiguous().t() for block in x.split(_COLUMNS, dim=1)]
        y = self._blocks[0] @ first
        for weight, column in zip(self._blocks[1:], others, strict=True):
            y = torch.addmm(y, weight, column)
        y = y.t().contiguous()  # attention takes another way for rows that are not
        return y if self.bias is None else y + self.bias
