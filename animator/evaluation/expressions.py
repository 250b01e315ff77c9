"""Which expression a face shows: face-api's small network in PyTorch, and valence and arousal from its classes.

It stands in for EmoNet, which the paper's EMO-SIM uses, and its numbers are not comparable with those: EmoNet was
taught valence and arousal, this network seven classes. A face's valence and arousal here are the means of `COORDINATES`
under the classes' probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from animator.errors import XNeMoError
from animator.evaluation.face_reading import read_faces
from animator.evaluation.landmarks import FaceMeasures
from animator.face_crop import crop_face, place_square

SIDE = 112  # pixels of the network's input
CROP_SCALE = 1.2  # side of the crop over the height of the landmarks
BATCH = 64

CLASSES = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
# Pleasure and arousal of the words: Russell and Mehrabian, "Evidence for a three-factor theory of emotions" (1977).
COORDINATES = (
    (0.0, 0.0),
    (0.81, 0.51),
    (-0.63, -0.27),
    (-0.51, 0.59),
    (-0.64, 0.60),
    (-0.60, 0.35),
    (0.40, 0.67),
)


class _Separable(nn.Module):
    """A convolution of each channel by itself, then one over channels; or, for the first layer, a plain one."""

    def __init__(self, state: dict[str, Tensor], name: str, stride: int) -> None:
        super().__init__()
        self.stride = stride
        plain = f"{name}.filters" in state
        for part in ("filters",) if plain else ("depthwise_filter", "pointwise_filter"):
            self.register_buffer(part, state[f"{name}.{part}"].float())
        self.plain = plain
        self.register_buffer("bias", state[f"{name}.bias"].float())

    def forward(self, x: Tensor) -> Tensor:
        # "same" as TensorFlow has it: an even side that is halved is padded at the right and at the bottom only.
        x = F.pad(x, (0, 1, 0, 1) if self.stride == 2 else (1, 1, 1, 1))
        if self.plain:
            return F.conv2d(x, self.get_buffer("filters"), self.get_buffer("bias"), stride=self.stride)
        x = F.conv2d(x, self.get_buffer("depthwise_filter"), stride=self.stride, groups=x.shape[1])
        return F.conv2d(x, self.get_buffer("pointwise_filter"), self.get_buffer("bias"))


class _Dense(nn.Module):
    """Four convolutions; each reads the sum of all before it."""

    def __init__(self, state: dict[str, Tensor], name: str) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_Separable(state, f"{name}.conv{n}", 2 if n == 0 else 1) for n in range(4))

    def forward(self, x: Tensor) -> Tensor:
        total = x = F.relu(self.convs[0](x))
        for conv in self.convs[1:]:
            total = total + conv(x)
            x = F.relu(total)
        return x


class FaceExpressions(nn.Module):
    """face-api's `FaceExpressionNet`, frozen.

    Args:
        weights: safetensors with `dense0.conv0.filters` (OIHW), ..., `fc.weights` (256, 7), `fc.bias`.
    Raises:
        XNeMoError: the file is not that.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        try:
            state = load_file(weights)
            self.blocks = nn.ModuleList(_Dense(state, f"dense{n}") for n in range(4))
            self.register_buffer("weights", state["fc.weights"].float())
            self.register_buffer("bias", state["fc.bias"].float())
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise XNeMoError(f"{weights}: not face-api's expression net ({type(error).__name__}: {error})") from error
        self.register_buffer("mean", torch.tensor([122.782, 117.001, 104.298])[None, :, None, None])
        self.register_buffer("coordinates", torch.tensor(COORDINATES))
        self.requires_grad_(False).eval()

    def forward(self, faces: Tensor) -> Tensor:
        """Probabilities (N, 7) of `CLASSES` for face crops (N, 3, 112, 112), RGB from 0 to 255."""
        x = (faces - self.get_buffer("mean")) / 255
        for block in self.blocks:
            x = block(x)
        x = F.avg_pool2d(x, 7, stride=2).flatten(1)
        return (x @ self.get_buffer("weights") + self.get_buffer("bias")).softmax(dim=1)

    def feel(self, frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], faces: FaceMeasures) -> NDArray[np.float64]:
        """Valence and arousal of the face of every picture.

        Args:
            frames: N RGB pictures (H, W, 3), uint8.
            faces: what the landmarker found in them.
        Returns:
            (N, 2), in [-1, 1]; NaN where there is no face.
        """
        return read_faces(
            self, faces, lambda number: expression_crop(frames[number], faces.boxes[number]), self._feelings, 2, BATCH
        )

    def _feelings(self, pictures: Tensor) -> Tensor:
        return self(pictures) @ self.get_buffer("coordinates")


def expression_crop(frame: NDArray[np.uint8], box: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The network's input: a square of 1.2 x the landmarks' height about their centre, (112, 112, 3), uint8."""
    x0, y0, x1, y1 = (float(value) for value in box)
    height, width = frame.shape[:2]
    side = max(2, round(CROP_SCALE * (y1 - y0)))
    return crop_face(frame, place_square((x0 + x1) / 2, (y0 + y1) / 2, side, width, height), SIDE)
