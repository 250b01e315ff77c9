"""Face measures with chosen values, for metrics whose result can be worked out."""

from __future__ import annotations

import numpy as np

from animator.evaluation.landmarks import BLENDSHAPES, POINTS, FaceMeasures


def made_face(frames: int, height: float = 100.0) -> FaceMeasures:
    """A face at rest, looking ahead, its landmarks all in the middle of a box of the given height."""
    box = np.array([100.0, 100, 180, 100 + height])
    return FaceMeasures(
        found=np.ones(frames, bool),
        blendshapes=np.zeros((frames, BLENDSHAPES)),
        angles=np.zeros((frames, 3)),
        mouth=np.zeros(frames),
        boxes=np.repeat(box[None], frames, axis=0),
        points=np.full((frames, POINTS, 2), 128, np.float32),
        names=tuple(f"shape{n}" for n in range(BLENDSHAPES)),
    )


def lose(face: FaceMeasures, *frames: int) -> FaceMeasures:
    """The same with no face in some frames."""
    lost = list(frames)
    parts = [part.copy() for part in (face.blendshapes, face.angles, face.mouth, face.boxes, face.points)]
    for part in parts:
        part[lost] = np.nan
    found = face.found.copy()
    found[lost] = False
    return FaceMeasures(found, *parts, face.names)
