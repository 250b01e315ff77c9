"""What a call of the pipeline asks for beside portrait and motion, as one object: settled once, then handed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from animator.errors import XNeMoError
from animator.face import FaceDetector, PortraitCrop
from animator.image import resize
from animator.portrait import Picture, PortraitPictures, portrait_pictures, ready_pictures
from animator.sampler import SamplerConfig, choose_sampler

# Called as (pipeline, predictions so far, timestep, {"frames": (start, stop), "step": step}).
StepCallback = Callable[[Any, int, int, dict[str, Any]], object]


@dataclass(frozen=True)
class Request:
    """The arguments of `XNeMoPipeline.__call__` that say how a clip is made; they are described there."""

    sampler: str | SamplerConfig = "paper"
    reference_face: Picture | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    seed: int = 0
    height: int | None = None
    width: int | None = None
    window: int | None = None
    overlap: int | None = None
    noise: Tensor | None = None
    window_offsets: Sequence[int] | None = None
    reference_precision: Literal["float16"] | None = None
    select: str | int = "largest"
    detector: FaceDetector | None = None
    decode_chunk: int | None = None
    callback_on_step_end: StepCallback | None = None

    def settle(self, longest_window: int) -> SamplerConfig:
        """The sampler, with what the call says in place of its own values.

        Args:
            longest_window: frames that the denoiser takes at once.
        Raises:
            XNeMoError: an unknown sampler, a value that its key does not allow, or windows that cannot be.
        """
        if self.reference_precision not in (None, "float16"):
            raise ValueError(f'reference_precision must be "float16" or None, not {self.reference_precision!r}')
        chosen = choose_sampler(
            self.sampler,
            steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            window=self.window,
            overlap=self.overlap,
            reference_precision=self.reference_precision,
            decode_chunk=self.decode_chunk,
        )
        if chosen.window > longest_window or chosen.overlap >= chosen.window:
            raise XNeMoError(
                f"window={chosen.window}, overlap={chosen.overlap}: a window has at most {longest_window} frames, "
                "and its overlap is smaller than that"
            )
        return chosen

    def without_decoding(self) -> Request:
        """Itself, where latents are the result.

        Raises:
            XNeMoError: it says how they are to be decoded.
        """
        if self.decode_chunk is not None:
            raise XNeMoError("decode_chunk: latents are not decoded; leave it out, or ask for pictures")
        return self

    def pictures(
        self, portrait: Picture | PortraitCrop | PortraitPictures, size: tuple[int, int], face_size: int
    ) -> PortraitPictures:
        """The portrait's pictures; the one to animate may still have another size.

        Args:
            portrait: see `XNeMoPipeline.__call__`.
            size: width and height of the picture to animate, in pixels.
            face_size: side of the motion encoder's input.
        Raises:
            XNeMoError: no face in the portrait, or more is said of ready crops than they leave open.
        """
        face = self.reference_face
        ready = isinstance(portrait, PortraitPictures) or face is not None
        if ready and self.select != "largest":
            raise XNeMoError(f"select={self.select}: in ready crops there is no choice of faces")
        if isinstance(portrait, PortraitPictures):
            if face is not None:
                raise XNeMoError("reference_face: the portrait's pictures have a face already; give one of the two")
            return replace(portrait, face=resize(portrait.face, (face_size, face_size)))
        if face is not None:
            return ready_pictures(portrait, face, face_size)
        return portrait_pictures(portrait, size, face_size, select=self.select, detector=self.detector)

    def picture_size(self, default: int, factor: int) -> tuple[int, int]:
        """Width and height of the result in pixels.

        Args:
            default: side where the call says nothing.
            factor: both are multiples of this.
        Raises:
            XNeMoError: they are not.
        """
        height = default if self.height is None else self.height
        width = default if self.width is None else self.width
        if height % factor or width % factor or min(height, width) < factor:
            raise XNeMoError(f"height {height} and width {width} must be multiples of {factor}")
        return width, height
