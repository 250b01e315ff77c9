"""Random heads and motions for `animator.evaluation.head_model`: people and performances whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from animator.evaluation.head_model import HeadModel, Looks, Pose

Array = NDArray[np.float64]

# What a motion is made of: names of expressions that move together. Both sides of a face move alike, but for blinks.
CONTROLS = {
    "jaw open": ("jawOpen",),
    "jaw left": ("jawLeft",),
    "jaw right": ("jawRight",),
    "smile": ("mouthSmile_L", "mouthSmile_R"),
    "frown": ("mouthFrown_L", "mouthFrown_R"),
    "pucker": ("mouthPucker",),
    "funnel": ("mouthFunnel",),
    "mouth left": ("mouthLeft",),
    "mouth right": ("mouthRight",),
    "press": ("mouthPress_L", "mouthPress_R"),
    "stretch": ("mouthStretch_L", "mouthStretch_R"),
    "upper lip up": ("mouthUpperUp_L", "mouthUpperUp_R"),
    "lower lip down": ("mouthLowerDown_L", "mouthLowerDown_R"),
    "cheek puff": ("cheekPuff_L", "cheekPuff_R"),
    "nose sneer": ("noseSneer_L", "noseSneer_R"),
    "blink left": ("eyeBlink_L",),
    "blink right": ("eyeBlink_R",),
    "eyes wide": ("eyeWide_L", "eyeWide_R"),
    "squint": ("eyeSquint_L", "eyeSquint_R"),
    "brows down": ("browDown_L", "browDown_R"),
    "brows up, inside": ("browInnerUp_L", "browInnerUp_R"),
    "brows up, outside": ("browOuterUp_L", "browOuterUp_R"),
    "look left": ("eyeLookOut_L", "eyeLookIn_R"),
    "look right": ("eyeLookIn_L", "eyeLookOut_R"),
    "look up": ("eyeLookUp_L", "eyeLookUp_R"),
    "look down": ("eyeLookDown_L", "eyeLookDown_R"),
}
ANGLES = ("yaw", "pitch", "roll")
RANGES = {"yaw": 30.0, "pitch": 18.0, "roll": 15.0}  # degrees to either side
ACTIVE = 4  # controls that a motion uses, on average


@dataclass(frozen=True, eq=False)
class Head:
    """A person: shape and looks."""

    identity: Array
    looks: Looks


@dataclass(frozen=True, eq=False)
class Motion:
    """What a head does.

    Attributes:
        controls: one value in [0, 1] for each of `CONTROLS`, (26,).
        pose: how the head is turned.
    """

    controls: Array
    pose: Pose

    def values(self) -> Array:
        """Controls and angles in degrees in one row, (29,), in the order of `names`."""
        return np.array([*self.controls, self.pose.yaw, self.pose.pitch, self.pose.roll])


def names() -> list[str]:
    """Names of `Motion.values`."""
    return [*CONTROLS, *ANGLES]


def random_head(model: HeadModel, rng: np.random.Generator, spread: float) -> Head:
    """A head with standard normal identity weights times `spread`, and skin, hair, eyes, light and background."""
    tone = rng.uniform(0.25, 1.0)
    skin = np.array([0.87, 0.68, 0.56]) * tone + np.array([0.05, 0.0, -0.02]) * (1 - tone)
    skin = np.clip(skin + rng.normal(0, 0.02, 3), 0.08, 0.95)
    light = np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.1, 0.7), 1.0])
    looks = Looks(
        skin=_colour(skin),
        lips=_colour(skin * [0.8, 0.5, 0.55] + [0.05, 0.0, 0.0]),
        brows=_colour(rng.uniform(0.05, 0.3) * np.array([1.0, 0.75, 0.6])),
        iris=_colour(rng.uniform([0.1, 0.1, 0.05], [0.4, 0.45, 0.6])),
        background=_colour(rng.uniform(0.1, 0.9, 3)),
        light=light / np.linalg.norm(light),
    )
    return Head(rng.normal(0, spread, model.identities), looks)


def random_motion(rng: np.random.Generator) -> Motion:
    """A motion of a few controls and any pose within `RANGES`."""
    active = rng.random(len(CONTROLS)) < ACTIVE / len(CONTROLS)
    controls = np.where(active, rng.uniform(0.3, 1.0, len(CONTROLS)), 0.0)
    yaw, pitch, roll = (float(rng.uniform(-RANGES[name], RANGES[name])) for name in ANGLES)
    return Motion(controls, Pose(yaw, pitch, roll))


def draw(model: HeadModel, head: Head, motion: Motion, side: int) -> NDArray[np.uint8]:
    """The picture of a head in a motion, (side, side, 3)."""
    expression = np.zeros(len(model.expressions))
    for value, together in zip(motion.controls, CONTROLS.values(), strict=True):
        for name in together:
            expression[model.expressions.index(name)] += value
    return model.picture(head.identity, expression, motion.pose, head.looks, side)


def _colour(values: Array) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in np.clip(values, 0, 1))
    return red, green, blue
