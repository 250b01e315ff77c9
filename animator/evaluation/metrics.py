"""How far result frames are from the true ones: L1, SSIM and LPIPS, all at 256 x 256 (X-NeMo Table 1, left).

Pictures are uint8 RGB, (frames, height, width, 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from animator.errors import XNeMoError
from animator.evaluation.lpips import Lpips
from animator.image import resize
from animator.pixels import from_uint8

SIDE = 256  # pixels; what the paper measures at

Frames = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class PictureErrors:
    """Errors of T frames.

    Attributes:
        l1: mean absolute difference over pixels and channels, 0 to 1, (T,); 0 is identical.
        ssim: structural similarity, -1 to 1, (T,); 1 is identical.
        lpips: LPIPS v0.1 with AlexNet, from 0 up, (T,); 0 is identical.
    """

    l1: NDArray[np.float64]
    ssim: NDArray[np.float64]
    lpips: NDArray[np.float64]

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.l1)

    def means(self) -> dict[str, float]:
        """Mean over the frames of each metric; NaN if there are none."""
        columns = {"l1": self.l1, "ssim": self.ssim, "lpips": self.lpips}
        return {name: float(values.mean()) if len(values) else float("nan") for name, values in columns.items()}

    @staticmethod
    def joined(parts: Sequence[PictureErrors]) -> PictureErrors:
        """Errors of several runs of frames, one after the other."""
        empty = np.zeros(0)
        return PictureErrors(
            np.concatenate([empty, *(part.l1 for part in parts)]),
            np.concatenate([empty, *(part.ssim for part in parts)]),
            np.concatenate([empty, *(part.lpips for part in parts)]),
        )


class PictureMetrics:
    """L1, SSIM and LPIPS of result frames against the true ones.

    Args:
        lpips_weights: LPIPS's AlexNet in one file, see `animator.evaluation.lpips`.
        device: where LPIPS runs.
    Raises:
        XNeMoError: the file is not what it should be.
    """

    def __init__(self, lpips_weights: Path, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.lpips = Lpips(lpips_weights).to(self.device)

    def __call__(self, results: Frames, targets: Frames) -> PictureErrors:
        """Compare frame by frame, at 256 x 256: see `at_measured_size`, `l1`, `ssim` and `lpips_distance`.

        Args:
            results: (T, H, W, 3), uint8.
            targets: (T, H', W', 3), uint8; both square.
        """
        ours, true = at_measured_size(results), at_measured_size(targets)
        return PictureErrors(l1(ours, true), ssim(ours, true), lpips_distance(self.lpips, ours, true, self.device))


def at_measured_size(frames: Frames) -> Frames:
    """Square frames at 256 x 256: Pillow's Lanczos filter on 8-bit RGB where the size differs, untouched where not.

    Raises:
        XNeMoError: the frames are not square, and scaling would distort them.
    """
    height, width = frames.shape[1:3]
    if height != width:
        raise XNeMoError(f"frames of {width} x {height} cannot be compared at {SIDE} x {SIDE}; crop them to squares")
    if height == SIDE:
        return frames
    return np.stack([resize(frame, (SIDE, SIDE)) for frame in frames])


def l1(results: Frames, targets: Frames) -> NDArray[np.float64]:
    """Mean of |result - target| / 255 over all pixels and the three channels (sRGB values, not linear light), (T,)."""
    difference = np.abs(results.astype(np.int16) - targets.astype(np.int16))
    return difference.mean(axis=(1, 2, 3)) / 255


def ssim(results: Frames, targets: Frames) -> NDArray[np.float64]:
    """Structural similarity as Wang et al. (2004) define it, per frame, (T,).

    `skimage.metrics.structural_similarity` on RGB in [0, 1]: Gaussian window of 11 x 11 pixels, sigma 1.5, population
    covariances, K1 = 0.01, K2 = 0.03, data range 1; computed in float32 for each channel, then averaged over the
    channels and over all pixels but the outer 5, where the window would leave the picture.
    """
    ours, true = (frames.astype(np.float32) / 255 for frames in (results, targets))
    return np.array(
        [
            structural_similarity(
                a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=-1
            )
            for a, b in zip(ours, true, strict=True)
        ],
        dtype=np.float64,
    )


def lpips_distance(
    lpips: Lpips, results: Frames, targets: Frames, device: torch.device | str = "cpu"
) -> NDArray[np.float64]:
    """LPIPS v0.1 (AlexNet, learned linear layers, no spatial map) of RGB in [-1, 1], (T,)."""
    with torch.no_grad():
        return lpips(from_uint8(results, device), from_uint8(targets, device)).double().cpu().numpy()
