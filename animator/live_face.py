"""A face that comes picture by picture, and its motion at once; nothing of what comes later is known.

`animator.face` follows a face through a whole clip and smooths its place from both sides. Here the same follower and
crops see one picture after the other, and place and size are smoothed from the past alone, which lags by about two
frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from animator.conditions import encode_faces
from animator.face import RATE, Follower, select_face
from animator.face_crop import crop_face, crop_side, place_square
from animator.face_detector import Box, FaceDetector
from animator.pipeline import XNeMoPipeline

# Share of a new measurement in the smoothed place; the mean delay is (1 - share) / share frames.
_NEW_SHARE = 0.3


@dataclass
class _Track:
    """The followed face: its centre x, y and side, smoothed, in the first picture and now, in pixels."""

    follower: Follower
    crop_side: int
    first: NDArray[np.float64]
    now: NDArray[np.float64]


class LiveFace:
    """Motion latents and f_rts of one face, picture by picture.

    Args:
        pipeline: whose motion encoder reads the crops, where the pipeline computes.
        detector: the face detector.
        select: which of several faces in the first picture that shows one, see `animator.face.select_face`.
        fps: pictures a second.
    """

    def __init__(
        self, pipeline: XNeMoPipeline, detector: FaceDetector, select: str | int = "largest", fps: float = RATE
    ) -> None:
        self._encoder, self._device = pipeline.motion_encoder, pipeline.execution_device
        self._detector, self._select, self._fps = detector, select, fps
        self._track: _Track | None = None

    @torch.no_grad()
    def see(self, picture: NDArray[np.uint8]) -> tuple[Tensor, Tensor] | None:
        """Read the next picture.

        Args:
            picture: uint8 (height, width, 3); all of one size.
        Returns:
            Latent (1, 512) and f_rts triplet (1, 3), relative to the first picture with the face; None where the face
            is not found.
        Raises:
            XNeMoError: `select` is neither "largest" nor an index, or an index that the first faces do not have.
        """
        track = self._begin(picture) if self._track is None else self._follow(self._track, picture)
        if track is None:
            return None
        height, width = picture.shape[:2]
        square = place_square(track.now[0], track.now[1], track.crop_side, width, height)
        crop = crop_face(picture, square, self._encoder.config.image_size)
        latents = encode_faces(self._encoder, crop[None], self._device).float().cpu()
        moved = np.append(track.now[:2] - track.first[:2], track.now[2]) / track.first[2]
        return latents, torch.from_numpy(moved).float()[None]

    def _begin(self, picture: NDArray[np.uint8]) -> _Track | None:
        faces = self._detector.detect(picture, everyone=self._select != "largest")
        if not faces:
            return None
        chosen = select_face(faces, self._select)
        place = _place(chosen.box)
        self._track = _Track(Follower(chosen, faces, self._fps), crop_side(chosen.box), place, place)
        return self._track

    def _follow(self, track: _Track, picture: NDArray[np.uint8]) -> _Track | None:
        box = track.follower.find(picture, self._detector)
        if box is None:
            return None
        track.now = track.now + _NEW_SHARE * (_place(box) - track.now)
        return track


def _place(box: Box) -> NDArray[np.float64]:
    """Centre x, y and longer side of a box."""
    x0, y0, x1, y1 = box
    return np.array([(x0 + x1) / 2, (y0 + y1) / 2, max(x1 - x0, y1 - y0)])
