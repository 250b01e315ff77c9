"""Face crops that come from somewhere -> the motion of a clip, and of its mirror image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from animator.builders import load_motion_encoder, resolve_device
from animator.conditions import encode_faces
from animator.config import ExtractConfig
from animator.extraction.reading import ClipStart, ReadSettings, open_clip
from animator.face import FaceDetector
from animator.models.identity import encoder_id
from animator.models.motion_encoder import MotionEncoder
from animator.motion_clip import MotionClip


@dataclass(frozen=True, eq=False)
class ClipMotion:
    """What is extracted from one clip.

    Attributes:
        motion: at the dataset's frame rate.
        mirrored: the motion of the pictures flipped left to right; None if not wanted.
        sound: float32 (samples,) at 16 kHz, None if there is none.
        frames: how many pictures were read.
    """

    motion: MotionClip
    mirrored: MotionClip | None
    sound: np.ndarray | None
    frames: int


class ClipEncoder:
    """Encodes one clip at a time, a batch of crops after the other.

    The batches never hold frames of two clips: what a clip's latents are, to the last bit, must not depend on which
    clip came before it, or a run that was interrupted would end with another dataset.

    Args:
        encoder: the motion encoder.
        device: where it is.
        fps: frames a second of the result.
        mirror: whether the flipped pictures are encoded too.
    """

    def __init__(self, encoder: MotionEncoder, device: torch.device, fps: float, mirror: bool) -> None:
        self.encoder = encoder
        self.encoder_id = encoder_id(encoder)
        self.device = device
        self.fps = fps
        self.mirror = mirror

    @torch.no_grad()
    def encode(self, crops: np.ndarray) -> tuple[Tensor, ...]:
        """Latents (n, 512) of crops (n, S, S, 3), uint8, and if mirrored copies are wanted theirs."""
        views = [crops, np.ascontiguousarray(crops[:, :, ::-1])] if self.mirror else [crops]
        return tuple(encode_faces(self.encoder, view, self.device).float().cpu() for view in views)

    def finish(self, path: Path, start: ClipStart, parts: list[tuple[Tensor, ...]]) -> ClipMotion:
        """Put together what `encode` gave for the crops of a clip, in order."""
        latents = [torch.cat(part) for part in zip(*parts, strict=True)]
        boxes = torch.from_numpy(start.boxes)
        motion = self._clip(path, start, latents[0], boxes, start.crop)
        if not self.mirror:
            return ClipMotion(motion, None, start.sound, len(boxes))
        x, y, width, height = start.crop
        other = self._clip(
            path, start, latents[1], boxes * torch.tensor([-1, 1, 1]), (start.width - x - width, y, width, height)
        )
        return ClipMotion(motion, other, start.sound, len(boxes))

    def _clip(
        self, path: Path, start: ClipStart, latents: Tensor, boxes: Tensor, crop: tuple[int, int, int, int]
    ) -> MotionClip:
        clip = MotionClip(latents, boxes, start.fps, self.encoder_id, path.name, start.sha256, crop)
        return clip if clip.fps == self.fps else clip.resample(self.fps)


def load_encoder(config: ExtractConfig) -> ClipEncoder:
    """The motion encoder that the settings name, ready for clips.

    Raises:
        XNeMoError: no such weights or device, or damaged files.
    """
    return ClipEncoder(load_motion_encoder(config), resolve_device(config.device), config.fps, config.mirror)


class ClipCollector:
    """Encodes in this process what a worker reads of one clip, as `ReadJob` sends it."""

    def __init__(self, path: Path, encoder: ClipEncoder) -> None:
        self.path = path
        self.encoder = encoder
        self.start: ClipStart | None = None
        self.parts: list[tuple[Tensor, ...]] = []

    def take(self, piece: Any) -> None:
        """What is known of the clip, then its crops, (n, S, S, 3), uint8, in order."""
        if isinstance(piece, ClipStart):
            self.start = piece
        else:
            self.parts.append(self.encoder.encode(piece))

    def result(self) -> ClipMotion:
        """The clip's motion."""
        assert self.start is not None
        return self.encoder.finish(self.path, self.start, self.parts)


@dataclass(frozen=True)
class EncodeJob:
    """Reads and encodes clips in one process, for workers that have networks of their own.

    Attributes:
        config: names the weights, which must be found under that path on every machine.
        settings: how clips are read.
        threads: of torch in the worker; None: as many as torch finds best.
    """

    config: ExtractConfig
    settings: ReadSettings
    threads: int | None = None

    def start(self) -> Callable[[Path], Iterator[ClipMotion]]:
        """Load the networks; gives a function from a video to its motion."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        encoder, detector = load_encoder(self.config), FaceDetector(min_score=self.settings.min_score)

        def encode(path: Path) -> Iterator[ClipMotion]:
            with open_clip(path, self.settings, detector) as (start, crops):
                yield encoder.finish(path, start, [encoder.encode(batch) for batch in crops])

        return encode
