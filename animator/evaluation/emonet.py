"""EmoNet (Toisoul et al. 2021), the network of the paper's EMO-SIM, for users who have its weights.

A face-alignment network of two hourglasses, whose features under its own landmark heat-maps a small network reads. The
weights are not this project's to give: `emonet_8.pth` or `emonet_5.pth` of face-analysis/emonet, or the same state dict
as safetensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from animator.evaluation.face_reading import read_faces
from animator.evaluation.landmarks import FaceMeasures
from animator.evaluation.state_files import fill, read_state
from animator.face_crop import crop_face

SIDE = 256  # pixels of the network's input
WHAT = "EmoNet's weights as face-analysis/emonet publishes them"
LANDMARKS = 68
WIDTH = 256
HOURGLASSES = 2
LEVELS = 4  # halvings in an hourglass, and blocks of the reading network
BATCH = 8  # its hourglasses take much memory

# EmoNet's crop is about the box of 68 landmarks, brows to chin; these are the brows' upper edge in MediaPipe's mesh.
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
CROP_DIVISOR = 1.1  # side of the crop is (width + height of the box) / 1.1


class _Block(nn.Module):
    """Three convolutions, each reading the one before, side by side in the output, and a shortcut."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        widths = (width_in, width // 2, width // 4, width // 4)
        for n in range(1, 4):
            self.add_module(f"bn{n}", nn.BatchNorm2d(widths[n - 1]))
            self.add_module(f"conv{n}", nn.Conv2d(widths[n - 1], widths[n], 3, padding=1, bias=False))
        self.downsample: nn.Module = nn.Identity()
        if width_in != width:
            short = nn.Conv2d(width_in, width, 1, bias=False)
            self.downsample = nn.Sequential(nn.BatchNorm2d(width_in), nn.ReLU(), short)

    def forward(self, x: Tensor) -> Tensor:
        parts, out = [], x
        for n in range(1, 4):
            out = self.get_submodule(f"conv{n}")(F.relu(self.get_submodule(f"bn{n}")(out)))
            parts.append(out)
        return torch.cat(parts, dim=1) + self.downsample(x)


class _Hourglass(nn.Module):
    """Halves the map `LEVELS` times and doubles it again, with a branch at every size."""

    def __init__(self) -> None:
        super().__init__()
        for level in range(LEVELS, 0, -1):
            for name in ("b1", "b2", "b3") if level > 1 else ("b1", "b2", "b2_plus", "b3"):
                self.add_module(f"{name}_{level}", _Block(WIDTH, WIDTH))

    def forward(self, x: Tensor, level: int = LEVELS) -> Tensor:
        low = self.get_submodule(f"b2_{level}")(F.max_pool2d(x, 2))
        low = self(low, level - 1) if level > 1 else self.get_submodule("b2_plus_1")(low)
        low = self.get_submodule(f"b3_{level}")(low)
        return self.get_submodule(f"b1_{level}")(x) + F.interpolate(low, scale_factor=2, mode="nearest")


class EmoNetNetwork(nn.Module):
    """Faces (N, 3, 256, 256), RGB in [0, 1] -> class scores, valence and arousal, (N, classes + 2).

    Args:
        classes: number of expressions, 8 or 5.
    """

    def __init__(self, classes: int = 8) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2, self.conv3, self.conv4 = _Block(64, 128), _Block(128, 128), _Block(128, WIDTH)
        for n in range(HOURGLASSES):
            self.add_module(f"m{n}", _Hourglass())
            self.add_module(f"top_m_{n}", _Block(WIDTH, WIDTH))
            self.add_module(f"conv_last{n}", nn.Conv2d(WIDTH, WIDTH, 1))
            self.add_module(f"bn_end{n}", nn.BatchNorm2d(WIDTH))
            self.add_module(f"l{n}", nn.Conv2d(WIDTH, LANDMARKS, 1))
        # Every hourglass but the last hands its features and landmarks on.
        self.bl0, self.al0 = nn.Conv2d(WIDTH, WIDTH, 1), nn.Conv2d(LANDMARKS, WIDTH, 1)
        self.conv1x1_input_emo_2 = nn.Conv2d(WIDTH * (HOURGLASSES + 1), WIDTH, 1)
        reading = [part for _ in range(LEVELS) for part in (_Block(WIDTH, WIDTH), nn.MaxPool2d(2))]
        self.emo_net_2 = nn.Sequential(*reading)
        head = (nn.Linear(WIDTH, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, classes + 2))
        self.emo_fc_2 = nn.Sequential(*head)

    def forward(self, faces: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(faces)))
        x = self.conv4(self.conv3(F.max_pool2d(self.conv2(x), 2)))
        first, landmarks = self._stage(0, x)
        handed = self.bl0(first)
        second, landmarks = self._stage(1, x + handed + self.al0(landmarks))
        attention = landmarks.sum(dim=1, keepdim=True)
        read = torch.cat([x, handed * attention, second * attention], dim=1)
        read = self.emo_net_2(self.conv1x1_input_emo_2(read))
        return self.emo_fc_2(F.avg_pool2d(read, 4).flatten(1))

    def _stage(self, n: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features and landmark heat-maps of one hourglass."""
        x = self.get_submodule(f"top_m_{n}")(self.get_submodule(f"m{n}")(x))
        x = F.relu(self.get_submodule(f"bn_end{n}")(self.get_submodule(f"conv_last{n}")(x)))
        return x, self.get_submodule(f"l{n}")(x)


class EmoNet(nn.Module):
    """The network with its crop, frozen.

    Args:
        weights: see the module's text.
    Raises:
        XNeMoError: the file is not that.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        state = read_state(weights, WHAT)
        last = state.get("emo_fc_2.3.bias")
        self.network = EmoNetNetwork(8 if last is None else len(last) - 2)
        fill(self.network, state, weights, WHAT)

    def feel(self, frames: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], faces: FaceMeasures) -> NDArray[np.float64]:
        """Valence and arousal of the face of every picture.

        Args:
            frames: N RGB pictures (H, W, 3), uint8.
            faces: what the landmarker found in them.
        Returns:
            (N, 2), about [-1, 1]; NaN where there is no face.
        """
        return read_faces(
            self, faces, lambda number: emotion_crop(frames[number], faces.points[number]), self._feelings, 2, BATCH
        )

    def _feelings(self, pictures: Tensor) -> Tensor:
        return self.network(pictures / 255)[:, -2:]


def emotion_crop(frame: NDArray[np.uint8], points: NDArray[np.floating]) -> NDArray[np.uint8]:
    """EmoNet's input: a square about the box from the brows to the chin, its side (width + height) / 1.1.

    Args:
        frame: RGB picture, (H, W, 3), uint8.
        points: MediaPipe's mesh in pixels, (478, 2).
    Returns:
        (256, 256, 3), uint8; the picture's edge is repeated beyond it.
    """
    x0, x1 = float(points[:, 0].min()), float(points[:, 0].max())
    y0, y1 = float(points[list(BROWS), 1].min()), float(points[:, 1].max())
    side = max(2, round((x1 - x0 + y1 - y0) / CROP_DIVISOR))
    left, top = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    return crop_face(frame, (left, top, left + side, top + side), SIDE)
