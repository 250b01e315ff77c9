"""GPT-2's weights, one new row at a time, on key and value buffers that are allocated once.

transformers computes the same (a test holds the two together); here a step costs little more than reading the weights
once, which is what bounds generation at batch 1.

Rows are ordered by item: an item is one clip under way, and its rows are its branches, the conditions that guidance
mixes. What is computed for an item has the same bits in any batch (see `motion_gpt.products`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from motion_gpt.models.motion_gpt import MotionGpt
from motion_gpt.products import Product


@dataclass
class Cache:
    """Keys and values of the rows so far.

    Attributes:
        keys: one per block, (rows, heads, capacity, width / heads).
        values: likewise.
        group: rows that belong to one item.
        length: how many positions are filled.
    """

    keys: list[Tensor]
    values: list[Tensor]
    group: int
    length: int = 0

    def spread(self, rows: int) -> None:
        """Copy the first `rows` to all others, group by group."""
        for buffer in (*self.keys, *self.values):
            filled = buffer[:, :, : self.length]
            filled.unflatten(0, (-1, rows)).copy_(filled[None, :rows].clone())


class Block:
    """The weights of one transformer block."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        self.norm_1 = _norm(block.ln_1)
        self.norm_2 = _norm(block.ln_2)
        self.attention_in = _product(block.attn.c_attn, dtype)
        self.attention_out = _product(block.attn.c_proj, dtype)
        self.widen = _product(block.mlp.c_fc, dtype)
        self.narrow = _product(block.mlp.c_proj, dtype)


class Decoder:
    """A generator made ready for decoding.

    Args:
        model: the generator. Its weights are read here: train it further, and make a new decoder.
        dtype: format of the matrix products; sums, normalisation and attention stay in float32. None: the model's.
    """

    def __init__(self, model: MotionGpt, dtype: torch.dtype | None = None) -> None:
        network = model.transformer
        self.vocabulary = model.vocabulary
        self.context = model.context
        self.heads: int = network.config.n_head
        self.width: int = network.config.n_embd
        self.device = network.wte.weight.device
        self.dtype = dtype or network.wte.weight.dtype
        self.embedding = network.wte.weight.detach()
        self.positions = network.wpe.weight.detach()
        self.epsilon: float = network.config.layer_norm_epsilon
        self.blocks = [Block(block, self.dtype) for block in network.h]
        self.norm = _norm(network.ln_f)
        # EOS and everything behind it has no row here, so that it cannot be drawn.
        codes = self.vocabulary.levels * self.vocabulary.codes
        self.output = Product(self.embedding[:codes].t(), None, self.dtype)

    def cache(self, items: int, branches: int, capacity: int) -> Cache:
        """Empty buffers for so many items and positions."""
        shape = (items * branches, self.heads, capacity, self.width // self.heads)
        blocks = range(len(self.blocks))
        # float32 whatever the format of the products: on a CPU attention in bfloat16 is slower, and rounds more.
        keys = [torch.empty(shape, device=self.device) for _ in blocks]
        values = [torch.empty(shape, device=self.device) for _ in blocks]
        return Cache(keys, values, branches)

    @torch.inference_mode()
    def prefill(self, ids: Tensor, cache: Cache) -> Tensor:
        """Fill a cache from its beginning; what it held is forgotten.

        Args:
            ids: (rows, n, levels); `cache` may have more rows than that.
            cache: with room for n positions.
        Returns:
            What `logits` takes, for each position, (rows, n, width).
        """
        # One row at a time: a product over all of them would be rounded differently for each number of rows.
        hidden = [self._prefill_row(row_ids, cache, row) for row, row_ids in enumerate(ids)]
        cache.length = ids.shape[1]
        return torch.stack(hidden)

    def _prefill_row(self, ids: Tensor, cache: Cache, row: int) -> Tensor:
        n = len(ids)
        x = self._embed(ids) + self.positions[:n]
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            joint = block.attention_in.many(self._normalise(x, block.norm_1))
            q, k, v = joint.view(n, 3, self.heads, -1).permute(1, 2, 0, 3).unbind(0)
            keys[row, :, :n], values[row, :, :n] = k, v
            mixed = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
            x = x + block.attention_out.many(mixed.transpose(0, 1).reshape(n, self.width))
            wide = F.gelu(block.widen.many(self._normalise(x, block.norm_2)), approximate="tanh")
            x = x + block.narrow.many(wide)
        return self._normalise(x, self.norm)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of the codes, (n, width) to (n, levels, codes) float32."""
        return self._by_level(self.output.many(hidden))

    @torch.inference_mode()
    def step(self, ids: Tensor, cache: Cache) -> Tensor:
        """Append one position.

        Args:
            ids: (rows, levels).
            cache: with room for one more position.
        Returns:
            Logits of the next one, (rows, levels, codes) float32.
        """
        at, rows, group = cache.length, len(ids), cache.group
        x = self._embed(ids) + self.positions[at]
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            joint = block.attention_in.few(self._normalise(x, block.norm_1), group)
            q, k, v = joint.view(rows, 3, self.heads, 1, -1).unbind(1)
            keys[:, :, at : at + 1], values[:, :, at : at + 1] = k, v
            mixed = F.scaled_dot_product_attention(q, keys[:, :, : at + 1], values[:, :, : at + 1])
            x = x + block.attention_out.few(mixed.view(rows, self.width), group)
            wide = F.gelu(block.widen.few(self._normalise(x, block.norm_2), group), approximate="tanh")
            x = x + block.narrow.few(wide, group)
        cache.length = at + 1
        return self._by_level(self.output.few(self._normalise(x, self.norm), group))

    def _embed(self, ids: Tensor) -> Tensor:
        """(rows, levels) to (rows, width)."""
        return F.embedding(ids, self.embedding).sum(dim=1).float()

    def _normalise(self, x: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
        return F.layer_norm(x, (self.width,), *norm, self.epsilon)

    def _by_level(self, logits: Tensor) -> Tensor:
        return logits.view(len(logits), self.vocabulary.levels, self.vocabulary.codes)


def _norm(layer: Any) -> tuple[Tensor, Tensor]:
    return layer.weight.detach().float(), layer.bias.detach().float()


def _product(layer: Any, dtype: torch.dtype) -> Product:
    return Product(layer.weight.detach(), layer.bias.detach(), dtype)
