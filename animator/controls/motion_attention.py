"""X-NeMo's control: the motion encoder's tokens, which the denoiser's motion slots attend to (section 3.2).

Its negative branch moves like the portrait itself (Eq. 2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from animator.conditions import IN_PLACE, motion_tokens, own_motion
from animator.controls.control import Condition, Control, Driving, PreparedControl, Reading, Setting, Step
from animator.driving import encode_video
from animator.errors import XNeMoError
from animator.files import sha256_of
from animator.model_config import AnimatorConfig
from animator.models.identity import encoder_id
from animator.models.motion_encoder import MotionEncoder
from animator.motion_clip import MotionClip
from animator.video import VideoReader


class MotionTokens(PreparedControl):
    """The motion tokens of a clip, and the portrait's own.

    Args:
        tokens: (T, L, D), in the denoiser's format and place.
        own: the portrait's motion with f_rts (0, 0, 1), (1, L, D).
    """

    def __init__(self, tokens: Tensor, own: Tensor) -> None:
        self._tokens = tokens
        self._own = own

    def condition(self, step: Step) -> Condition:
        tokens = self._tokens[list(step.frames)][None]
        if step.guided:
            tokens = torch.cat([self._own[:, None].expand_as(tokens), tokens])
        return Condition(tokens=tokens)


class MotionAttention(Control):
    """Control by motion latents.

    Args:
        encoder: video -> motion latents -> motion tokens.
    """

    def __init__(self, encoder: MotionEncoder) -> None:
        self.encoder = encoder

    def read(self, reader: VideoReader, how: Reading) -> MotionClip:
        """Distil a driving video into its motion, in two passes that keep no pictures; see `Control.read`."""
        if how.best_frame is not None:
            raise XNeMoError(f"best_frame={how.best_frame}: these weights are driven by motion latents; leave it out")
        latents, track = encode_video(
            self.encoder,
            reader,
            how.detector,
            how.select,
            how.max_gap,
            how.preprocessing,
            how.device,
            how.progress_bar,
        )
        x0, y0, x1, y1 = (int(value) for value in track.crop_boxes[0])
        return MotionClip(
            latents=latents,
            boxes=torch.from_numpy(track.rts()),
            fps=reader.info.fps,
            encoder_id=encoder_id(self.encoder),
            source=reader.info.path.name,
            source_sha256=sha256_of(reader.info.path),
            crop=(x0, y0, x1 - x0, y1 - y0),
        )

    def check(self, driving: Driving) -> MotionClip:
        if not isinstance(driving, MotionClip):
            raise XNeMoError(f"{driving.source or 'the driving'}: these weights are driven by motion latents")
        ours = encoder_id(self.encoder)
        if driving.encoder_id != ours:
            raise XNeMoError(
                f"{driving.source or 'the motion'}: made by motion encoder {driving.encoder_id}, these weights have "
                f"{ours}; extract the motion again with these weights, or load the weights it was made with"
            )
        return driving

    def prepare(self, driving: MotionClip, setting: Setting) -> MotionTokens:
        device, dtype = setting.device, setting.dtype
        own = own_motion(self.encoder, setting.pictures.face, device).to(dtype)
        still = setting.sampler.f_rts == "reference"
        boxes = torch.tensor(IN_PLACE).expand_as(driving.boxes) if still else driving.boxes
        return MotionTokens(motion_tokens(self.encoder, driving.latents, boxes, device).to(dtype), own)


def build(config: AnimatorConfig) -> None:
    """Nothing: the motion encoder and the denoiser have all that this control needs."""
