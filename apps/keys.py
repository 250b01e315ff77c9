"""Key frames as the command line names them -> motion of one frame each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from animator.config import RenderConfig
from animator.errors import XNeMoError
from animator.face import FaceDetector
from animator.face_crop import CROP_SCALE
from animator.keyframes import KeySource, frame_of
from animator.motion_clip import SUFFIX, MotionClip
from animator.pipeline import XNeMoPipeline
from apps.animation import open_video, prepare_portrait, read_motion

Square = NDArray[np.float64]


class KeyReader:
    """Reads keys with one pipeline.

    The head of a key from a motion file is where the file has it. The head of a picture is in place, (0, 0, 1), for one
    picture does not say where a head belongs; so is that of a video's first key, and further keys of the same video are
    placed relative to that.

    Args:
        pipeline: the animator.
        detector: the face detector.
        config: settings.
    """

    def __init__(self, pipeline: XNeMoPipeline, detector: FaceDetector, config: RenderConfig) -> None:
        self._pipeline, self._detector, self._config = pipeline, detector, config
        self._first: dict[str, Square] = {}

    def read(self, key: KeySource) -> MotionClip:
        """The motion of one key, a clip of one frame.

        Raises:
            XNeMoError: no such file, frame or time; no face there; or motion of another encoder.
        """
        if key.frame is not None or key.path.endswith(SUFFIX):
            return frame_of(MotionClip.load(key.path, self._pipeline.encoder_id), key)
        return self._of_picture(key.path) if key.seconds is None else self._of_video(key.path, key.seconds)

    def _of_picture(self, path: str) -> MotionClip:
        pictures = prepare_portrait(self._pipeline, path, self._config, self._detector)
        motion = self._pipeline.encode_motion_crops([pictures.face])
        return MotionClip(motion.latents, motion.boxes, motion.fps, motion.encoder_id, source=Path(path).name)

    def _of_video(self, path: str, seconds: float) -> MotionClip:
        with open_video(path, self._config) as reader:
            frame, fps = round(seconds * reader.info.fps), reader.info.fps
            if frame >= len(reader):
                raise XNeMoError(f"{path}@{seconds:g}: the video is only {len(reader) / fps:.2f} s long")
            with reader.part(frame, frame + 1) as part:
                try:
                    motion = read_motion(self._pipeline, part, self._config.face, self._detector)
                except XNeMoError as error:
                    raise XNeMoError(f"{path}@{seconds:g}: {error}") from error
        assert motion.crop is not None  # it was read from a picture
        x, y, width, height = motion.crop
        here = np.array([x + width / 2, y + height / 2, width])
        first = self._first.setdefault(path, here)
        # Displacements are in sides of the face's box, of which the crop has CROP_SCALE.
        moved = np.append((here[:2] - first[:2]) * (CROP_SCALE / first[2]), here[2] / first[2])
        return MotionClip(
            motion.latents,
            torch.from_numpy(moved).float()[None],
            motion.fps,
            motion.encoder_id,
            motion.source,
            motion.source_sha256,
        )
