"""MotionUNet: the denoiser D with reference, motion and temporal attention (X-NeMo sections 3.1 and 3.2).

An image UNet in which frames are batch items; after every spatial transformer (and after every resnet of the levels
that have none) sits a motion slot: 8 down, 1 in the middle and 12 up at four levels of two layers.
Tensors are (batch, channels, frames, height, width), as in diffusers' video UNets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch

# Not used here: DiffusionPipeline.from_pretrained looks in a component's module for the base class that can load it.
from diffusers import ModelMixin as ModelMixin
from diffusers import UNetMotionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from diffusers.utils.accelerate_utils import apply_forward_hook
from einops import rearrange
from torch import Tensor, nn

from animator.models.attention import (
    ATTENTION_SUFFIX,
    Conditions,
    MotionSlot,
    ReadImageToken,
    ReadReference,
    ReferenceFeatures,
    ReferenceKeyValues,
    Shared,
    checkpoint_keeping,
    project_keys_values,
    spatial_processors,
)
from animator.models.deep_cache import DeepFeatures
from animator.models.linear import multiply_by_onednn
from animator.models.motion_control import ControlResiduals, MotionControl, add_to_last
from animator.models.overlap import OverlapFeatures


class MotionUNet(UNetMotionModel):
    """The denoising UNet; weights of a Stable Diffusion 1.x UNet load unchanged beside the slots.

    Args:
        sample_size: latent height and width that the model is made for; others work.
        in_channels, out_channels: latent channels.
        down_block_types, up_block_types: block classes of diffusers' motion UNet, finest level first and last.
        block_out_channels: width of each level.
        layers_per_block: resnets per level (one more on the way up).
        norm_num_groups: groups of every GroupNorm.
        cross_attention_dim: width of the image token.
        num_attention_heads: heads of the spatial transformers (their number, not their width).
        motion_num_attention_heads: heads of the motion slots.
        motion_token_dim: width of the motion tokens.
        max_frames: longest window that can be denoised at once.
        motion_control: "attention", the paper's motion cross-attention; "additive", its ablation by spatial maps that
            are added to the features, see `animator.models.motion_control`; "none": it reads no motion tokens.
        motion_tokens: motion tokens of a frame; only "additive" and `motion_norm` have to know.
        middle_slot: whether the middle block has a motion slot.
        slots_after_upsampling: a level's last slot on the way up comes after the upsampling, as in X-Portrait, and not
            before it.
        reference_latents: latents are counted from the portrait's (`origin`), which enter beside them through a
            convolution of their own. The paper's denoiser sees the portrait by attention alone, and has to learn to
            copy before anything can move.
        motion_norm: the motion tokens of a frame are normalised together before the slots read them. An encoder that
            was trained without the denoiser gives them any size: tokens of size 100 saturate every attention.
    """

    _repeated_blocks: ClassVar[list[str]] = ["BasicTransformerBlock"]

    @register_to_config
    def __init__(
        self,
        sample_size: int = 64,
        in_channels: int = 4,
        out_channels: int = 4,
        down_block_types: tuple[str, ...] = (
            "CrossAttnDownBlockMotion",
            "CrossAttnDownBlockMotion",
            "CrossAttnDownBlockMotion",
            "DownBlockMotion",
        ),
        up_block_types: tuple[str, ...] = (
            "UpBlockMotion",
            "CrossAttnUpBlockMotion",
            "CrossAttnUpBlockMotion",
            "CrossAttnUpBlockMotion",
        ),
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        cross_attention_dim: int = 768,
        num_attention_heads: int = 8,
        motion_num_attention_heads: int = 8,
        motion_token_dim: int = 16,
        max_frames: int = 32,
        motion_control: str = "attention",
        motion_tokens: int = 32,
        middle_slot: bool = True,
        slots_after_upsampling: bool = False,
        reference_latents: bool = False,
        motion_norm: bool = False,
    ) -> None:
        if motion_control not in ("attention", "additive", "none"):
            raise ValueError(f"motion_control {motion_control!r}: must be 'attention', 'additive' or 'none'")
        # The undecorated constructor: the decorated one would add all of its own arguments to our configuration.
        UNetMotionModel.__init__.__wrapped__(  # type: ignore[attr-defined]
            self,
            sample_size=sample_size,
            in_channels=in_channels,
            out_channels=out_channels,
            down_block_types=down_block_types,
            up_block_types=up_block_types,
            block_out_channels=block_out_channels,
            layers_per_block=layers_per_block,
            norm_num_groups=norm_num_groups,
            cross_attention_dim=cross_attention_dim,
            num_attention_heads=num_attention_heads,
            motion_num_attention_heads=motion_num_attention_heads,
            motion_max_seq_length=max_frames,
            use_motion_mid_block=middle_slot,
        )
        self.shared: Shared[Conditions] = Shared()
        attended = motion_token_dim if motion_control == "attention" else None
        for block in (*self.down_blocks, *([self.mid_block] if middle_slot else []), *self.up_blocks):
            block.motion_modules = nn.ModuleList(
                MotionSlot(stock, norm_num_groups, attended, max_frames, self.shared)
                for stock in block.motion_modules
                if isinstance(stock, AnimateDiffTransformer3D)
            )
        for block in self.up_blocks:
            block.motion_modules[-1].postponed = slots_after_upsampling and block.upsamplers is not None
        self.set_attn_processor(
            spatial_processors(self.attn_processors, lambda name: ReadReference(name, self.shared), ReadImageToken())
        )
        self.reference_in = nn.Conv2d(in_channels, block_out_channels[0], 3, padding=1) if reference_latents else None
        self.token_norm = nn.LayerNorm([motion_tokens, motion_token_dim]) if motion_norm else None
        # After the processors, which are for the denoiser's own layers.
        self.control: MotionControl | None = None
        if motion_control == "additive":
            self.control = MotionControl(
                in_channels=in_channels,
                down_block_types=tuple(name.replace("Motion", "2D") for name in down_block_types),
                block_out_channels=tuple(block_out_channels),
                layers_per_block=layers_per_block,
                norm_num_groups=norm_num_groups,
                cross_attention_dim=cross_attention_dim,
                num_attention_heads=num_attention_heads,
                motion_dim=motion_tokens * motion_token_dim,
                map_size=sample_size,
            )
        multiply_by_onednn(self)

    def enable_gradient_checkpointing(self, gradient_checkpointing_func: Callable[..., Any] | None = None) -> None:
        """Recompute layers in the backward pass, with the conditions that they first ran with."""
        super().enable_gradient_checkpointing(gradient_checkpointing_func or checkpoint_keeping(self.shared))

    def origin(self, portraits: Tensor) -> Tensor:
        """What the latents to be denoised are counted from: those of the portraits, (B, channels, h, w), or zeros."""
        return portraits if self.config.reference_latents else torch.zeros_like(portraits)

    @apply_forward_hook
    def project_reference(self, features: ReferenceFeatures) -> ReferenceKeyValues:
        """Project reference features to keys and values: once per portrait, for all frames, steps and windows.

        Raises:
            KeyError: the features come from a net with other layers.
        """
        layers = {
            name: project_keys_values(self.get_submodule(name + ATTENTION_SUFFIX), x)  # type: ignore[arg-type]
            for name, x in features.layers.items()
        }
        return ReferenceKeyValues(layers, None if self.reference_in is None else self.reference_in(features.latents))

    def forward(  # type: ignore[override]
        self,
        sample: Tensor,
        timestep: Tensor | int,
        image_embeds: Tensor,
        motion_tokens: Tensor | None,
        reference: ReferenceFeatures | ReferenceKeyValues | None = None,
        unconditional: int = 0,
        temporal: bool = True,
        deep: DeepFeatures | None = None,
        overlap: OverlapFeatures | None = None,
        residuals: ControlResiduals | None = None,
    ) -> Tensor:
        """Predict the noise in the latents of B windows of F frames.

        Args:
            sample: noisy latents, (B, channels, F, h, w).
            timestep: one for all, or (B,).
            image_embeds: image token of each item's portrait, (B, 1, cross_attention_dim), or zeros.
            motion_tokens: (B, F, tokens, motion_token_dim); None: the motion is not read (the image stage of training).
            reference: features (projected here, as in training) or cached keys and values (sampling) of one portrait
                for all conditional items, or of one portrait for each; None: no item reads a reference.
            unconditional: so many items at the start of the batch do not read the reference (the negative branch of
                guidance; condition dropout in training).
            temporal: let frames attend to each other; off for the stages that train on single images.
            deep: what the deep levels said of the same windows at an earlier step, used in their place; or an empty
                one, which is filled.
            overlap: what is known of the frames before these, and what is to be kept of the last ones.
            residuals: features that a control adds (`animator.controls`), for the last windows or for all.
        Returns:
            Predicted noise, (B, channels, F, h, w).
        Raises:
            ValueError: batch sizes or frame counts that do not fit together, too many frames, or as many finest levels
                as there are levels.
        """
        batch, _, frames = sample.shape[:3]
        self._check(batch, frames, image_embeds, motion_tokens, reference, unconditional)
        longest, before = self.config.max_frames, 0 if overlap is None else overlap.frames
        if before + frames > longest:
            raise ValueError(f"a window of {before + frames} frames; this model takes at most {longest}")
        if deep is not None and not 0 < deep.levels < len(self.down_blocks):
            raise ValueError(
                f"{deep.levels} finest levels of {len(self.down_blocks)}: there must be a deep one as well"
            )
        known = self.project_reference(reference) if isinstance(reference, ReferenceFeatures) else reference
        tokens = None if motion_tokens is None else rearrange(motion_tokens, "b f l d -> (b f) l d")
        if self.token_norm is not None and tokens is not None:
            tokens = self.token_norm(tokens)
        conditions = Conditions(
            frames=frames,
            motion_tokens=tokens,
            reference=known if unconditional < batch else None,
            unconditional=unconditional,
            temporal=temporal,
            overlap=overlap,
        )
        timesteps = torch.as_tensor(timestep, device=sample.device).expand(batch)
        embedding = self.time_embedding(self.time_proj(timesteps).to(sample.dtype))
        embedding = embedding.repeat_interleave(frames, dim=0)
        images = rearrange(sample, "b c f h w -> (b f) c h w")
        if self.control is not None and tokens is not None:
            residuals = self.control(images, timesteps.repeat_interleave(frames), image_embeds, tokens)
        start = None if conditions.reference is None else conditions.reference.start
        if start is not None:
            rows = (batch - unconditional) * frames
            start = start.repeat_interleave(rows // len(start), dim=0)
        with self.shared.holding(conditions):
            x = self._body(images, embedding, image_embeds, frames, start, deep, residuals)
        return rearrange(x, "(b f) c h w -> b c f h w", b=batch)

    def _body(
        self,
        x: Tensor,
        embedding: Tensor,
        image_embeds: Tensor,
        frames: int,
        start: Tensor | None,
        deep: DeepFeatures | None,
        control: ControlResiduals | None,
    ) -> Tensor:
        """The UNet itself, on frames as batch items: (B F, channels, h, w) -> the same."""
        fine = len(self.down_blocks) if deep is None else deep.levels
        kept = None if deep is None else deep.kept
        down, up = list(self.down_blocks), list(self.up_blocks)
        rising = up[-fine]  # the first block on the way up that is always computed
        if kept is not None:
            down, up = down[:fine], up[-fine:]
        # Sizes that cannot be halved evenly at every level: each level then says how large the next one up is.
        uneven = any(side % 2**self.num_upsamplers for side in x.shape[-2:])
        x = self.conv_in(x)
        x = x if start is None else add_to_last(x, start)
        skips = [x]
        for block in down:
            x, residuals = block(x, embedding, num_frames=frames, **self._context(block, image_embeds))
            skips.extend(residuals)
        if control is not None:
            skips = [add_to_last(skip, added) for skip, added in zip(skips, control.skips, strict=False)]
        if kept is None:
            window = {"num_frames": frames} if self.config.middle_slot else {}
            x = self.mid_block(x, embedding, encoder_hidden_states=image_embeds, **window)
            x = x if control is None else add_to_last(x, control.middle)
        else:
            x = kept
            skips.pop()  # the halved map, which only the deep levels read
        for block in up:
            if deep is not None and block is rising:
                deep.kept = x
            layers = len(block.resnets)
            residuals, skips = tuple(skips[-layers:]), skips[:-layers]
            size = skips[-1].shape[-2:] if uneven and skips else None
            x = block(
                x,
                residuals,
                embedding,
                upsample_size=size,
                num_frames=frames,
                **self._context(block, image_embeds),
            )
            if block.motion_modules[-1].postponed:
                x = block.motion_modules[-1].attend(x, frames)
        return self.conv_out(self.conv_act(self.conv_norm_out(x)))

    @staticmethod
    def _context(block: nn.Module, image_embeds: Tensor) -> dict[str, Tensor]:
        """Only blocks with spatial transformers take an image token."""
        return {"encoder_hidden_states": image_embeds} if hasattr(block, "attentions") else {}

    def _check(
        self,
        batch: int,
        frames: int,
        image_embeds: Tensor,
        motion_tokens: Tensor | None,
        reference: ReferenceFeatures | ReferenceKeyValues | None,
        unconditional: int,
    ) -> None:
        if motion_tokens is not None and motion_tokens.shape[:2] != (batch, frames):
            raise ValueError(f"motion tokens are for {tuple(motion_tokens.shape[:2])}, latents for {(batch, frames)}")
        if len(image_embeds) != batch:
            raise ValueError(f"{len(image_embeds)} image tokens for a batch of {batch}")
        if not 0 <= unconditional <= batch:
            raise ValueError(f"{unconditional} unconditional items in a batch of {batch}")
        if reference is not None and unconditional < batch:
            portraits = reference.portraits
            if portraits not in (1, batch - unconditional):
                raise ValueError(f"{portraits} portraits for {batch - unconditional} conditional items")
