"""How far the look and movement of many result videos are from those of their drivers, as a set: like FVD, and not FVD.

FVD needs the I3D network and thousands of clips. Here AlexNet, the network of LPIPS, looks at each frame; a run of
`RUN` frames is described by the mean of its features over time and by the mean of their |change|, so that stillness and
flicker show. The distance of the two sets is the squared maximum mean discrepancy with the polynomial kernel of KID,
(x . y / d + 1)^3. Runs of one clip, and a result and its own driver, are never compared with each other: they are
alike, which says nothing about the sets. So equal sets give 0 exactly, and two samples of one thing 0 on average.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from animator.evaluation.lpips import Lpips
from animator.pixels import from_uint8

NAME = "AlexNet video distance"
RUN = 16  # frames
LEAST_CLIPS = 8  # with fewer the number says nothing

Array = NDArray[np.float64]


def describe_run(lpips: Lpips, frames: NDArray[np.uint8], device: torch.device | str = "cpu") -> Array:
    """Describe a run of frames.

    Args:
        lpips: whose AlexNet is used.
        frames: (T, H, W, 3), T at least 2.
    Returns:
        Mean over time and mean |change| of the last layer's features, each averaged over the picture, (512,).
    """
    with torch.no_grad():
        features = lpips.features(from_uint8(frames, device))[-1].mean(dim=(2, 3))
    change = (features[1:] - features[:-1]).abs().mean(dim=0)
    return torch.cat([features.mean(dim=0), change]).double().cpu().numpy()


def video_distance(results: Sequence[Array], drivers: Sequence[Array]) -> float:
    """The distance of two sets of runs.

    Args:
        results, drivers: for each clip the runs of the result, or of its driver, (n, D); clips come in the same order.
    Returns:
        1000 x the discrepancy of features scaled to the drivers' mean length sqrt(D); below 0 by chance at most; NaN
        for fewer than `LEAST_CLIPS` clips of a run or more.
    Raises:
        ValueError: a clip has more runs in one set than in the other.
    """
    counts = [len(runs) for runs in results]
    if counts != [len(runs) for runs in drivers]:
        raise ValueError("each clip must have as many runs in both sets")
    if sum(count > 0 for count in counts) < LEAST_CLIPS:
        return float("nan")
    ours, theirs = np.concatenate(results), np.concatenate(drivers)
    clips = np.repeat(np.arange(len(counts)), counts)
    apart = clips[:, None] != clips
    scale = np.sqrt(ours.shape[1]) / np.linalg.norm(theirs, axis=1).mean()
    x, y = ours * scale, theirs * scale
    return 1000 * float((_kernel(x, x) + _kernel(y, y) - 2 * _kernel(x, y))[apart].mean())


def _kernel(a: Array, b: Array) -> Array:
    return (a @ b.T / a.shape[1] + 1) ** 3
