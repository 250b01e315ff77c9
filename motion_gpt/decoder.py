"""GPT-2's weights, one new row at a time, on key and value buffers that are allocated once.

transformers computes the same (a test holds the two together); here a step costs little more than reading the weights
once, which is what bounds generation at batch 1.

Rows are ordered by item: an item is one clip under way, and its rows are its branches, the conditions that guidance
mixes. What is computed for an item has the same bits in any batch (see `motion_gpt.products`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._inductor import config as inductor
from torch.nn import functional as F

from motion_gpt.models.motion_gpt import MotionGpt
from motion_gpt.products import Product


@dataclass
class Cache:
    """Keys and values of the rows so far.

    Attributes:
        keys: one per block, (rows, heads, capacity, width / heads). float32 whatever the format of the products: on
            a CPU attention in bfloat16 is slower, and rounds more.
        values: likewise.
        group: rows that belong to one item.
        length: how many positions are filled.
    """

    keys: list[Tensor]
    values: list[Tensor]
    group: int
    length: int = 0

    def spread(self) -> None:
        """Copy what the first item holds to all others."""
        for buffer in (*self.keys, *self.values):
            filled = buffer[:, :, : self.length].unflatten(0, (-1, self.group))
            filled[1:] = filled[:1]


class Block(nn.Module):
    """The weights of one transformer block."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self.norm_1 = _norm(block.ln_1)
        self.norm_2 = _norm(block.ln_2)
        self.attention_in = _product(block.attn.c_attn, dtype)
        self.attention_out = _product(block.attn.c_proj, dtype)
        self.widen = _product(block.mlp.c_fc, dtype)
        self.narrow = _product(block.mlp.c_proj, dtype)


