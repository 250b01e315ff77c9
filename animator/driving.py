"""Driving video, or face crops that are ready -> motion latents; pictures are read in passes and not kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animator.conditions import encode_faces
from animator.errors import XNeMoError
from animator.extraction.reading import CROPS, follow_face
from animator.face import FaceDetector, FaceTrack, face_crops
from animator.image import resize
from animator.models.motion_encoder import MotionEncoder
from animator.portrait import Picture, as_array, check_preprocessing
from animator.release_preprocessing import LONGEST
from animator.video import VideoReader


def encode_video(
    encoder: MotionEncoder,
    reader: VideoReader,
    detector: FaceDetector,
    select: str | int,
    max_gap: int | None,
    preprocessing: str,
    device: torch.device,
    progress_bar: Callable[..., Any],
) -> tuple[Tensor, FaceTrack]:
    """Follow a face through a video, then read it again and encode the face of each frame.

    Args:
        encoder: the motion encoder.
        reader: an open video.
        detector: the face detector.
        select, max_gap, preprocessing: see `XNeMoPipeline.encode_motion`.
        device: where the encoder is.
        progress_bar: makes a tqdm bar from `total=`.
    Returns:
        Motion latents, (T, 512), float32 on the CPU, and the face's track.
    """
    check_preprocessing(preprocessing)
    used = min(LONGEST, len(reader)) if preprocessing == "release" else len(reader)
    with progress_bar(total=used) as bar:
        bar.set_description("finding the face")
        track, stop = follow_face(reader, detector, select, max_gap, preprocessing, bar.update)
    with progress_bar(total=len(track)) as bar:
        bar.set_description("reading its motion")
        parts = []
        for crops in face_crops(reader, track, encoder.config.image_size, CROPS, stop):
            parts.append(encode_faces(encoder, crops, device).float().cpu())
            bar.update(len(crops))
    return torch.cat(parts), track


def encode_crops(encoder: MotionEncoder, crops: Iterable[Picture], device: torch.device) -> Tensor:
    """Face crops of any size, each resized to the encoder's square (Lanczos) -> motion latents as in `encode_video`.

    Raises:
        XNeMoError: no crops, or something that is no picture.
    """
    side = encoder.config.image_size
    pictures = (resize(as_array(crop), (side, side)) for crop in crops)
    parts = []
    while batch := list(islice(pictures, CROPS)):
        parts.append(encode_faces(encoder, np.stack(batch), device).float().cpu())
    if not parts:
        raise XNeMoError("there are no face crops to encode")
    return torch.cat(parts)
