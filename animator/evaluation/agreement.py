"""Does the result do what the driver does, in numbers of the paper: AED, APD and the correlations behind EMO-SIM.

A frame in which the driver's face was not found says nothing and does not count. A frame in which only the result's was
not found is not dropped: it counts as a face at rest that looks into the camera (no blendshape, no angle, no emotion).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from animator.evaluation.landmarks import FaceMeasures

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MotionErrors:
    """How far expression and head pose of a result are from its driver's.

    Attributes:
        aed: average expression distance: |difference| of the 52 blendshapes, mean over the 52 and over frames, 0 to 1.
        apd: average pose distance: |difference| of yaw, pitch and roll in degrees (`landmarks.head_angles`), mean over
            the three and over frames. Angles are absolute: the driver's head against the result's, not their movement.
        yaw, pitch, roll: the three by themselves.
        frames: number of frames that count.
        missing: number of those in which the result's face was not found.
    """

    aed: float
    apd: float
    yaw: float
    pitch: float
    roll: float
    frames: int
    missing: int


def motion_errors(driver: FaceMeasures, result: FaceMeasures) -> MotionErrors:
    """AED and APD of a result, frame by frame.

    Raises:
        ValueError: they differ in length.
    """
    if len(driver) != len(result):
        raise ValueError(f"the driver has {len(driver)} frames, the result {len(result)}")
    seen = driver.found
    if not seen.any():
        nan = float("nan")
        return MotionErrors(nan, nan, nan, nan, nan, 0, 0)
    blendshapes = np.abs(driver.blendshapes[seen] - at_rest(result.blendshapes[seen]))
    turned = driver.angles[seen] - at_rest(result.angles[seen])
    angles = np.abs((turned + 180) % 360 - 180)
    yaw, pitch, roll = (float(value) for value in angles.mean(axis=0))
    return MotionErrors(
        float(blendshapes.mean()),
        float(angles.mean()),
        yaw,
        pitch,
        roll,
        int(seen.sum()),
        int((~result.found[seen]).sum()),
    )


def at_rest(values: Array) -> Array:
    """What a lost face counts as: 0."""
    return np.nan_to_num(values, nan=0.0)


@dataclass(frozen=True)
class Moments:
    """Sums over paired numbers x (driver) and y (result), from which correlations follow; those of clips add up.

    Attributes:
        values: number of pairs and the sums of x, y, x x, y y and x y, (..., 6).
    """

    values: Array

    @classmethod
    def of(cls, x: Array, y: Array) -> Moments:
        """Moments of two rows of numbers."""
        return cls(np.array([len(x), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()], np.float64))

    def _central(self) -> tuple[Array, Array, Array, Array]:
        n, x, y, xx, yy, xy = np.moveaxis(self.values, -1, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return x / n - y / n, _clean(xx / n - (x / n) ** 2), _clean(yy / n - (y / n) ** 2), xy / n - x * y / n**2

    def pearson(self) -> Array:
        """Pearson's correlation; 0 where one of the two does not vary."""
        _, x_variance, y_variance, covariance = self._central()
        return _ratio(covariance, np.sqrt(x_variance * y_variance))

    def concordance(self) -> Array:
        """Lin's concordance correlation 2 cov / (var x + var y + (mean x - mean y)^2), with population variances."""
        between, x_variance, y_variance, covariance = self._central()
        return _ratio(2 * covariance, x_variance + y_variance + between**2)


def emotion_moments(driver: Array, result: Array) -> tuple[Moments, Moments]:
    """Moments of valence and of arousal of a clip, from (T, 2) each; NaN where no face was found."""
    seen = ~np.isnan(driver).any(axis=1)
    ours = at_rest(result[seen])
    valence, arousal = (Moments.of(driver[seen, n], ours[:, n]) for n in range(2))
    return valence, arousal


def emotion_similarity(valence: Moments, arousal: Moments) -> Array:
    """The paper's EMO-SIM: mean of concordance and Pearson correlation of valence and of arousal."""
    return (valence.concordance() + valence.pearson() + arousal.concordance() + arousal.pearson()) / 4


def _clean(variance: Array) -> Array:
    """A variance from sums, in which rounding may leave a trace of one."""
    return np.where(variance < 1e-12, 0.0, variance)


def _ratio(a: Array, b: Array) -> Array:
    return np.divide(a, b, out=np.zeros_like(np.asarray(b, np.float64)), where=np.asarray(b) > 0)
