"""Attention of the reference net and the motion UNet, through the extension points of diffusers.

Three conditions reach the denoiser by attention (X-NeMo section 3.2), each at its own place of a layer:

    spatial transformer   self-attention   keys and values of the frame itself and of the reference portrait
                          cross-attention  one image token of the portrait
    motion slot           cross-attention  the frame's motion tokens
                          temporal part    the other frames at the same pixel

Blocks of diffusers hand none of this down to their layers, so the layers of one net share a `Shared` object, and
the net's forward puts the conditions there for as long as it runs. Layers of the two nets are paired by name.

Letters in shapes: B batch, F frames, N = h * w pixels of a layer, C its channels, L tokens. Frames are batch items of
every layer but the temporal part, in the order (B F).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import torch
from diffusers.models.attention_processor import Attention, AttentionProcessor
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from animator.models.overlap import OverlapFeatures

T = TypeVar("T")

ATTENTION_SUFFIX = ".attn1"


@dataclass(frozen=True)
class ReferenceFeatures:
    """Appearance features of portraits: what enters each self-attention of the reference net.

    Args:
        layers: path of the transformer block -> features, (B, N, C).
        latents: what the net was given, (B, channels, h, w), for denoisers that read them as well
            (`MotionUNet.reference_latents`).
    """

    layers: dict[str, Tensor]
    latents: Tensor

    @property
    def portraits(self) -> int:
        """B, the number of portraits."""
        return len(next(iter(self.layers.values())))

    def rounded(self, dtype: torch.dtype) -> ReferenceFeatures:
        """Features rounded to `dtype` and brought back, as the release does with float16 whatever it runs in."""
        layers = {name: x.to(dtype).to(x.dtype) for name, x in self.layers.items()}
        return replace(self, layers=layers)

    def masked(
        self, ratio: float, generator: torch.Generator | Sequence[torch.Generator] | None = None
    ) -> ReferenceFeatures:
        """Reference feature masking (section 3.3): drop a uniformly random share of the tokens of every map.

        Each portrait and each layer draws its own tokens. Dropped tokens are left out, so that attention over the
        rest also gets cheaper. The latents stay whole: they are no features.

        Args:
            ratio: share of tokens dropped, in [0, 1); the paper trains with 0.3.
            generator: CPU generator that makes the choice repeatable, or one for each portrait, so that a portrait's
                choice does not depend on which others are with it.
        Raises:
            ValueError: ratio outside [0, 1).
        """
        if not 0 <= ratio < 1:
            raise ValueError(f"reference mask ratio must be in [0, 1), got {ratio}")
        kept_layers = {}
        for name, x in self.layers.items():
            batch, tokens, channels = x.shape
            kept = max(1, tokens - round(ratio * tokens))
            # The first `kept` places of a random order are a uniform draw without replacement.
            if isinstance(generator, Sequence):
                drawn = torch.stack([torch.rand(tokens, generator=own) for own in generator])
            else:
                drawn = torch.rand(batch, tokens, generator=generator)
            order = drawn.argsort(dim=1)[:, :kept]
            kept_layers[name] = x.gather(1, order.to(x.device)[..., None].expand(-1, -1, channels))
        return replace(self, layers=kept_layers)


@dataclass(frozen=True)
class ReferenceKeyValues:
    """Reference features after the denoiser's own key and value projections: made once per portrait.

    Args:
        layers: path of the transformer block -> keys and values, (B, heads, N, C / heads) each.
        start: added to the denoiser's first features, (B, C, h, w); None: nothing.
    """

    layers: dict[str, tuple[Tensor, Tensor]]
    start: Tensor | None = None

    @property
    def portraits(self) -> int:
        """B, the number of portraits."""
        return len(next(iter(self.layers.values()))[0])


@dataclass(frozen=True)
class Conditions:
    """What the layers of the motion UNet read during one forward pass.

    Args:
        frames: F, the same for all batch items.
        motion_tokens: (B F, L, D); None: no layer reads the motion (the image stage of training).
        reference: keys and values of one portrait for all conditional items, or of one portrait each; None: nobody
            reads a reference.
        unconditional: so many items at the start of the batch do not read the reference.
        temporal: whether frames attend to each other.
        overlap: what the temporal layers know of the frames before.
    """

    frames: int
    motion_tokens: Tensor | None
    reference: ReferenceKeyValues | None
    unconditional: int
    temporal: bool
    overlap: OverlapFeatures | None = None


@dataclass
class Shared(Generic[T]):
    """A place that a net and its layers share; it holds something only while the net runs."""

    current: T | None = field(default=None)

    @contextmanager
    def holding(self, value: T | None) -> Iterator[None]:
        """Put `value` there for the length of a with block."""
        before, self.current = self.current, value
        try:
            yield
        finally:
            self.current = before


def checkpoint_keeping(shared: Shared[Any]) -> Callable[..., Any]:
    """Gradient checkpointing for layers that read `shared`.

    The recomputation happens in the backward pass, when the net's forward has long cleared the place; it is given
    back what it held when the layer first ran.
    """

    def run(module: nn.Module, *args: Any) -> Any:
        held = shared.current

        def again(*inputs: Any) -> Any:
            with shared.holding(held):
                return module(*inputs)

        return checkpoint(again, *args, use_reentrant=False)

    return run


def split_heads(x: Tensor, heads: int) -> Tensor:
    return rearrange(x, "b n (heads d) -> b heads n d", heads=heads)


def project_out(attn: Attention, x: Tensor) -> Tensor:
    """Join the heads, (B, heads, N, d) -> (B, N, C), then the output projection and its dropout."""
    return attn.to_out[1](attn.to_out[0](rearrange(x, "b heads n d -> b n (heads d)")))


def attend(attn: Attention, queries_from: Tensor, keys_from: Tensor) -> Tensor:
    """Plain multi-head attention with the projections of `attn`."""
    query = split_heads(attn.to_q(queries_from), attn.heads)
    key = split_heads(attn.to_k(keys_from), attn.heads)
    value = split_heads(attn.to_v(keys_from), attn.heads)
    return project_out(attn, F.scaled_dot_product_attention(query, key, value))


def project_keys_values(attn: Attention, features: Tensor) -> tuple[Tensor, Tensor]:
    """Features (B, N, C) -> keys and values, (B, heads, N, d) each."""
    return split_heads(attn.to_k(features), attn.heads), split_heads(attn.to_v(features), attn.heads)


class WriteReference:
    """Self-attention of the reference net: notes its input under the layer's name, attends as ever."""

    def __init__(self, name: str, written: Shared[dict[str, Tensor]]) -> None:
        self.name = name
        self.written = written

    def __call__(self, attn: Attention, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.written.current is not None:
            self.written.current[self.name] = hidden_states
        return attend(attn, hidden_states, hidden_states)


class ReadReference:
    """Self-attention of the motion UNet over [own tokens; reference tokens].

    Own keys come first and both go through the same projections. Unconditional items never see the reference, and
    no attention is computed for them that would be thrown away.
    """

    def __init__(self, name: str, shared: Shared[Conditions]) -> None:
        self.name = name
        self.shared = shared

    def __call__(self, attn: Attention, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        conditions = self.shared.current
        query = split_heads(attn.to_q(hidden_states), attn.heads)
        key, value = project_keys_values(attn, hidden_states)
        if conditions is None or conditions.reference is None:
            return project_out(attn, F.scaled_dot_product_attention(query, key, value))
        frames = conditions.frames
        alone = conditions.unconditional * frames
        ref_key, ref_value = conditions.reference.layers[self.name]
        reading = F.scaled_dot_product_attention(
            query[alone:], _append(key[alone:], ref_key, frames), _append(value[alone:], ref_value, frames)
        )
        if alone:
            plain = F.scaled_dot_product_attention(query[:alone], key[:alone], value[:alone])
            reading = torch.cat([plain, reading])
        return project_out(attn, reading)


def _append(own: Tensor, reference: Tensor, frames: int) -> Tensor:
    """Own (B F, heads, N, d) and reference (1 or B, heads, M, d) tokens -> (B F, heads, N + M, d).

    The reference is a broadcast view until the concatenation of this one layer, never repeated over frames.
    """
    own = own.unflatten(0, (-1, frames))
    reference = reference[:, None].expand(len(own), frames, -1, -1, -1)
    return torch.cat([own, reference], dim=-2).flatten(0, 1)


class ReadImageToken:
    """Cross-attention to the portrait's image token(s), (B, L, D): the frames of an item share them.

    The softmax over a single key is 1 whatever the query says, so one token (the usual case) needs no queries: the
    result is its projected value at every pixel.
    """

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        batch, tokens, _ = encoder_hidden_states.shape
        if tokens == 1:
            value = attn.to_out[1](attn.to_out[0](attn.to_v(encoder_hidden_states)))
            frames = len(hidden_states) // batch
            return value[:, None].expand(-1, frames, hidden_states.shape[1], -1).flatten(0, 1)
        # Frames go to the query axis, where they need no copies of the keys.
        queries_from = rearrange(hidden_states, "(b f) n c -> b (f n) c", b=batch)
        out = attend(attn, queries_from, encoder_hidden_states)
        return out.reshape(hidden_states.shape)


def spatial_processors(
    present: dict[str, AttentionProcessor],
    self_attention: Callable[[str], AttentionProcessor],
    cross_attention: AttentionProcessor,
) -> dict[str, AttentionProcessor]:
    """Processors for a net whose spatial transformers get ours; all other attention layers keep theirs.

    Args:
        present: the net's `attn_processors`.
        self_attention: path of a transformer block -> processor of its self-attention.
        cross_attention: processor of every cross-attention.
    """
    chosen: dict[str, AttentionProcessor] = {}
    for key, processor in present.items():
        path = key.removesuffix(".processor")
        if ".attentions." not in path:
            chosen[key] = processor
        elif path.endswith(ATTENTION_SUFFIX):
            chosen[key] = self_attention(path.removesuffix(ATTENTION_SUFFIX))
        else:
            chosen[key] = cross_attention
    return chosen


class PerFrameGroupNorm(nn.GroupNorm):
    """GroupNorm of (B, C, F, h, w) with the statistics of each frame alone.

    X-NeMo normalises frame by frame; the module of diffusers that holds the same weights normalises all frames
    together, which loads without complaint and gives other results.
    """

    def forward(self, x: Tensor) -> Tensor:
        frames = rearrange(x, "b c f h w -> (b f) c h w")
        return rearrange(super().forward(frames), "(b f) c h w -> b c f h w", b=len(x))


class MotionSlot(AnimateDiffTransformer3D):
    """A motion slot of the UNet: cross-attention to the frame's motion tokens, then attention over frames.

    The temporal part keeps the names of AnimateDiff's motion module, the motion part is `motion_attention`. Both end
    in a projection that starts at zero, so that a new slot changes nothing in a pretrained image UNet.

    Args:
        stock: the module of diffusers that is replaced; it says width, heads and positions.
        norm_groups: groups of the two GroupNorms.
        motion_token_dim: width of the motion tokens; None: the slot has a temporal part alone.
        max_frames: longest window, the length of the temporal position table.
        shared: where the motion tokens are found.
    Attributes:
        postponed: the block that holds it passes it over; the net calls `attend` after the block's upsampling.
    """

    def __init__(
        self,
        stock: AnimateDiffTransformer3D,
        norm_groups: int,
        motion_token_dim: int | None,
        max_frames: int,
        shared: Shared[Conditions],
    ) -> None:
        super().__init__(
            num_attention_heads=stock.num_attention_heads,
            attention_head_dim=stock.attention_head_dim,
            in_channels=stock.in_channels,
            norm_num_groups=norm_groups,
            positional_embeddings="sinusoidal",
            num_positional_embeddings=max_frames,
        )
        self.norm = PerFrameGroupNorm(norm_groups, stock.in_channels, eps=1e-6)
        self.motion_attention = None
        if motion_token_dim is not None:
            self.motion_attention = Transformer2DModel(
                num_attention_heads=stock.num_attention_heads,
                attention_head_dim=stock.attention_head_dim,
                in_channels=stock.in_channels,
                norm_num_groups=norm_groups,
                cross_attention_dim=motion_token_dim,
                only_cross_attention=True,
                use_linear_projection=True,
            )
        for part in (self, self.motion_attention):
            if part is not None:
                nn.init.zeros_(part.proj_out.weight)
                nn.init.zeros_(part.proj_out.bias)
        self.shared = shared
        self.postponed = False
        # diffusers' motion blocks recompute their resnets and transformers, but not their slots.
        self.gradient_checkpointing = False
        self._gradient_checkpointing_func = checkpoint_keeping(shared)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        timestep: Tensor | None = None,
        class_labels: Tensor | None = None,
        num_frames: int = 1,
        cross_attention_kwargs: dict[str, Any] | None = None,
    ) -> Tensor:
        """Feature maps (B F, C, h, w) -> the same; the conditions come from `shared`, as blocks pass none."""
        return hidden_states if self.postponed else self.attend(hidden_states, num_frames)

    def _across_frames(self, hidden_states: Tensor, num_frames: int) -> Tensor:
        """The temporal part: feature maps (B F, C, h, w) -> the same."""
        return super().forward(hidden_states, num_frames=num_frames)

    def attend(self, hidden_states: Tensor, num_frames: int) -> Tensor:
        """What the slot does, wherever it stands."""
        conditions = self.shared.current
        if conditions is None:
            raise RuntimeError("a motion slot runs only inside MotionUNet.forward, which gives it its motion tokens")
        if self.motion_attention is not None and conditions.motion_tokens is not None:
            hidden_states = self.motion_attention(
                hidden_states, encoder_hidden_states=conditions.motion_tokens, return_dict=False
            )[0]
        if not conditions.temporal:
            return hidden_states
        if conditions.overlap is None and torch.is_grad_enabled() and self.gradient_checkpointing:
            return self._gradient_checkpointing_func(self._across_frames, hidden_states, num_frames)
        if conditions.overlap is None:
            return self._across_frames(hidden_states, num_frames)
        window = conditions.overlap.extended(self, hidden_states.unflatten(0, (-1, num_frames)))
        seen = super().forward(window.flatten(0, 1), num_frames=window.shape[1])
        return seen.unflatten(0, window.shape[:2])[:, -num_frames:].flatten(0, 1)
