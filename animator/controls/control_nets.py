"""X-Portrait's control: the driving pictures themselves, through two ControlNets (Xie et al., SIGGRAPH 2024).

One sees the driving face, laid on the portrait; the other nothing but squares about its eyes and its mouth. What both
make of them is added to the denoiser's skip connections and to its middle. The negative branch of guidance has neither
a reference nor this control.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch

# ModelMixin: DiffusionPipeline.from_pretrained looks in a component's module for the base class that can load it.
from diffusers import ConfigMixin, ControlNetModel, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from animator.controls.control import Condition, Control, PreparedControl, Reading, Setting, Step
from animator.driving_pictures import DrivingPictures, Hints, read_pictures
from animator.errors import XNeMoError
from animator.model_config import AnimatorConfig
from animator.models.linear import multiply_by_onednn
from animator.models.motion_control import ControlResiduals
from animator.models.motion_unet import MotionUNet
from animator.pixels import from_uint8
from animator.video import VideoReader

HINT_CHANNELS = (16, 32, 96, 256)  # of the network that reads a hint, at most: each after the first halves it
PROMPT_TOKENS = 77  # of CLIP's text encoder


class ControlNets(ModelMixin, ConfigMixin, Control):
    """Both ControlNets, and the empty prompt that everything of these weights reads.

    Args:
        in_channels: latent channels.
        down_block_types: diffusers' 2D block classes on the way down, finest level first.
        block_out_channels, layers_per_block, norm_num_groups, cross_attention_dim: the denoiser's.
        num_attention_heads: heads of the transformers.
        hint_channels: widths of the network that reads a hint; it makes pictures as small as latents.
        prompt_tokens: tokens of the empty prompt.
    """

    reference_every_step: ClassVar[bool] = True

    @register_to_config
    def __init__(
        self,
        in_channels: int = 4,
        down_block_types: tuple[str, ...] = (
            "CrossAttnDownBlock2D",
            "CrossAttnDownBlock2D",
            "CrossAttnDownBlock2D",
            "DownBlock2D",
        ),
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        norm_num_groups: int = 32,
        cross_attention_dim: int = 768,
        num_attention_heads: int = 8,
        hint_channels: tuple[int, ...] = HINT_CHANNELS,
        prompt_tokens: int = PROMPT_TOKENS,
    ) -> None:
        super().__init__()

        def net() -> ControlNetModel:
            return ControlNetModel(
                in_channels=in_channels,
                down_block_types=tuple(down_block_types),
                block_out_channels=tuple(block_out_channels),
                layers_per_block=layers_per_block,
                norm_num_groups=norm_num_groups,
                cross_attention_dim=cross_attention_dim,
                attention_head_dim=num_attention_heads,  # the number of heads, in spite of its name
                conditioning_embedding_out_channels=tuple(hint_channels),
            )

        self.face = net()
        self.local = net()
        self.register_buffer("empty_prompt", torch.zeros(1, prompt_tokens, cross_attention_dim))
        multiply_by_onednn(self)

    @property
    def prompt(self) -> Tensor:
        return self.empty_prompt

    def prompts(self, items: Tensor) -> Tensor:
        """The prompt for each item of a batch (B, ...), in its format and on its device, (B, tokens, D)."""
        return self.empty_prompt.to(items).expand(len(items), -1, -1)

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        face: Tensor | None,
        local: Tensor | None,
        shares: Tensor | None = None,
    ) -> ControlResiduals | None:
        """What the hints add to the denoiser.

        Args:
            latents: noisy latents, (N, channels, h, w).
            timestep: one for all, or (N,).
            face: pictures of the driving face, (N, 3, H, W) in [-1, 1]; None leaves this control out.
            local: the same of its eyes and mouth, all else black; None leaves this control out.
            shares: factors of both for each item, (N, 2); None: 1.
        Returns:
            The sum of both; None without either.
        """
        prompt = self.prompts(latents)
        said = [
            net(latents, timestep, prompt, hint.to(latents.dtype), return_dict=False)
            for net, hint in ((self.face, face), (self.local, local))
            if hint is not None
        ]
        if len(said) < 2:
            return ControlResiduals(list(said[0][0]), said[0][1]) if said else None
        if shares is not None:
            weights = [share[:, None, None, None] for share in shares.to(latents.dtype).unbind(dim=1)]
            said = [
                ([w * skip for skip in skips], w * middle) for (skips, middle), w in zip(said, weights, strict=True)
            ]
        (face_skips, face_middle), (local_skips, local_middle) = said
        skips = [first + second for first, second in zip(face_skips, local_skips, strict=True)]
        return ControlResiduals(skips, face_middle + local_middle)

    @property
    def untrained(self) -> bool:
        """Whether both ControlNets still add nothing, as all that have not been trained."""
        return not any(
            net.controlnet_mid_block.weight.is_meta or net.controlnet_mid_block.weight.any() for net in self._nets
        )

    def begin_as(self, unet: MotionUNet) -> None:
        """Give both ControlNets the layers of the denoiser's encoder, as ControlNets begin."""
        state = unet.state_dict()
        for net in self._nets:
            shared = {name: state[name] for name in net.state_dict() if name in state}
            net.load_state_dict(shared, strict=False)

    @property
    def _nets(self) -> tuple[ControlNetModel, ControlNetModel]:
        return self.face, self.local

    def read(self, reader: VideoReader, how: Reading) -> DrivingPictures:
        return read_pictures(reader, how)

    def check(self, driving: Any) -> DrivingPictures:
        if not isinstance(driving, DrivingPictures):
            raise XNeMoError(
                f"{driving.source or 'the driving'}: these weights are driven by pictures, and motion latents hold "
                "none; name the video"
            )
        return driving

    def prepare(self, driving: DrivingPictures, setting: Setting) -> PreparedPictures:
        return PreparedPictures(self, Hints(driving, setting), setting)


class PreparedPictures(PreparedControl):
    """Driving pictures that are laid on a portrait.

    Args:
        nets: both ControlNets.
        hints: the pictures.
        setting: where the denoiser runs.
    """

    def __init__(self, nets: ControlNets, hints: Hints, setting: Setting) -> None:
        self._nets = nets
        self._hints = hints
        self._device = setting.device

    def condition(self, step: Step) -> Condition:
        face, local = (from_uint8(pictures, self._device) for pictures in self._hints.of(step.frames))
        return Condition(residuals=self._nets(step.latents, step.timestep, face, local))


def build(config: AnimatorConfig) -> ControlNets:
    """Fresh ControlNets for an architecture: the encoder of its denoiser, twice."""
    unet, halvings = config.unet, config.vae.downsampling.bit_length() - 1
    widths = (*HINT_CHANNELS, *[HINT_CHANNELS[-1]] * halvings)[: halvings + 1]
    return ControlNets(
        in_channels=unet.in_channels,
        down_block_types=tuple(name.replace("Motion", "2D") for name in unet.down_block_types),
        block_out_channels=tuple(unet.block_out_channels),
        layers_per_block=unet.layers_per_block,
        norm_num_groups=unet.norm_num_groups,
        cross_attention_dim=unet.cross_attention_dim,
        num_attention_heads=unet.num_attention_heads,
        # No wider than what they are added to: they read whole pictures, and would cost more than all the rest.
        hint_channels=tuple(min(width, unet.block_out_channels[0]) for width in widths),
    )