class Network(nn.Module):
    """GPT-2 without its embedding, in two forms: many rows of one sequence, or the newest row of several."""

    def __init__(self, model: MotionGpt, dtype: torch.dtype) -> None:
        super().__init__()
        transformer = model.transformer
        self.heads: int = transformer.config.n_head
        self.width: int = transformer.config.n_embd
        self.blocks = nn.ModuleList(Block(block, dtype) for block in transformer.h)
        self.norm = _norm(transformer.ln_f)
        # EOS and everything behind it has no row here, so that it cannot be drawn.
        codes = model.vocabulary.levels * model.vocabulary.codes
        self.output = Product(transformer.wte.weight.detach()[:codes].t(), None, dtype)

    def layers(self) -> list[Block]:
        """The blocks, first to last."""
        return cast("list[Block]", list(self.blocks))

    def prefill(self, x: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
        """A whole sequence.

        Args:
            x: embeddings, (n, width).
            keys: per block, (heads, capacity, width / heads); the first n positions are written.
            values: likewise.
        Returns:
            What the output layer takes, (n, width).
        """
        n = len(x)
        for block, block_keys, block_values in zip(self.layers(), keys, values, strict=True):
            joint = block.attention_in.many(block.norm_1(x))
            q, k, v = joint.view(n, 3, self.heads, -1).permute(1, 2, 0, 3).unbind(0)
            block_keys[:, :n], block_values[:, :n] = k, v
            mixed = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
            x = x + block.attention_out.many(mixed.transpose(0, 1).reshape(n, self.width))
            wide = F.gelu(block.widen.many(block.norm_2(x)), approximate="tanh")
            x = x + block.narrow.many(wide)
        return self.norm(x)

    def forward(self, x: Tensor, keys: list[Tensor], values: list[Tensor], at: int, group: int) -> Tensor:
        """The newest row of some sequences.

        Args:
            x: embeddings, (rows, width), ordered by item.
            keys: per block, (rows, heads, capacity, width / heads); position `at` is written.
            values: likewise.
            at: position of the newest row.
            group: rows of one item.
        Returns:
            Logits, (rows, levels * codes) float32.
        """
        rows = len(x)
        for block, block_keys, block_values in zip(self.layers(), keys, values, strict=True):
            joint = block.attention_in.few(block.norm_1(x), group)
            q, k, v = joint.view(rows, 3, self.heads, 1, -1).unbind(1)
            block_keys[:, :, at : at + 1], block_values[:, :, at : at + 1] = k, v
            mixed = F.scaled_dot_product_attention(q, block_keys[:, :, : at + 1], block_values[:, :, : at + 1])
            x = x + block.attention_out.few(mixed.reshape(rows, self.width), group)
            wide = F.gelu(block.widen.few(block.norm_2(x), group), approximate="tanh")
            x = x + block.narrow.few(wide, group)
        return self.output.few(self.norm(x), group)


class Decoder:
    """A generator made ready for decoding.

    Args:
        model: the generator. Its weights are read here: train it further, and make a new decoder.
        dtype: format of the matrix products; sums, normalisation and attention stay in float32. None: the model's.
        compiled: compile the step by torch.compile, with the weights packed for the processor (inductor's freezing).
            The first step then takes some 20 s, and in bfloat16 the others half as long.
    """

    def __init__(self, model: MotionGpt, dtype: torch.dtype | None = None, compiled: bool = False) -> None:
        self.vocabulary = model.vocabulary
        self.context = model.context
        self.tokenizer_id: str = model.config.tokenizer_id
        self.detail = copy.deepcopy(model.detail).cpu()
        self.recall = copy.deepcopy(model.recall).cpu()
        self.embedding = model.transformer.wte.weight.detach()
        self.positions = model.transformer.wpe.weight.detach().float()
        self.network = Network(model, dtype or self.embedding.dtype).eval().requires_grad_(False)
        self.compiled = torch.compile(self.network, dynamic=True) if compiled else None

    def cache(self, items: int, branches: int, capacity: int) -> Cache:
        """Empty buffers for so many items and positions."""
        shape = (items * branches, self.network.heads, capacity, self.network.width // self.network.heads)

        def buffers() -> list[Tensor]:
            return [torch.empty(shape, device=self.embedding.device) for _ in self.network.blocks]

        return Cache(buffers(), buffers(), branches)

    @torch.no_grad()
    def prefill(self, ids: Tensor, cache: Cache) -> Tensor:
        """Fill a cache from its beginning; what it held is forgotten.

        Args:
            ids: (rows, n, levels); `cache` may have more rows than that.
            cache: with room for n positions.
        Returns:
            What `logits` takes, for each position, (rows, n, width).
        """
        n = ids.shape[1]
        x = self._embed(ids) + self.positions[:n]
        # One row at a time: a product over all of them would be rounded differently for each number of rows.
        hidden = [
            self.network.prefill(
                row, [keys[number] for keys in cache.keys], [values[number] for values in cache.values]
            )
            for number, row in enumerate(x)
        ]
        cache.length = n
        return torch.stack(hidden)

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """Logits of the codes, (n, width) to (n, levels, codes) float32."""
        return self._by_level(self.network.output.many(hidden))

    @torch.no_grad()
    def step(self, ids: Tensor, cache: Cache) -> Tensor:
        """Append one position.

        Args:
            ids: (rows, levels).
            cache: with room for one more position.
        Returns:
            Logits of the next one, (rows, levels, codes) float32.
        """
        at, group = cache.length, cache.group
        x = self._embed(ids) + self.positions[at]
        if self.compiled is None:
            logits = self.network(x, cache.keys, cache.values, at, group)
        else:
            # Item by item: compiled products do not promise the same bits in any batch.
            logits = torch.cat(
                [self._compiled_item(x, cache, slice(first, first + group)) for first in range(0, len(x), group)]
            )
        cache.length = at + 1
        return self._by_level(logits)

    def _compiled_item(self, x: Tensor, cache: Cache, rows: slice) -> Tensor:
        assert self.compiled is not None
        keys, values = [keys[rows] for keys in cache.keys], [values[rows] for values in cache.values]
        # Around the call: compilation happens within the first one, and an option of torch.compile comes too late.
        with inductor.patch(freezing=True):
            return self.compiled(x[rows], keys, values, cache.length, cache.group)

    def _embed(self, ids: Tensor) -> Tensor:
        """(..., levels) to (..., width)."""
        return F.embedding(ids.to(self.embedding.device), self.embedding).sum(dim=-2).float()

    def _by_level(self, logits: Tensor) -> Tensor:
        return logits.view(len(logits), self.vocabulary.levels, self.vocabulary.codes)


def _norm(layer: Any) -> nn.LayerNorm:
    norm = nn.LayerNorm(layer.normalized_shape, layer.eps, device=layer.weight.device)
    norm.load_state_dict(layer.state_dict())
    return norm


def _product(layer: Any, dtype: torch.dtype) -> Product:
    return Product(layer.weight.detach(), layer.bias.detach(), dtype)
