"""What a face does, frame by frame, as MediaPipe's Face Landmarker sees it: blendshapes, head angles, mouth opening.

Every frame is looked at on its own, without tracking, so that no frame is helped by its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animator.mediapipe_tasks import LandmarkerTask

# Numbers of MediaPipe's 478-point mesh.
UPPER_INNER_LIP, LOWER_INNER_LIP = 13, 14
FOREHEAD, CHIN = 10, 152

BLENDSHAPES = 52
POINTS = 478


@dataclass(frozen=True, eq=False)
class FaceMeasures:
    """One face in T frames. Frames in which none was found are NaN everywhere and False in `found`.

    Attributes:
        found: (T,), bool.
        blendshapes: (T, 52), 0 to 1.
        angles: yaw, pitch and roll of the head in degrees, (T, 3), see `head_angles`.
        mouth: opening of the mouth, (T,): distance of the inner lips (points 13 and 14) over the height of the face
            (points 10 and 152), in the picture plane, so that neither size nor resolution matters.
        boxes: the landmarks' bounding box (x0, y0, x1, y1), (T, 4), in pixels.
        points: x and y of the mesh's points in pixels, (T, 478, 2), float32.
        names: the blendshapes' names, 52; empty if no face was found in any frame.
    """

    found: NDArray[np.bool_]
    blendshapes: NDArray[np.float64]
    angles: NDArray[np.float64]
    mouth: NDArray[np.float64]
    boxes: NDArray[np.float64]
    points: NDArray[np.float32]
    names: tuple[str, ...]

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.found)

    @property
    def missing(self) -> int:
        """Number of frames in which no face was found."""
        return int((~self.found).sum())

    def blendshape(self, *names: str) -> NDArray[np.float64]:
        """Mean of the named blendshapes, (T,).

        Raises:
            ValueError: there is no such blendshape.
        """
        if not self.names:  # nothing was found, and nothing says how the columns are called
            return np.full(len(self), np.nan)
        return self.blendshapes[:, [self.names.index(name) for name in names]].mean(axis=1)

    def at(self, frames: Sequence[int] | NDArray[np.integer[Any]] | slice) -> FaceMeasures:
        """The measures of some of the frames, in the order that is given."""
        return FaceMeasures(
            self.found[frames],
            self.blendshapes[frames],
            self.angles[frames],
            self.mouth[frames],
            self.boxes[frames],
            self.points[frames],
            self.names,
        )

    @staticmethod
    def joined(parts: Sequence[FaceMeasures]) -> FaceMeasures:
        """Measures of several runs of frames, one after the other; at least one."""
        return FaceMeasures(
            np.concatenate([part.found for part in parts]),
            np.concatenate([part.blendshapes for part in parts]),
            np.concatenate([part.angles for part in parts]),
            np.concatenate([part.mouth for part in parts]),
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.points for part in parts]),
            next((part.names for part in parts if part.names), ()),
        )


class FaceLandmarker(LandmarkerTask):
    """MediaPipe Face Landmarker (478 points, 52 blendshapes, head matrix) for one face a picture.

    Args:
        model: the task bundle, `face_landmarker.task`.
    Raises:
        XNeMoError: the file cannot be read or used, or MediaPipe cannot be loaded on this machine.
    """

    def __init__(self, model: str | Path) -> None:
        super().__init__(Path(model), faces=1)

    def measure(self, frames: Iterable[NDArray[np.uint8]]) -> FaceMeasures:
        """Measure the face in every frame.

        Args:
            frames: RGB pictures (H, W, 3), uint8: an array (T, H, W, 3), or any other row of pictures.
        """
        found, blendshapes, angles, mouth, boxes, meshes = [], [], [], [], [], []
        names: tuple[str, ...] = ()
        for frame in frames:
            seen = self._look_at(frame)
            found.append(bool(seen.face_landmarks))
            if not found[-1]:
                blendshapes.append(np.full(BLENDSHAPES, np.nan))
                angles.append(np.full(3, np.nan))
                mouth.append(np.nan)
                boxes.append(np.full(4, np.nan))
                meshes.append(np.full((POINTS, 2), np.nan, np.float32))
                continue
            height, width = frame.shape[:2]
            points = np.array([(point.x * width, point.y * height) for point in seen.face_landmarks[0]])
            shapes = seen.face_blendshapes[0]
            names = tuple(shape.category_name for shape in shapes)
            blendshapes.append(np.array([shape.score for shape in shapes]))
            angles.append(head_angles(np.asarray(seen.facial_transformation_matrixes[0])))
            mouth.append(mouth_opening(points))
            boxes.append(np.concatenate([points.min(axis=0), points.max(axis=0)]))
            meshes.append(points.astype(np.float32))
        return FaceMeasures(
            np.array(found, dtype=bool),
            np.array(blendshapes).reshape(-1, BLENDSHAPES),  # also where there are no frames at all
            np.array(angles).reshape(-1, 3),
            np.array(mouth, dtype=np.float64),
            np.array(boxes).reshape(-1, 4),
            np.array(meshes, np.float32).reshape(-1, POINTS, 2),
            names,
        )


def head_angles(matrix: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Yaw, pitch and roll of a head in degrees, (3,).

    The rotation R takes the canonical face (x to its left ear, which the picture shows on the right; y up; z out of the
    face) to the camera (x right, y up, z towards the viewer). It is read as R = Ry(yaw) Rx(pitch) Rz(roll): yaw is
    positive for a face that turns to the picture's right, pitch for one that looks down, roll for one that tilts
    counter-clockwise in the picture. All are 0 for a face that looks straight into the camera.

    Args:
        matrix: the face's transformation matrix, (4, 4) or (3, 3), acting on column vectors; a scale does not matter.
    """
    rotation = np.asarray(matrix, dtype=np.float64)[:3, :3]
    rotation = rotation / np.linalg.norm(rotation, axis=0)
    yaw = np.arctan2(rotation[0, 2], rotation[2, 2])
    pitch = np.arcsin(np.clip(-rotation[1, 2], -1, 1))
    roll = np.arctan2(rotation[1, 0], rotation[1, 1])
    return np.degrees([yaw, pitch, roll])


def mouth_opening(points: NDArray[np.float64]) -> float:
    """Distance of the inner lips over the height of the face, from the mesh's points (478, 2) in pixels."""
    opening = np.linalg.norm(points[UPPER_INNER_LIP] - points[LOWER_INNER_LIP])
    return float(opening / np.linalg.norm(points[FOREHEAD] - points[CHIN]))
