"""The generator: transformers' GPT-2 (Radford et al. 2019) on a vocabulary of motion (X-NeMo, appendix D).

A row of the sequence has one id per level; its embedding is the sum over the levels. The output layer is the embedding
itself (tied), and only its rows for codes and EOS: nothing else is ever predicted. Tensors are (batch, rows, ...).
"""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor
from torch.nn import functional as F
from transformers import GPT2Config, GPT2Model

from animator.errors import XNeMoError
from motion_gpt.models.detail import MotionDetail
from motion_gpt.models.recall import Recall
from motion_gpt.vocabulary import Vocabulary


class MotionGpt(ModelMixin, ConfigMixin):
    """GPT-2 over motion tokens.

    Args:
        codes: entries of the tokenizer's codebook.
        levels: codes of one motion token.
        layers: transformer blocks.
        width: width of the network.
        heads: attention heads.
        context: longest sequence in rows, those of the condition included.
        dropout: in training.
        tokenizer_id: which tokenizer's tokens it speaks; empty for one that was never trained.
        detail_components: of `detail`, what the tokens leave out of motion.
        code_dim: of the tokenizer's codes, which `recall` knows; 0: it does not.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        codes: int = 4096,
        levels: int = 1,
        layers: int = 12,
        width: int = 768,
        heads: int = 12,
        context: int = 1024,
        dropout: float = 0.1,
        tokenizer_id: str = "",
        detail_components: int = 0,
        code_dim: int = 0,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} must be a multiple of heads {heads}")
        self.vocabulary = Vocabulary(codes, levels)
        self.detail = MotionDetail(detail_components)
        self.recall = Recall(levels, codes, code_dim)
        self.transformer = GPT2Model(
            GPT2Config(
                vocab_size=self.vocabulary.size,
                n_positions=context,
                n_embd=width,
                n_layer=layers,
                n_head=heads,
                resid_pdrop=dropout,
                embd_pdrop=dropout,
                attn_pdrop=dropout,
                bos_token_id=self.vocabulary.bos,
                eos_token_id=self.vocabulary.eos,
                pad_token_id=self.vocabulary.pad,
                use_cache=False,
                attn_implementation="sdpa",
            )
        )

    @property
    def context(self) -> int:
        """Longest sequence in rows."""
        return self.config.context

    def embed(self, ids: Tensor) -> Tensor:
        """Sum of the levels' embeddings, without positions; (..., levels) to (..., width)."""
        return self.transformer.wte(ids).sum(dim=-2)

    def forward(self, ids: Tensor, clips: Tensor | None = None) -> Tensor:
        """Predict the row after each row.

        Args:
            ids: (batch, rows, levels); a condition's ids stand in every level, tokens are delayed by level.
            clips: for several clips in one sequence, the number of the clip that each row belongs to, (batch, rows);
                clips do not see each other, and positions start at 0 in each. None: one clip.
        Returns:
            Logits, (batch, rows, levels, codes + 1); the last class is EOS.
        Raises:
            ValueError: more rows than `context`.
        """
        rows = ids.shape[1]
        if rows > self.context:
            raise ValueError(f"{rows} rows, but the model was made for {self.context}")
        embeddings = self.embed(ids)
        if clips is None:
            positions, mask = None, None
        else:
            positions, mask = clip_positions(clips), clip_mask(clips, embeddings.dtype)
        hidden = self.transformer(
            inputs_embeds=embeddings, position_ids=positions, attention_mask=mask, use_cache=False
        ).last_hidden_state
        return self.head(hidden)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits of codes and EOS, level by level: (..., width) to (..., levels, codes + 1)."""
        codes, levels = self.vocabulary.codes, self.vocabulary.levels
        logits = F.linear(hidden, self.transformer.wte.weight[: levels * codes + 1])
        if levels == 1:
            return logits[..., None, :]
        by_level = logits[..., :-1].unflatten(-1, (levels, codes))
        end = logits[..., None, -1:].expand(*by_level.shape[:-1], 1)
        return torch.cat([by_level, end], dim=-1)

    def check_tokenizer(self, tokenizer_id: str, name: str) -> None:
        """Refuse tokens of another tokenizer.

        Args:
            tokenizer_id: of the tokenizer that made them.
            name: what the message calls them.
        Raises:
            XNeMoError: it is not the one that this generator was trained with.
        """
        ours = self.config.tokenizer_id
        if tokenizer_id != ours:
            raise XNeMoError(
                f"{name}: tokens of tokenizer {tokenizer_id or '(none)'}, but this generator speaks those of "
                f"{ours or '(none)'}; tokenize again with the tokenizer that it was trained with"
            )


def clip_positions(clips: Tensor) -> Tensor:
    """Row numbers that start at 0 in each clip; (batch, rows) to (batch, rows)."""
    rows = torch.arange(clips.shape[1], device=clips.device).expand_as(clips)
    starts = torch.ones_like(clips, dtype=torch.bool)
    starts[:, 1:] = clips[:, 1:] != clips[:, :-1]
    return rows - torch.where(starts, rows, 0).cummax(dim=1).values


def clip_mask(clips: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive attention mask: a row sees itself and earlier rows of its own clip; (batch, 1, rows, rows)."""
    rows = clips.shape[1]
    seen = (clips[:, :, None] == clips[:, None, :]) & torch.ones(
        rows, rows, dtype=torch.bool, device=clips.device
    ).tril()
    return torch.zeros(seen.shape, dtype=dtype, device=clips.device).masked_fill(~seen, torch.finfo(dtype).min)[:, None]
