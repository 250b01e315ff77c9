"""What the embedding of codes starts from."""

from __future__ import annotations

import torch
from torch import Tensor

from motion_gpt.models.motion_gpt import MotionGpt


@torch.no_grad()
def start_from_codebooks(model: MotionGpt, codebooks: Tensor, seed: int) -> None:
    """Let near codes have near embeddings: a random linear map of the codebook, as spread as GPT-2's random start.

    The output layer is the same matrix (it is tied), so near codes also start equally probable.

    Args:
        model: its embedding is changed, the rows of conditions and marks are not.
        codebooks: the tokenizer's, (levels, codes, d).
        seed: of the map.
    """
    rows = model.transformer.wte.weight
    generator = torch.Generator().manual_seed(seed)
    for level, codebook in enumerate(codebooks):
        centred = codebook - codebook.mean(dim=0)
        embedded = centred @ torch.randn(codebook.shape[1], rows.shape[1], generator=generator)
        spread = embedded.std(correction=0).clamp(min=1e-12)
        first = level * len(codebook)
        rows[first : first + len(codebook)] = (embedded * model.transformer.config.initializer_range / spread).to(rows)
