"""Labels of training frames: MediaPipe's Face Landmarker, one picture at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from animator.errors import XNeMoError
from animator.face_detector import Box
from animator.mediapipe_tasks import LandmarkerTask

# Whose landmarks are meant is decided by place, so more than one person may be in the picture.
_MOST_FACES = 4
WHERE = (
    "fetch face_landmarker.task by hand (ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker, Models) and "
    "name it with landmarker=FILE"
)


@dataclass(frozen=True, eq=False)
class FaceLabels:
    """What is known about the face in one picture; predictions of a network, not measurements.

    Attributes:
        landmarks: mesh points x, y in [0, 1] of the picture (a little beyond where the face is cut off), (478, 2).
        blendshapes: how far each of 52 expressions is done, in [0, 1], (52,).
        rotation: from the canonical face to the camera, (3, 3).
        blendshape_names: what the 52 are called.
    """

    landmarks: np.ndarray
    blendshapes: np.ndarray
    rotation: np.ndarray
    blendshape_names: tuple[str, ...]


class FaceLabeller(LandmarkerTask):
    """Labels one face a picture by MediaPipe's Face Landmarker; every frame by itself.

    Args:
        path: `face_landmarker.task`; None is the user's omission and says where to get it.
    Raises:
        XNeMoError: no file, not this kind of file, or MediaPipe cannot be loaded on this machine.
    """

    def __init__(self, path: Path | None) -> None:
        if path is None:
            raise XNeMoError(f"prepare needs MediaPipe's Face Landmarker: {WHERE}")
        if not path.is_file():
            raise XNeMoError(f"{path}: no such file; {WHERE}")
        super().__init__(path, _MOST_FACES)

    def label(self, picture: np.ndarray, box: Box) -> FaceLabels | None:
        """Label one face of a picture.

        Args:
            picture: RGB, (H, W, 3), uint8.
            box: where the face is, (x0, y0, x1, y1) in pixels; of several faces the one in this box is meant.
        Returns:
            The labels, or None where no face's mesh is centred in the box.
        """
        height, width = picture.shape[:2]
        result = self._look_at(picture)
        meshes = [np.array([(p.x, p.y) for p in mesh], np.float32) for mesh in result.face_landmarks]
        low, high = np.array(box[:2]) / (width, height), np.array(box[2:]) / (width, height)
        distances = [float(np.abs((mesh.mean(axis=0) - (low + high) / 2) / (high - low)).max()) for mesh in meshes]
        if not distances or min(distances) > 0.5:
            return None
        chosen = int(np.argmin(distances))
        shapes = result.face_blendshapes[chosen]
        return FaceLabels(
            landmarks=meshes[chosen],
            blendshapes=np.array([shape.score for shape in shapes], np.float32),
            rotation=np.array(result.facial_transformation_matrixes[chosen], np.float32)[:3, :3],
            blendshape_names=tuple(shape.category_name for shape in shapes),
        )
