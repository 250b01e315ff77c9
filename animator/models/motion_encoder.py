"""Motion encoder E_mot: face crop -> 512-d identity-free motion latent -> 32 x 16 motion tokens.

X-NeMo section 3.2 and appendix A; layer by layer the architecture of the authors' released encoder: a face
alignment network (FAN) with one hourglass, patch self-attention after the input, before the hourglass and after it,
a one-channel map and a linear layer. At the default configuration it is exactly the released size.

Tensors are (frames, channels, height, width).
"""

from __future__ import annotations

from os import PathLike
from typing import Any, Self

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.utils.accelerate_utils import apply_forward_hook
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from animator.models.identity import record_id
from animator.models.linear import multiply_by_onednn


def sinusoid(positions: Tensor, dim: int) -> Tensor:
    """Sine-cosine table with the halves concatenated (not interleaved): (..., dim) for positions (...)."""
    frequencies = 10000.0 ** (-torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    angles = positions.double()[..., None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


def grid_sinusoid(size: int, dim: int) -> Tensor:
    """2-D table for a size x size grid, (size * size, dim): first half of the channels encodes x, the second y."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.cat([sinusoid(x.flatten(), dim // 2), sinusoid(y.flatten(), dim // 2)], dim=-1)


class FanBlock(nn.Module):
    """FAN's residual block: three pre-activated 3x3 convolutions of out/2, out/4, out/4 channels, concatenated."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half, quarter = out_channels // 2, out_channels // 4
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, half, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, quarter, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(quarter)
        self.conv3 = nn.Conv2d(quarter, quarter, 3, padding=1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.BatchNorm2d(in_channels), nn.ReLU(), nn.Conv2d(in_channels, out_channels, 1, bias=False)
            )

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(F.relu(self.norm1(x)))
        second = self.conv2(F.relu(self.norm2(first)))
        third = self.conv3(F.relu(self.norm3(second)))
        return torch.cat([first, second, third], dim=1) + self.shortcut(x)


class Hourglass(nn.Module):
    """Recursive hourglass of FAN blocks; `level` counts down to 1, the innermost."""

    def __init__(self, level: int, channels: int) -> None:
        super().__init__()
        self.skip = FanBlock(channels, channels)
        self.down = FanBlock(channels, channels)
        self.inner: nn.Module = Hourglass(level - 1, channels) if level > 1 else FanBlock(channels, channels)
        self.up = FanBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        lower = self.up(self.inner(self.down(F.max_pool2d(x, 2))))
        # Sizes may be odd (7 -> 3 -> 7), so the upper branch says how large the result is.
        return self.skip(x) + F.interpolate(lower, size=x.shape[-2:], mode="bilinear", align_corners=False)


class PatchSelfAttention(nn.Module):
    """Self-attention over patches of a feature map, with a fixed 2-D position table, added to its input."""

    def __init__(self, channels: int, patch: int, grid: int, dim: int, heads: int, norm_groups: int) -> None:
        super().__init__()
        self.patch = patch
        self.grid = grid
        self.norm = nn.GroupNorm(norm_groups, channels, eps=1e-6)
        self.to_patches = nn.Conv2d(channels, dim, patch, stride=patch)
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(query_dim=dim, heads=heads, dim_head=dim // heads)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim, activation_fn="geglu")
        self.from_patches = nn.Linear(dim // patch**2, channels)
        self.register_buffer("position", grid_sinusoid(grid, dim), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        tokens = rearrange(self.to_patches(self.norm(x)), "n d h w -> n (h w) d")
        # Tables are no weights: loading in half precision leaves them as they are.
        tokens = tokens + self.position.to(tokens.dtype)
        inner = self.attention.to_q.weight.dtype
        tokens = tokens + self.attention(self.attention_norm(tokens).to(inner)).to(tokens.dtype)
        tokens = tokens + self.feed_forward(self.feed_forward_norm(tokens).to(inner)).to(tokens.dtype)
        # Each token holds its p x q sub-positions with the channel fastest.
        pixels = rearrange(tokens, "n (h w) (p q c) -> n (h p) (w q) c", h=self.grid, p=self.patch, q=self.patch)
        return x + rearrange(self.from_patches(pixels), "n h w c -> n c h w")


class FramewiseAttention:
    """Attention in half precision on a CPU, one frame at a time: torch's fused kernel takes three times as long there.

    diffusers' processor for an `Attention` without mask, norms or residual.
    """

    def __call__(self, attn: Attention, hidden_states: Tensor, **_: object) -> Tensor:
        query, key, value = (
            rearrange(project(hidden_states), "n t (h d) -> n h t d", h=attn.heads).contiguous()
            for project in (attn.to_q, attn.to_k, attn.to_v)
        )
        frames = [
            torch.bmm(torch.softmax(torch.bmm(q, k.transpose(1, 2)) * attn.scale, dim=-1), v)
            for q, k, v in zip(query, key, value, strict=True)
        ]
        return attn.to_out[0](rearrange(torch.stack(frames), "n h t d -> n t (h d)"))


class MotionEncoder(ModelMixin, ConfigMixin):
    """E_mot with the f_rts fusion MLP (X-NeMo sections 3.2 and 3.3).

    Args:
        image_size: side of the square face crop in pixels, a multiple of 8 (the last linear layer fixes it).
        channels: channels after the first convolution, of the first block, and of the hourglass.
        hourglass_depth: number of halvings inside the hourglass.
        landmark_channels: channels of FAN's heat maps.
        squeeze_channels: channels that they are reduced to before the last linear layer. One, as released, is enough
            for 28 x 28 cells; of the 10 x 10 of a small encoder, one channel learns the mouth much later than 16.
        attention_dim: token width of the three patch attentions.
        attention_heads: their number of heads.
        norm_groups: groups of the GroupNorm before each patch attention.
        latent_dim: length of the motion latent f_mot.
        motion_tokens: number of tokens that the fused latent is cut into for cross-attention.
        box_dim: width of the MLP over f_rts.
    """

    @register_to_config
    def __init__(
        self,
        image_size: int = 224,
        channels: tuple[int, int, int] = (64, 128, 256),
        hourglass_depth: int = 4,
        landmark_channels: int = 68,
        squeeze_channels: int = 1,
        attention_dim: int = 1024,
        attention_heads: int = 8,
        norm_groups: int = 32,
        latent_dim: int = 512,
        motion_tokens: int = 32,
        box_dim: int = 64,
    ) -> None:
        super().__init__()
        if image_size % 8 or latent_dim % motion_tokens:
            raise ValueError(
                f"image_size {image_size} must be a multiple of 8 and latent_dim {latent_dim} of {motion_tokens}"
            )
        stem, first, trunk = channels
        grid = image_size // 8

        def attention(width: int, patch: int) -> PatchSelfAttention:
            return PatchSelfAttention(width, patch, grid, attention_dim, attention_heads, norm_groups)

        self.stem = nn.Sequential(nn.Conv2d(3, stem, 7, stride=2, padding=3), nn.BatchNorm2d(stem), nn.ReLU())
        self.block1 = FanBlock(stem, first)
        self.attention1 = attention(first, patch=4)
        self.block2 = FanBlock(first, first)
        self.block3 = FanBlock(first, trunk)
        self.attention2 = attention(trunk, patch=2)
        self.hourglass = Hourglass(hourglass_depth, trunk)
        self.top = FanBlock(trunk, trunk)
        self.top_conv = nn.Sequential(nn.Conv2d(trunk, trunk, 1), nn.BatchNorm2d(trunk))
        self.attention3 = attention(trunk, patch=2)
        self.landmark_conv = nn.Sequential(nn.Conv2d(trunk, landmark_channels, 1), nn.BatchNorm2d(landmark_channels))
        self.squeeze = nn.Conv2d(landmark_channels, squeeze_channels, 3, stride=2, padding=1)
        self.to_latent = nn.Linear(squeeze_channels * grid**2, latent_dim)

        self.box_mlp = nn.Sequential(nn.Linear(3, box_dim), nn.ReLU(), nn.Linear(box_dim, box_dim))
        self.fusion = nn.Linear(latent_dim + box_dim, latent_dim)
        # PyTorch's default start shrinks the signal through so many convolutions that f_mot hardly differs by frame.
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) or layer is self.to_latent:
                nn.init.kaiming_normal_(layer.get_parameter("weight"), nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.get_parameter("bias"))
        self.register_buffer(
            "token_position", sinusoid(torch.arange(motion_tokens), latent_dim // motion_tokens), persistent=False
        )
        multiply_by_onednn(self)

    def save_pretrained(self, save_directory: str | PathLike[str], **options: Any) -> None:
        """Save as diffusers does; the configuration also tells the encoder's id, which the number format may hide."""
        record_id(self)
        super().save_pretrained(save_directory, **options)

    def halve_attention(self, dtype: torch.dtype) -> Self:
        """Keep the matrices of the attention, three quarters of the arithmetic, in half precision.

        The convolutions stay as they are: in half precision they are hardly faster on a CPU, and rounding them all puts
        three times the error into the latents that rounding the attention does.

        Args:
            dtype: bfloat16 or float16.
        Returns:
            This encoder.
        """
        for layer in self.modules():
            if isinstance(layer, PatchSelfAttention):
                layer.attention.to(dtype)
                layer.feed_forward.to(dtype)
                if self.device.type == "cpu":
                    layer.attention.set_processor(FramewiseAttention())
        return self

    @apply_forward_hook
    def encode(self, frames: Tensor) -> Tensor:
        """Distil face crops into motion latents f_mot (section 3.2), before f_rts is fused in.

        Args:
            frames: face crops, (N, 3, image_size, image_size), float in [-1, 1].
        Returns:
            Motion latents, (N, latent_dim).
        Raises:
            ValueError: frames of another size.
        """
        side = self.config.image_size
        if frames.shape[1:] != (3, side, side):
            raise ValueError(f"face crops must be (N, 3, {side}, {side}), got {tuple(frames.shape)}")
        x = self.attention1(self.block1(self.stem(frames)))
        x = self.block3(self.block2(F.max_pool2d(x, 2)))
        x = self.top(self.hourglass(self.attention2(x)))
        # The released encoder has no activation between the top convolution and the last attention.
        x = F.relu(self.attention3(self.top_conv(x)))
        x = self.squeeze(F.relu(self.landmark_conv(x)))
        return self.to_latent(F.relu(x.flatten(1)))

    @apply_forward_hook
    def fuse(self, latents: Tensor, rts: Tensor) -> Tensor:
        """Fuse f_rts into the latents and cut them into motion tokens (section 3.3).

        Args:
            latents: motion latents, (..., latent_dim).
            rts: f_rts triplets (dx / s_r, dy / s_r, s_d / s_r), (..., 3); (0, 0, 1) is "as in the reference".
        Returns:
            Motion tokens with their position code added, (..., motion_tokens, latent_dim / motion_tokens).
        """
        fused = self.fusion(torch.cat([latents, self.box_mlp(rts)], dim=-1))
        tokens = rearrange(fused, "... (l c) -> ... l c", l=self.config.motion_tokens)
        return tokens + self.token_position.to(tokens.dtype)

    def forward(self, frames: Tensor, rts: Tensor) -> Tensor:
        """Face crops (N, 3, S, S) and triplets (N, 3) -> motion tokens (N, motion_tokens, token width)."""
        return self.fuse(self.encode(frames), rts)
