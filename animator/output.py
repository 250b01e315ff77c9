"""What a call of the pipeline gives back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from diffusers.utils import BaseOutput
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Frames = NDArray[np.uint8]


@dataclass
class XNeMoPipelineOutput(BaseOutput):
    """Result of a whole clip.

    Attributes:
        frames: T frames, by `output_type`: "np" uint8 (T, height, width, 3); "pil" a list of T images; "latent" the
            denoised latents, (1, T, channels, h, w), as the denoiser has them: the autoencoder's, times its
            `scaling_factor`.
    """

    frames: NDArray[np.uint8] | list[Image.Image] | Tensor


def collected(chunks: Iterator[Frames], output_type: Literal["np", "pil"]) -> XNeMoPipelineOutput:
    """All frames of a clip at once; chunks are uint8 (n, height, width, 3)."""
    frames = np.concatenate(list(chunks))
    return XNeMoPipelineOutput(frames=[Image.fromarray(frame) for frame in frames] if output_type == "pil" else frames)
