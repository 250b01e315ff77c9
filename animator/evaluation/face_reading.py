"""The way of every network that looks at faces: cut out those that were found, ask in batches, NaN for the others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

from animator.evaluation.landmarks import FaceMeasures

BATCH = 32  # faces at once


@torch.no_grad()
def read_faces(
    network: nn.Module,
    faces: FaceMeasures,
    crop: Callable[[int], NDArray[np.uint8]],
    read: Callable[[Tensor], Tensor],
    width: int,
    batch: int = BATCH,
) -> NDArray[np.float64]:
    """Ask a network about the face of every picture.

    Args:
        network: whose device the crops go to.
        faces: what the landmarker found in N pictures.
        crop: the network's input for the picture of a number in which a face was found, RGB, (S, S, 3).
        read: what the network says about crops (n, 3, S, S), RGB from 0 to 255: (n, width).
        width: numbers a face.
        batch: faces at once.
    Returns:
        (N, width); NaN where there is no face.
    """
    device = next(tensor.device for tensor in network.state_dict().values())
    found = np.flatnonzero(faces.found)
    said = np.full((len(faces), width), np.nan)
    for start in range(0, len(found), batch):
        chosen = found[start : start + batch].tolist()
        crops = torch.from_numpy(np.stack([crop(number) for number in chosen]))
        said[chosen] = read(rearrange(crops, "n h w c -> n c h w").float().to(device)).double().cpu().numpy()
    return said
