"""The networks that metrics are computed with: found on disk, hashed, loaded, and called by their own names."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from animator.asset_manifest import MEASURING, MeasuringNetwork, measuring_home
from animator.errors import XNeMoError
from animator.evaluation.arcface import ArcFace
from animator.evaluation.emonet import EmoNet
from animator.evaluation.expressions import FaceExpressions
from animator.evaluation.identity import FaceIdentity
from animator.evaluation.landmarks import FaceLandmarker, FaceMeasures
from animator.evaluation.metrics import PictureMetrics
from animator.files import sha256_of

Frames = NDArray[np.uint8]


class IdentityNetwork(Protocol):
    """Describes whose face it is."""

    def describe(self, frames: Sequence[Frames] | Frames, faces: FaceMeasures) -> NDArray[np.float64]:
        """Descriptors (N, D) of the faces in N frames, NaN where none was found; a cosine compares two."""
        ...


class EmotionNetwork(Protocol):
    """Reads a face's emotion."""

    def feel(self, frames: Sequence[Frames] | Frames, faces: FaceMeasures) -> NDArray[np.float64]:
        """Valence and arousal, each in about [-1, 1], of the faces in N frames, (N, 2); NaN where none was found."""
        ...


@dataclass(frozen=True)
class NetworkFile:
    """One network of a report.

    Attributes:
        name: its own name, from the manifest.
        path: the file.
        sha256: of the file.
        stands_for: the paper's network that it is used instead of, None if it is the paper's own.
        figure: what its figure is called in tables, see `MeasuringNetwork`.
        known: the file is the one that the manifest lists; False for any file that a user brought.
    """

    name: str
    path: Path
    sha256: str
    stands_for: str | None
    figure: str
    known: bool

    def plain(self) -> dict[str, Any]:
        """For JSON: the path without the user's folders."""
        return asdict(self) | {"path": self.path.name}


@dataclass(frozen=True)
class NetworkFiles:
    """The files behind a whole evaluation; what each is for is in `animator.asset_manifest.MEASURING`."""

    lpips: NetworkFile
    landmarks: NetworkFile
    identity: NetworkFile
    emotion: NetworkFile

    @property
    def folder(self) -> Path:
        """Where the landmarker lies, and with it whatever else was found in one folder."""
        return self.landmarks.path.parent

    def plain(self) -> dict[str, Any]:
        """For JSON: role -> network."""
        return {role: getattr(self, role).plain() for role in ("lpips", "landmarks", "identity", "emotion")}


def find_networks(folders: Sequence[Path], arcface: Path | None = None, emonet: Path | None = None) -> NetworkFiles:
    """Find the measuring networks.

    Args:
        folders: where to look, the first that has a file wins; behind them `$XNEMO_HOME/evaluation`.
        arcface: the paper's identity network, if the user has it, see `animator.evaluation.arcface`.
        emonet: the paper's emotion network, if the user has it, see `animator.evaluation.emonet`.
    Raises:
        XNeMoError: a file is nowhere; the message says where it comes from.
    """
    return NetworkFiles(
        find_network("lpips", folders),
        find_network("landmarks", folders),
        find_network("identity", folders) if arcface is None else _own("arcface", arcface),
        find_network("emotion", folders) if emonet is None else _own("emonet", emonet),
    )


def find_network(role: str, folders: Sequence[Path]) -> NetworkFile:
    """Find one file of the manifest's, see `find_networks`."""
    listed = MEASURING[role]
    looked_at = [*folders, measuring_home()]
    for folder in looked_at:
        if (folder / listed.file).is_file():
            return _hashed(listed, folder / listed.file)
    raise XNeMoError(
        f"{listed.file} ({listed.name}, {listed.licence}) is needed to measure, and is not in "
        f"{' or '.join(map(str, looked_at))}; it comes from {listed.page}; name its folder with models=FOLDER"
    )


def _own(role: str, path: Path) -> NetworkFile:
    if not path.is_file():
        raise XNeMoError(f"{path}: no such file; {MEASURING[role].name} comes from {MEASURING[role].page}")
    return _hashed(MEASURING[role], path)


def _hashed(listed: MeasuringNetwork, path: Path) -> NetworkFile:
    digest = sha256_of(path)
    return NetworkFile(listed.name, path, digest, listed.stands_for, listed.figure, known=digest == listed.sha256)


class Networks:
    """All of them, loaded; a context manager.

    Args:
        files: which.
        device: where those in PyTorch run.
    Attributes:
        pictures: L1, SSIM and LPIPS.
        landmarker: finds and measures faces.
        identity: describes whose face it is.
        emotion: reads valence and arousal.
    Raises:
        XNeMoError: a file is not what it should be.
    """

    def __init__(self, files: NetworkFiles, device: torch.device | str = "cpu") -> None:
        self._stack = ExitStack()
        self.pictures = PictureMetrics(files.lpips.path, device)
        self.landmarker = self._stack.enter_context(FaceLandmarker(files.landmarks.path))
        is_arcface = files.identity.name == MEASURING["arcface"].name
        identity = ArcFace(files.identity.path) if is_arcface else FaceIdentity(files.identity.path)
        self.identity: IdentityNetwork = identity.to(device)
        is_emonet = files.emotion.name == MEASURING["emonet"].name
        emotion = EmoNet(files.emotion.path) if is_emonet else FaceExpressions(files.emotion.path)
        self.emotion: EmotionNetwork = emotion.to(device)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
