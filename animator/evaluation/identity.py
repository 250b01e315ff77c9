"""Whose face it is: dlib's face-recognition network in PyTorch.

It stands in for ArcFace, which the paper's ID-SIM uses, and its numbers are not comparable with those. Descriptors are
128 numbers; their Euclidean distance is below about 0.6 for two pictures of one person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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

SIDE = 150  # pixels of the network's input
WIDTH = 128  # numbers of a descriptor
CROP_SCALE = 1.15  # side of the crop over the height of the landmarks

# Blocks after the first layer, in order: width, and whether the block halves the picture.
_BLOCKS = (
    *(("conv32_1", False), ("conv32_2", False), ("conv32_3", False)),
    *(("conv64_down", True), ("conv64_1", False), ("conv64_2", False), ("conv64_3", False)),
    *(("conv128_down", True), ("conv128_1", False), ("conv128_2", False)),
    *(("conv256_down", True), ("conv256_1", False), ("conv256_2", False), ("conv256_down_out", True)),
)


class _Layer(nn.Module):
    """A convolution and the channel-wise scale and offset that dlib trains after it."""

    def __init__(self, state: dict[str, Tensor], name: str, stride: int, padding: int) -> None:
        super().__init__()
        filters = state[f"{name}.conv.filters"].float()
        self.conv = nn.Conv2d(filters.shape[1], filters.shape[0], filters.shape[2], stride=stride, padding=padding)
        self.conv.weight.data.copy_(filters)
        self.conv.bias.data.copy_(state[f"{name}.conv.bias"])  # type: ignore[union-attr]
        self.register_buffer("scale", state[f"{name}.scale.weights"].float()[:, None, None].clone())
        self.register_buffer("offset", state[f"{name}.scale.biases"].float()[:, None, None].clone())

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.get_buffer("scale") + self.get_buffer("offset")


class _Block(nn.Module):
    """dlib's residual block; one that halves has no learned shortcut but an average pool, padded with zeros."""

    def __init__(self, state: dict[str, Tensor], name: str, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv1 = _Layer(state, f"{name}.conv1", stride=2 if down else 1, padding=0 if down else 1)
        self.conv2 = _Layer(state, f"{name}.conv2", stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(F.relu(self.conv1(x)))
        short = F.avg_pool2d(x, 2, 2) if self.down else x
        height, width = max(out.shape[2], short.shape[2]), max(out.shape[3], short.shape[3])
        channels = max(out.shape[1], short.shape[1])
        return F.relu(_padded(out, channels, height, width) + _padded(short, channels, height, width))


class FaceIdentity(nn.Module):
    """dlib's `face_recognition_resnet_model_v1`, frozen.

    Args:
        weights: safetensors with `conv32_down`, ..., `conv256_down_out` (filters OIHW) and `fc` (256, 128).
    Raises:
        XNeMoError: the file is not that.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        try:
            state = load_file(weights)
            self.stem = _Layer(state, "conv32_down", stride=2, padding=0)
            self.blocks = nn.ModuleList(_Block(state, name, down) for name, down in _BLOCKS)
            self.register_buffer("fc", state["fc"].float())
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise XNeMoError(f"{weights}: not dlib's face network ({type(error).__name__}: {error})") from error
        self.register_buffer("mean", torch.tensor([122.782, 117.001, 104.298])[None, :, None, None])
        self.requires_grad_(False).eval()

    def forward(self, faces: Tensor) -> Tensor:
        """Descriptors (N, 128) of face crops (N, 3, 150, 150), RGB from 0 to 255."""
        x = F.relu(self.stem((faces - self.get_buffer("mean")) / 255))
        x = F.max_pool2d(x, 3, stride=2)
        for block in self.blocks:
            x = block(x)
        return x.mean(dim=(2, 3)) @ self.get_buffer("fc")

    def describe(
        self, frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], faces: FaceMeasures
    ) -> NDArray[np.float64]:
        """Describe the face of every picture.

        Args:
            frames: N RGB pictures (H, W, 3), uint8.
            faces: what the landmarker found in them.
        Returns:
            (N, 128); NaN where there is no face.
        """
        return read_faces(self, faces, lambda number: identity_crop(frames[number], faces.boxes[number]), self, WIDTH)


def identity_crop(frame: NDArray[np.uint8], box: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The network's input: a square of 1.15 x the landmarks' height about their centre, (150, 150, 3), uint8."""
    x0, y0, x1, y1 = (float(value) for value in box)
    height, width = frame.shape[:2]
    side = max(2, round(CROP_SCALE * (y1 - y0)))
    return crop_face(frame, place_square((x0 + x1) / 2, (y0 + y1) / 2, side, width, height), SIDE)


@dataclass(frozen=True)
class Likeness:
    """Whom a result looks like. Every frame counts in which driver and portrait are known.

    A frame in which the result's face was not found is like nobody: its similarities are 0. The distances are over the
    frames in which it was found.

    Attributes:
        similarity: mean cosine between the descriptors of result frames and of the portrait.
        to_driver_similarity: the same to the driver's frame of the same time.
        leakage: the second minus the first: above 0, the result is more like the driver than like the portrait.
        to_portrait: mean Euclidean distance of result frames to the portrait.
        to_driver: the same to the driver's frames.
        closer_to_portrait: share of all frames that lie closer to the portrait than to the driver.
        apart: distance of portrait and driver, mean over the frames: how hard the question is.
        frames: number of frames that count.
        missing: number of those in which the result's face was not found.
    """

    similarity: float
    to_driver_similarity: float
    leakage: float
    to_portrait: float
    to_driver: float
    closer_to_portrait: float
    apart: float
    frames: int
    missing: int


def likeness(results: NDArray[np.float64], drivers: NDArray[np.float64], portrait: NDArray[np.float64]) -> Likeness:
    """Compare the descriptors of a result with those of its driver and its portrait.

    Args:
        results: (N, D), NaN rows where no face was found.
        drivers: (N, D), of the same frames.
        portrait: (D,).
    """
    known = ~np.isnan(drivers).any(axis=1) & ~np.isnan(portrait).any()
    results, drivers = results[known], drivers[known]
    lost = np.isnan(results).any(axis=1)
    nan = float("nan")
    if not known.any():
        return Likeness(nan, nan, nan, nan, nan, nan, nan, 0, 0)
    similarity = float(np.where(lost, 0, cosine(results, portrait)).mean())
    to_driver_similarity = float(np.where(lost, 0, cosine(results, drivers)).mean())
    to_portrait = np.linalg.norm(results - portrait, axis=1)
    to_driver = np.linalg.norm(results - drivers, axis=1)
    return Likeness(
        similarity,
        to_driver_similarity,
        to_driver_similarity - similarity,
        _mean(to_portrait[~lost]),
        _mean(to_driver[~lost]),
        float((to_portrait < to_driver).mean()),  # NaN is not smaller than anything: a lost frame is not closer
        float(np.linalg.norm(drivers - portrait, axis=1).mean()),
        int(known.sum()),
        int(lost.sum()),
    )


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosine between rows, (N,); one row of `b` may stand for all."""
    return (a * b).sum(axis=-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _padded(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    """Zeros after the last channel, at the bottom and at the right, up to the given size."""
    return F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2], 0, channels - x.shape[1]))
