"""A parametric head (ICT-FaceKit) and its picture: identity, expression, pose and looks in, pixels out.

Vertex = neutral + sum of identity weights x identity deltas + sum of expression weights x expression deltas. The model
has no texture; lips and brows are coloured where the deltas of their expressions move most. Shading is Lambert's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animator.errors import XNeMoError
from animator.evaluation.rasteriser import rasterise

Array = NDArray[np.float64]
Colour = tuple[float, float, float]

CAMERA = 75.0  # from the head's middle to the camera, in the model's units (about centimetres)
FIELD = 33.0  # what the picture shows at the head's middle, in the same units
MIDDLE = np.array([0.0, -1.5, 2.0])  # what the head turns about, and the picture's middle
AMBIENT = 0.35
IRIS = 0.6  # radius of what is seen of an iris
# Tear film, lashes and the like are transparent or thin, and would hide the eyes.
DRAWN = {
    "M_Face": "skin",
    "M_BackHead": "skin",
    "M_GumsTongue": "gums",
    "M_Teeth": "teeth",
    "M_ScleraLeft": "sclera",
    "M_ScleraRight": "sclera",
    "M_IrisLeft": "iris",
    "M_IrisRight": "iris",
}
GUMS, TEETH, SCLERA = (0.45, 0.16, 0.17), (0.85, 0.83, 0.78), (0.88, 0.87, 0.86)
LIPS_FROM = ("mouthRollUpper", "mouthRollLower")
BROWS_FROM = ("browDown_L", "browDown_R")


@dataclass(frozen=True, eq=False)
class Looks:
    """What a head looks like beside its shape: RGB in [0, 1], and where its light comes from (a unit vector)."""

    skin: Colour
    lips: Colour
    brows: Colour
    iris: Colour
    background: Colour
    light: Array


@dataclass(frozen=True)
class Pose:
    """Angles of a head in degrees, as in `animator.evaluation.landmarks.head_angles`."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    def matrix(self) -> Array:
        """Ry(yaw) Rx(pitch) Rz(roll), (3, 3)."""
        a, b, c = np.radians([self.yaw, self.pitch, self.roll])
        ry = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        rx = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
        rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
        return ry @ rx @ rz


class HeadModel:
    """The model in memory.

    Args:
        path: ICT-FaceKit's light model as one npz, see docs/evaluation.md.
    Attributes:
        expressions: names of the expression weights, 57.
        identities: number of identity weights, 50.
    Raises:
        XNeMoError: the file is not that.
    """

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as found:
                self._neutral = found["neutral"].astype(np.float64)
                self._expression = found["expression_deltas"].astype(np.float32)
                self._identity = found["identity_deltas"].astype(np.float32)
                self.expressions = tuple(str(name) for name in found["expression_names"])
                quads, material = found["quads"], found["quad_material"].astype(int)
                names = [str(name) for name in found["materials"]]
        except (OSError, ValueError, KeyError) as error:
            raise XNeMoError(f"{path}: not the ICT-FaceKit model ({type(error).__name__}: {error})") from error
        self.identities = len(self._identity)
        kept = np.isin(material, [names.index(name) for name in DRAWN])
        quads, material = quads[kept], material[kept]
        self._triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
        self._parts = np.array([DRAWN.get(name, "") for name in names])[np.concatenate([material, material])]
        self._uncover_irises()
        self._lips, self._brows = self._region(LIPS_FROM, 0.45), self._region(BROWS_FROM, 0.8)

    def picture(self, identity: Array, expression: Array, pose: Pose, looks: Looks, side: int) -> NDArray[np.uint8]:
        """Draw a head.

        Args:
            identity: weights, (50,); standard normal for a random person.
            expression: weights in [0, 1], (57,), in the order of `expressions`.
            pose: how it is turned.
            looks: its colours and light.
            side: of the picture in pixels.
        Returns:
            (side, side, 3), uint8.
        """
        shape = (
            self._neutral + np.tensordot(identity, self._identity, 1) + np.tensordot(expression, self._expression, 1)
        )
        points = (shape - MIDDLE) @ pose.matrix().T
        corners = points[self._triangles]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        # Seen from the camera, and not from behind: the side that is turned to it.
        to_camera = np.array([0, 0, CAMERA]) - corners[:, 0]
        facing = np.einsum("fc,fc->f", normals, to_camera) > 0
        corners, normals = corners[facing], normals[facing]
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
        light = AMBIENT + (1 - AMBIENT) * np.clip(normals @ looks.light, 0, None)
        depth = CAMERA - corners[..., 2]
        scale = side / FIELD * CAMERA / depth
        flat = np.stack([side / 2 + corners[..., 0] * scale, side / 2 - corners[..., 1] * scale], axis=-1)
        colours = self._colours(looks)[facing] * light[:, None]
        return rasterise(flat, depth, colours, side, looks.background)

    def _colours(self, looks: Looks) -> Array:
        """Colour of each triangle, (F, 3)."""
        fixed = {"skin": looks.skin, "gums": GUMS, "teeth": TEETH, "sclera": SCLERA, "iris": looks.iris}
        colours = np.empty((len(self._triangles), 3))
        for part, colour in fixed.items():
            colours[self._parts == part] = colour
        skin = (self._parts == "skin")[:, None]
        for weights, colour in ((self._lips, looks.lips), (self._brows, looks.brows)):
            amount = weights[self._triangles].mean(axis=1)[:, None] * skin
            colours = colours * (1 - amount) + np.array(colour) * amount
        return colours

    def _uncover_irises(self) -> None:
        """Leave out the cornea, which belongs to the sclera's mesh and would hide the iris behind it."""
        centres = self._neutral[self._triangles].mean(axis=1)
        covering = np.zeros(len(centres), bool)
        for left in (True, False):
            eye = (centres[:, 0] > 0) == left
            iris = centres[eye & (self._parts == "iris")]
            middle = iris.mean(axis=0)
            over = np.linalg.norm(centres[:, :2] - middle[:2], axis=1) < IRIS
            over &= centres[:, 2] > iris[:, 2].min()
            covering |= eye & over & (self._parts == "sclera")
        self._triangles, self._parts = self._triangles[~covering], self._parts[~covering]

    def _region(self, names: tuple[str, ...], threshold: float) -> Array:
        """How much each vertex belongs to what some expressions move, (V,), in [0, 1]: 0 below the threshold."""
        moved = np.zeros(len(self._neutral))
        for name in names:
            length = np.linalg.norm(self._expression[self.expressions.index(name)], axis=1)
            moved = np.maximum(moved, length / length.max())
        return np.clip((moved - threshold) / (1 - threshold) * 2, 0, 1)
