"""What the pipeline asks of a control, and what it tells it.

A control reads a driving video, prepares what it has read for one portrait, and then says, step by step, what the
denoiser is told: motion tokens that its layers attend to, features that are added to its own, or both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor

from animator.face import FaceDetector
from animator.models.motion_control import ControlResiduals
from animator.portrait import PortraitPictures
from animator.sampler import SamplerConfig
from animator.video import VideoReader


class Driving(Protocol):
    """What a control has read of a driving video, T frames: a `MotionClip`, for example."""

    @property
    def fps(self) -> float:
        """Frames a second."""

    @property
    def source(self) -> str:
        """Name of the file that it comes from, "" if there is none."""

    @property
    def crop(self) -> tuple[int, int, int, int] | None:
        """The driving face in the first frame, (x, y, width, height) in pixels; None where it is not known."""

    def __len__(self) -> int: ...

    def resample(self, fps: float) -> Self:
        """The same at another frame rate."""


@dataclass(frozen=True)
class Reading:
    """How a driving video is read.

    Attributes:
        detector: finds faces.
        device: where networks run.
        progress_bar: makes a tqdm bar from `total=`.
        select, max_gap, preprocessing, best_frame: see `XNeMoPipeline.read_driving`.
    """

    detector: FaceDetector
    device: torch.device
    progress_bar: Callable[..., Any]
    select: str | int = "largest"
    max_gap: int | None = None
    preprocessing: str = "tracked"
    best_frame: int | None = None


@dataclass(frozen=True)
class Setting:
    """What a driving is prepared for.

    Attributes:
        pictures: the portrait.
        width, height: of the result in pixels.
        sampler: how the clip is sampled.
        detector: finds faces; None: make one where it is needed.
        device, dtype: what the denoiser runs on and in.
    """

    pictures: PortraitPictures
    width: int
    height: int
    sampler: SamplerConfig
    detector: FaceDetector | None
    device: torch.device
    dtype: torch.dtype


@dataclass(frozen=True)
class Step:
    """One prediction of the denoiser, about to be made.

    Attributes:
        latents: noisy latents of F frames, (F, channels, h, w).
        timestep: scalar.
        frames: which frames of the clip they are.
        guided: whether the negative branch of guidance is predicted as well, before the conditional one.
    """

    latents: Tensor
    timestep: Tensor
    frames: Sequence[int]
    guided: bool


@dataclass(frozen=True)
class Condition:
    """What the denoiser is told of the motion in one prediction of B branches: negative (if guided) and conditional.

    Attributes:
        tokens: motion tokens, (B, F, L, D); None: there are none.
        residuals: added to the conditional branch, whose F frames they are for; None: there are none.
    """

    tokens: Tensor | None = None
    residuals: ControlResiduals | None = None


class PreparedControl(ABC):
    """A driving that is prepared for a portrait."""

    @abstractmethod
    def condition(self, step: Step) -> Condition:
        """What the denoiser is told in one prediction."""


class Control(ABC):
    """How the driving motion reaches the denoiser."""

    # Whether the reference net reads the portrait at every step, told the step's noise level, or once, told none.
    reference_every_step: ClassVar[bool] = False

    @property
    def prompt(self) -> Tensor | None:
        """What all cross-attention reads in place of the portrait's image token, (1, L, D); None: the image token."""
        return None

    @abstractmethod
    def read(self, reader: VideoReader, how: Reading) -> Any:
        """Read a driving video.

        Returns:
            A `Driving` of the kind that `prepare` takes.
        Raises:
            XNeMoError: the video cannot be read, or the face is not found.
        """

    @abstractmethod
    def check(self, driving: Any) -> Any:
        """Refuse what `prepare` cannot take, and give back what it can.

        Raises:
            XNeMoError: another kind of driving, or one that was read with other weights.
        """

    @abstractmethod
    def prepare(self, driving: Any, setting: Setting) -> PreparedControl:
        """Compute all that depends on driving and portrait, but on no step.

        Raises:
            XNeMoError: the portrait does not show what is needed.
        """
