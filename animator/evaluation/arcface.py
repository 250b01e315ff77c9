"""ArcFace (Deng et al. 2019), the network of the paper's ID-SIM, for users who have its weights.

The backbone is the residual network of InsightFace's `arcface_torch`; depth 18, 34, 50 or 100 is read off the file. The
weights are not this project's to give: a `backbone.pth` of `arcface_torch`, or the same state dict as safetensors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from animator.errors import XNeMoError
from animator.evaluation.face_reading import read_faces
from animator.evaluation.landmarks import FaceMeasures
from animator.evaluation.state_files import fill, read_state

SIDE = 112  # pixels of the network's input
WHAT = "an ArcFace backbone as arcface_torch saves it"

# Where the aligned face has the eye and the mouth corner on the picture's left, the same on its right, and the nose.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
# The same places in MediaPipe's mesh: centres of the irises, tip of the nose, corners of the mouth.
MESH_POINTS = (468, 473, 1, 61, 291)
WIDTH = 512  # numbers of a descriptor


class _Block(nn.Module):
    """Residual block that normalises before its first convolution and has no activation at its end."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or width_in != width:
            short = nn.Conv2d(width_in, width, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(short, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(self.bn1(x))
        out = self.conv2(self.prelu(self.bn2(out)))
        return self.bn3(out) + self.downsample(x)


class ArcFaceBackbone(nn.Module):
    """Aligned faces (N, 3, 112, 112), RGB in [-1, 1] -> descriptors (N, 512).

    Args:
        depths: number of blocks at each of the four widths; (3, 4, 14, 3) is the network of 50 layers.
    """

    def __init__(self, depths: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        width_in = 64
        for level, (width, depth) in enumerate(zip((64, 128, 256, 512), depths, strict=True), 1):
            blocks = [_Block(width_in if n == 0 else width, width, 2 if n == 0 else 1) for n in range(depth)]
            self.add_module(f"layer{level}", nn.Sequential(*blocks))
            width_in = width
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 7 * 7, 512)
        self.features = nn.BatchNorm1d(512)

    def forward(self, faces: Tensor) -> Tensor:
        x = self.prelu(self.bn1(self.conv1(faces)))
        for level in range(1, 5):
            x = self.get_submodule(f"layer{level}")(x)
        return self.features(self.fc(self.bn2(x).flatten(1)))


class ArcFace(nn.Module):
    """The backbone with its alignment, frozen.

    Args:
        weights: see the module's text.
    Raises:
        XNeMoError: the file is not that.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        state = read_state(weights, WHAT)
        self.backbone = ArcFaceBackbone(_depths(state, weights))
        fill(self.backbone, state, weights, WHAT)

    def describe(
        self, frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], faces: FaceMeasures
    ) -> NDArray[np.float64]:
        """Describe the face of every picture.

        Args:
            frames: N RGB pictures (H, W, 3), uint8.
            faces: what the landmarker found in them.
        Returns:
            Unit vectors, (N, 512); NaN where there is no face.
        """
        return read_faces(
            self, faces, lambda number: align(frames[number], faces.points[number]), self._unit_vectors, WIDTH
        )

    def _unit_vectors(self, pictures: Tensor) -> Tensor:
        return F.normalize(self.backbone(pictures / 127.5 - 1), dim=1)


def align(frame: NDArray[np.uint8], points: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Bring a face's eyes, nose and mouth corners to `TEMPLATE`, by the similarity of least squares, bilinearly.

    Args:
        frame: RGB picture, (H, W, 3), uint8.
        points: MediaPipe's mesh in pixels, (478, 2).
    Returns:
        (112, 112, 3), uint8; black beyond the picture.
    """
    # The similarity of the template to the picture: PIL asks for each pixel of the result where it comes from.
    (a, b), (x, y) = similarity(TEMPLATE, points[list(MESH_POINTS)].astype(np.float64))
    # PIL speaks of pixels' centres at halves, the template of whole numbers.
    shift_x, shift_y = x + 0.5 - (a - b) / 2, y + 0.5 - (a + b) / 2
    coefficients = (a, -b, shift_x, b, a, shift_y)
    picture = Image.fromarray(frame)
    return np.array(picture.transform((SIDE, SIDE), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR))


def similarity(
    source: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """The similarity z -> (a + ib) z + (x + iy) of the plane that takes points to others, by least squares.

    Args:
        source, target: (N, 2).
    Returns:
        (a, b) and (x, y): scale and turn as a complex number, and the shift.
    """
    s, t = source[:, 0] + 1j * source[:, 1], target[:, 0] + 1j * target[:, 1]
    centred = s - s.mean()
    turn = (centred.conj() * (t - t.mean())).sum() / (np.abs(centred) ** 2).sum()
    shift = t.mean() - turn * s.mean()
    return (float(turn.real), float(turn.imag)), (float(shift.real), float(shift.imag))


def _depths(state: dict[str, Tensor], path: Path) -> list[int]:
    blocks = {found.groups() for key in state if (found := re.match(r"layer([1-4])\.(\d+)\.", key))}
    depths = [sum(level == str(wanted) for level, _ in blocks) for wanted in range(1, 5)]
    if not all(depths):
        raise XNeMoError(f"{path}: not {WHAT}: it has no layers named layer1 to layer4")
    return depths
