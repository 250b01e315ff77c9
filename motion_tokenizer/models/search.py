"""Closed-loop encoding: each token is chosen by what the decoder makes of it, given the tokens before it.

The nearest code is the best one only if the decoder looked at one token at a time. A causal decoder remembers, so what
earlier tokens got wrong can be made good by later ones; speech coders have chosen their codes this way since CELP
(Schroeder and Atal 1985, analysis by synthesis). Training is not touched, and a token still depends on nothing that
comes after its own frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from motion_tokenizer.models.blocks import StreamState
from motion_tokenizer.models.decoder import Decoder
from motion_tokenizer.quantizers import Quantizer


@torch.no_grad()
def search_tokens(
    quantizer: Quantizer,
    decoder: Decoder,
    vectors: Tensor,
    target: Tensor,
    weights: Tensor,
    count: int,
    heard: StreamState,
) -> Tensor:
    """Choose tokens one after the other.

    Args:
        quantizer, decoder: of one causal tokenizer.
        vectors: what the encoder says, (B, n, code_dim); only the codes nearest to it are tried.
        target: normalised features that are to be given back, (B, n * stride, F).
        weights: of the squared errors of each feature, (F,).
        count: codes that are tried for each token.
        heard: what the decoder remembers of the tokens before; afterwards, of these tokens too.
    Returns:
        Tokens, (B, n, levels), int64.
    """
    batch, steps = vectors.shape[:2]
    frames = target.unflatten(1, (steps, -1))
    candidates = quantizer.candidates(vectors, count)
    first = torch.arange(batch, device=vectors.device) * count
    memory = heard.rows(torch.arange(batch, device=vectors.device))
    chosen = []
    for step in range(steps):
        tried = candidates[:, step].flatten(0, 1)
        memory = memory.rows(torch.arange(batch, device=vectors.device).repeat_interleave(count))
        decoded = decoder(quantizer.decode(tried)[:, None], memory).unflatten(0, (batch, count))
        errors = ((decoded - frames[:, step, None]).square() * weights).sum(dim=(-1, -2))
        best = first + errors.argmin(dim=1)
        memory = memory.rows(best)
        chosen.append(tried[best])
    heard.become(memory)
    return torch.stack(chosen, dim=1)
