"""What the networks see in frames; a frame that was seen before is not looked at again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from animator.evaluation.landmarks import FaceMeasures
from animator.evaluation.networks import Networks

REMEMBERED = 2048  # frames; the measures of one take 8 KB


@dataclass(frozen=True, eq=False)
class Observation:
    """One face in T frames.

    Attributes:
        face: what it does.
        emotion: its valence and arousal, (T, 2); NaN where none was found.
    """

    face: FaceMeasures
    emotion: NDArray[np.float64]

    @staticmethod
    def joined(parts: list[Observation]) -> Observation:
        """Observations of several runs of frames, one after the other; at least one."""
        return Observation(
            FaceMeasures.joined([part.face for part in parts]), np.concatenate([part.emotion for part in parts])
        )


class Observer:
    """Looks at frames with a set of networks.

    Every network looks at each frame on its own, so the same frame gives the same answer: a copied portrait is looked
    at once, however many frames show it, and a copied driver not again.
    """

    def __init__(self, networks: Networks) -> None:
        self.networks = networks
        self._seen: OrderedDict[bytes, Observation] = OrderedDict()

    def look(self, frames: NDArray[np.uint8]) -> Observation:
        """Look at frames (T, H, W, 3), T at least 1."""
        keys = [hashlib.blake2b(frame.tobytes(), digest_size=16).digest() for frame in frames]
        new = {key: n for n, key in enumerate(keys) if key not in self._seen}
        if new:
            chosen = list(new.values())
            face = self.networks.landmarker.measure(frames[chosen])
            emotion = self.networks.emotion.feel(frames[chosen], face)
            for n, key in enumerate(new):
                self._seen[key] = Observation(face.at([n]), emotion[[n]])
        found = Observation.joined([self._seen[key] for key in keys])
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return found

    def describe(self, frames: NDArray[np.uint8], face: FaceMeasures) -> NDArray[np.float64]:
        """Whose face it is, (T, D), see `IdentityNetwork.describe`."""
        return self.networks.identity.describe(frames, face)
