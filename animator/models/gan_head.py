"""The dual GAN head (X-NeMo section 3.3, appendix A): [f_app, f_mot] -> image in one pass.

A ResNet distils the reference into an appearance embedding f_app; together with the motion tokens it modulates a
StyleGAN2 generator. In training the head gives the motion encoder image-level losses; at inference it is an
instant preview of the motion.

With `warp=True` the generator is anchored to the reference as in LIA (Wang et al. 2022, which the paper cites for
its head): its layers see the reference's features, predict a flow from coarse to fine that warps the reference at
full resolution, and paint only what the reference cannot show. That is sharp from the first minutes of training,
which the plain generator is not. Where f_rts says that the face as a whole goes, the flow takes it from the start
(`similarity_flow`); what is learnt is the rest: rotation and expression.

Tensors are (batch, channels, height, width); flows are (batch, 2, height, width), backward displacements (x, y) in
the [-1, 1] coordinates of `grid_sample`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ResNetBackbone, ResNetConfig

from animator.models.flow import similarity_flow, warp


@dataclass(frozen=True)
class GanAppearance:
    """What the head keeps of a reference, computed once per portrait.

    Attributes:
        image: the reference, (B, 3, S, S) in [-1, 1].
        embedding: f_app, (B, appearance_dim).
        features: ResNet feature maps by their side in pixels; empty unless the generator warps.
        box: where the face is, see `GanHead.appearance`, (B, 3).
    """

    image: Tensor
    embedding: Tensor
    features: dict[int, Tensor]
    box: Tensor

    def expand(self, frames: int) -> GanAppearance:
        """The same reference for each of `frames` frames, without copying it."""

        def repeat(x: Tensor) -> Tensor:
            return x.expand(frames, *x.shape[1:])

        features = {side: repeat(x) for side, x in self.features.items()}
        return GanAppearance(repeat(self.image), repeat(self.embedding), features, repeat(self.box))


@dataclass(frozen=True)
class GanOutput:
    """One generated batch.

    Attributes:
        image: (B, 3, S, S), clamped to [-1, 1] only by the caller.
        flow: backward flow at the generator's resolution, (B, 2, R, R); None without the warp branch.
        mask: how much of each pixel comes from the warped reference, (B, 1, R, R) in [0, 1]; None without it.
        painted: what is painted where the mask leaves room, (B, 3, S, S); None without it.
    """

    image: Tensor
    flow: Tensor | None = None
    mask: Tensor | None = None
    painted: Tensor | None = None


class ModulatedConv(nn.Module):
    """StyleGAN2's modulated convolution (Karras et al. 2020, section 2.2).

    The style scales the input and the demodulation scales the output of one shared convolution, which equals
    modulating the weights per sample and is one dense convolution instead of a grouped one.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, style_dim: int, demodulate: bool = True):
        super().__init__()
        # No equalised learning rate: under AdamW it would make these layers learn far slower than all others.
        deviation = 1 / math.sqrt(in_channels * kernel**2)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel) * deviation)
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.style = nn.Linear(style_dim, in_channels)
        nn.init.ones_(self.style.bias)
        self.demodulate = demodulate

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        scale = self.style(style)
        y = F.conv2d(x * scale[:, :, None, None], self.weight, padding=self.weight.shape[-1] // 2)
        if self.demodulate:
            energy = scale.square() @ self.weight.square().sum(dim=(2, 3)).t()
            y = y * torch.rsqrt(energy + 1e-8)[:, :, None, None]
        return y + self.bias[:, None, None]


class FlowHead(nn.Module):
    """Flow as a sum of one map per channel, each as strong as a linear function of the change in motion says.

    Face models with expressions as linear displacements are the precedent: a fixed change of expression moves every
    point of a face by nearly the same way. No change gives no flow.
    """

    def __init__(self, channels: int, motion_dim: int) -> None:
        super().__init__()
        self.strength = nn.Linear(motion_dim, channels, bias=False)
        nn.init.zeros_(self.strength.weight)
        self.maps = nn.Conv2d(channels, 2, 3, padding=1, bias=False)

    def forward(self, x: Tensor, change: Tensor) -> Tensor:
        """Features (B, C, h, w) and the driver's motion minus the reference's (B, D) -> (B, 2, h, w)."""
        return self.maps(x * self.strength(change)[:, :, None, None])


class SynthesisBlock(nn.Module):
    """Two modulated convolutions at one resolution, and the heads that read them.

    `side_channels` are the reference's channels that enter at this resolution (0: none). A `grown` block adds to a
    coarser one and starts without effect, so that a generator can be trained coarse first and grow. With a
    `motion_dim` the block has the heads of the warp branch.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        side_channels: int,
        style_dim: int,
        motion_dim: int | None,
        grown: bool,
    ) -> None:
        super().__init__()
        self.conv1 = ModulatedConv(in_channels + side_channels, out_channels, 3, style_dim)
        self.conv2 = ModulatedConv(out_channels, out_channels, 3, style_dim)
        self.to_rgb = ModulatedConv(out_channels, 3, 1, style_dim, demodulate=False)
        if grown:
            nn.init.zeros_(self.to_rgb.weight)
        # They start as "the reference, unmoved": no flow, and a mask that trusts the warped picture.
        self.to_flow = FlowHead(out_channels, motion_dim) if motion_dim is not None else None
        self.to_mask = nn.Conv2d(out_channels, 1, 3, padding=1) if motion_dim is not None else None
        if self.to_mask is not None:
            for start in self.to_mask.parameters():
                nn.init.zeros_(start)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        x = F.leaky_relu(self.conv1(x, style), 0.2) * math.sqrt(2)
        return F.leaky_relu(self.conv2(x, style), 0.2) * math.sqrt(2)

    def adds_nothing(self) -> bool:
        """Whether its heads are still as they are made where it has grown: zero, whatever the picture."""
        heads: list[Tensor] = [self.to_rgb.weight, self.to_rgb.bias]
        if self.to_flow is not None and self.to_mask is not None:
            heads += [self.to_flow.strength.weight, *self.to_mask.parameters()]
        return not any(bool(parameter.any()) for parameter in heads)


def _trained(blocks: list[SynthesisBlock]) -> int:
    """How many blocks it takes to draw: finer ones that are still at their start, and add nothing, are not computed."""
    count = len(blocks)
    while count > 1 and blocks[count - 1].adds_nothing():
        count -= 1
    return count


def _upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Generator(nn.Module):
    """StyleGAN2 synthesis network, with or without the warp branch.

    Args:
        channels: width at each resolution, from the coarsest to the finest.
        base: side of the coarsest resolution in pixels.
        side_channels: the reference's channels by side; empty without the warp branch.
        style_dim: length of the style code.
        motion_dim: length of a frame's motion, which the warp branch reads; None is a generator without it.
    """

    FLOW_SCALE = 0.25  # keeps the early flow small against the picture, whatever the learning rate
    MASK_BIAS = 3.0  # sigmoid(3) = 0.95 of each pixel comes from the reference at the start
    MASK_LIMIT = 6.0  # logits level off here: a mask that is shut for good could never open for a mouth

    def __init__(
        self,
        channels: tuple[int, ...],
        base: int,
        side_channels: dict[int, int],
        style_dim: int,
        motion_dim: int | None,
    ) -> None:
        super().__init__()
        self.base = base
        self.constant = nn.Parameter(torch.randn(1, channels[0], base, base)) if motion_dim is None else None
        self.blocks = nn.ModuleList()
        previous = channels[0] if motion_dim is None else 0
        for level, width in enumerate(channels):
            side = base * 2**level
            self.blocks.append(
                SynthesisBlock(previous, width, side_channels.get(side, 0), style_dim, motion_dim, grown=level > 0)
            )
            previous = width

    def forward(
        self, appearance: GanAppearance, style: Tensor, change: Tensor, rts: Tensor, levels: int | None = None
    ) -> GanOutput:
        """Draw; `change` is the driver's motion minus the reference's, `levels` the number of resolutions used."""
        x: Tensor | None = None
        rgb: Tensor | None = None
        learnt: Tensor | None = None  # what the blocks add to the similarity flow
        mask: Tensor | None = None  # logits
        if self.constant is not None:
            x = self.constant.expand(len(style), -1, -1, -1)
        blocks = cast(list[SynthesisBlock], list(self.blocks)[:levels])
        computed = len(blocks) if torch.is_grad_enabled() else _trained(blocks)
        for level, block in enumerate(blocks):
            side = self.base * 2**level
            if level:
                assert x is not None and rgb is not None
                rgb = _upsample(rgb)
                learnt = None if learnt is None else _upsample(learnt)
                mask = None if mask is None else _upsample(mask)
                if level >= computed:
                    continue
                x = _upsample(x)
            if self.constant is None:
                x = self._with_reference(x, appearance, side, rts, learnt)
            assert x is not None
            x = block(x, style)
            painted = block.to_rgb(x, style)
            rgb = painted if rgb is None else rgb + painted
            if block.to_flow is not None and block.to_mask is not None:
                added = block.to_flow(x, change) * self.FLOW_SCALE
                learnt = added if learnt is None else learnt + added
                mask = block.to_mask(x) if mask is None else mask + block.to_mask(x)
        assert rgb is not None
        size = appearance.image.shape[-2:]
        painted = F.interpolate(rgb, size=size, mode="bilinear", align_corners=False)
        if learnt is None or mask is None:
            return GanOutput(painted)
        flow = similarity_flow(appearance.box, rts, learnt.shape[-1]) + learnt
        mask = torch.sigmoid(self.MASK_LIMIT - F.softplus(self.MASK_LIMIT - self.MASK_BIAS - mask))
        visible = F.interpolate(mask, size=size, mode="bilinear", align_corners=False)
        image = warp(appearance.image, flow) * visible + painted * (1 - visible)
        return GanOutput(image, flow, mask, painted)

    @staticmethod
    def _with_reference(
        x: Tensor | None, appearance: GanAppearance, side: int, rts: Tensor, learnt: Tensor | None
    ) -> Tensor:
        """Append what the reference shows at this resolution, moved by the flow found so far."""
        shown = appearance.features.get(side)
        if shown is None:
            shown = F.interpolate(appearance.image, size=(side, side), mode="area")
        flow = similarity_flow(appearance.box, rts, side)
        shown = warp(shown, flow if learnt is None else flow + learnt)
        return shown if x is None else torch.cat([x, shown], dim=1)


class GanHead(ModelMixin, ConfigMixin):
    """Appearance encoder, style mapping and generator.

    Args:
        appearance_size: side in pixels to which the reference is reduced for the ResNet.
        resnet_embedding: channels of the ResNet's stem.
        resnet_widths: channels of its four stages.
        resnet_depths: blocks of its four stages; (3, 4, 6, 3) with bottlenecks is ResNet-50.
        resnet_layer: "bottleneck" or "basic".
        appearance_dim: length of f_app.
        motion_dim: flat length of a frame's motion tokens.
        style_dim: length of the style code.
        mapping_layers: layers of the mapping network.
        generator_base: side of the generator's coarsest resolution.
        generator_channels: its widths from coarse to fine; their number fixes its resolution.
        warp: anchor the generator to the reference by a flow (see the module's text).
    """

    @register_to_config
    def __init__(
        self,
        appearance_size: int = 256,
        resnet_embedding: int = 64,
        resnet_widths: tuple[int, ...] = (256, 512, 1024, 2048),
        resnet_depths: tuple[int, ...] = (3, 4, 6, 3),
        resnet_layer: str = "bottleneck",
        appearance_dim: int = 512,
        motion_dim: int = 512,
        style_dim: int = 512,
        mapping_layers: int = 4,
        generator_base: int = 4,
        generator_channels: tuple[int, ...] = (512, 512, 512, 512, 256, 128, 64),
        warp: bool = False,
    ) -> None:
        super().__init__()
        self.resnet = ResNetBackbone(
            ResNetConfig(
                embedding_size=resnet_embedding,
                hidden_sizes=list(resnet_widths),
                depths=list(resnet_depths),
                layer_type=resnet_layer,
                out_features=["stage1", "stage2", "stage3", "stage4"],
            )
        )
        self.to_appearance = nn.Linear(resnet_widths[-1], appearance_dim)
        # The stages lie at 1/4, 1/8, 1/16 and 1/32 of the input.
        stage_sides = [appearance_size // 4 // 2**stage for stage in range(4)]
        side_channels: dict[int, int] = {}
        if warp:
            for level in range(len(generator_channels)):
                side = generator_base * 2**level
                side_channels[side] = dict(zip(stage_sides, resnet_widths, strict=True)).get(side, 3)
        # The warp branch compares the driver's motion with the reference's own.
        motion_inputs = 2 if warp else 1
        widths = [appearance_dim + motion_inputs * motion_dim] + [style_dim] * mapping_layers
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [nn.Linear(narrow, wide), nn.LeakyReLU(0.2)]
        self.mapping = nn.Sequential(*layers)
        self.generator = Generator(
            tuple(generator_channels), generator_base, side_channels, style_dim, motion_dim if warp else None
        )

    @apply_forward_hook
    def appearance(self, reference: Tensor, box: Tensor) -> GanAppearance:
        """Encode the reference once.

        Args:
            reference: (B, 3, S, S) in [-1, 1], any S of at least `appearance_size` is best.
            box: the detector's box of its face, (B, 3): centre x, y and longer side in [-1, 1] coordinates (a face
                as wide as the picture has side 2); only the warp branch reads it.
        Returns:
            f_app and, for the warp branch, the feature maps, the picture itself and the box.
        """
        size = self.config.appearance_size
        small = F.interpolate(reference, size=(size, size), mode="area")
        maps = self.resnet(small).feature_maps
        embedding = self.to_appearance(maps[-1].mean(dim=(2, 3)))
        features = {x.shape[-1]: x for x in maps} if self.config.warp else {}
        return GanAppearance(reference, embedding, features, box)

    @apply_forward_hook
    def generate(
        self,
        appearance: GanAppearance,
        tokens: Tensor,
        reference_tokens: Tensor,
        rts: Tensor,
        levels: int | None = None,
    ) -> GanOutput:
        """Draw the reference with the driver's motion.

        Args:
            appearance: of the reference, batch B (or expanded to it).
            tokens: motion tokens with f_rts fused in, (B, 32, 16).
            reference_tokens: the reference's own motion tokens with f_rts (0, 0, 1), (B, 32, 16); only the warp
                branch reads them.
            rts: the driver's f_rts, (B, 3), which `tokens` hold as well; only the warp branch reads it.
            levels: use only so many of the generator's resolutions, the coarsest first (training grows it).
        """
        # Tokens are as large as the encoder likes; AdamW's steps in the layers that read them must not be.
        motion, own = (F.layer_norm(x.flatten(1), (self.config.motion_dim,)) for x in (tokens, reference_tokens))
        parts = [appearance.embedding, motion]
        if self.config.warp:
            parts.append(own)
        change = (motion - own) / math.sqrt(self.config.motion_dim)
        return self.generator(appearance, self.mapping(torch.cat(parts, dim=1)), change, rts, levels)

    def forward(
        self,
        reference: Tensor,
        box: Tensor,
        tokens: Tensor,
        reference_tokens: Tensor,
        rts: Tensor,
        levels: int | None = None,
    ) -> GanOutput:
        """`appearance` and `generate` in one call, for training."""
        return self.generate(self.appearance(reference, box), tokens, reference_tokens, rts, levels)
