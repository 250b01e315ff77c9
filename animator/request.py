"""What a call of the pipeline asks for beside portrait and motion, as one object: settled once, then handed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from animator.errors import XNeMoError
from animator.face import FaceDetector
from animator.portrait import Picture
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
