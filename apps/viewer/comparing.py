"""Two videos beside each other: what there is to compare, how far they are apart, and the player that shows both."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from animator.errors import XNeMoError
from apps.viewer.jobs import finished
from apps.viewer.session import Session

Pictures = NDArray[np.uint8]

STATIC = Path(__file__).resolve().parent / "static"
MOST_BYTES = 24 * 2**20  # of a video that is sent to the player
MEASURED = 48  # frames that are measured, evenly spread
PERCEIVED = 16  # of them, where a network looks at each


@dataclass(frozen=True)
class Result:
    """A video that can be compared.

    Attributes:
        key: tells it from the others.
        name: what people call it.
        video: the file, of this session or of the viewer itself.
    """

    key: str
    name: str
    video: Path


@dataclass(frozen=True, eq=False)
class Distance:
    """How far two videos are apart.

    Attributes:
        l1: mean absolute difference of pixels, 0 to 1.
        ssim: structural similarity, 1 is identical.
        frames: how many were measured, in both at the same times.
        worst: of these the frame with the largest difference.
        map: mean absolute difference of each pixel, 0 to 1, (side, side).
    """

    l1: float
    ssim: float
    frames: int
    worst: int
    map: NDArray[np.float32]


@dataclass(frozen=True)
class Perceived:
    """How far two videos are apart to networks that look at them.

    Attributes:
        lpips: perceptual distance (AlexNet, version 0.1), 0 is identical; None where its network is missing.
        identity: cosine of what an identity network says of both faces, 1 is the same person; None where a network is
            missing, or a face was found in no pair of frames.
        frames: how many were looked at.
        missing: what could not be measured and why, a sentence each.
    """

    lpips: float | None
    identity: float | None
    frames: int
    missing: tuple[str, ...]


def results(session: Session) -> list[Result]:
    """What this browser session can compare: its finished renders, and the videos that its takes were read from."""
    listed = finished()
    made = [Result(job.key, f"{len(listed) - n}. {job.title}", job.output) for n, job in enumerate(listed)]
    given = [
        Result(f"take-{key}", f"{take.name}, the clip itself", take.frames)
        for key, take in session.takes.items()
        if take.frames is not None and take.frames.is_file()
    ]
    return made + given


def measure(first: Path, second: Path) -> Distance:
    """How far two videos are apart: frames at the same times, at 256 x 256, as `xnemo evaluate` measures pictures.

    Args:
        first, second: videos; the shorter one says how much is compared, and other shapes than squares are cut to the
            square in their middle.
    Raises:
        XNeMoError: a video cannot be read.
    """
    from animator.evaluation.metrics import l1, ssim

    ours, theirs, frames = _pairs(first, second, MEASURED)
    apart = np.abs(ours.astype(np.float32) - theirs.astype(np.float32)).mean(axis=3) / 255
    return Distance(
        l1=float(l1(ours, theirs).mean()),
        ssim=float(ssim(ours, theirs).mean()),
        frames=len(frames),
        worst=frames[int(apart.mean(axis=(1, 2)).argmax())],
        map=apart.mean(axis=0),
    )


def perceive(first: Path, second: Path, models: Path | None) -> Perceived:
    """How far two videos are apart to networks, on frames as of `measure`.

    Args:
        first, second: videos.
        models: folder with the networks; None for where `xnemo fetch` puts them. What is missing is said in the result.
    Raises:
        XNeMoError: a video cannot be read.
    """
    from animator.evaluation.lpips import Lpips
    from animator.evaluation.metrics import lpips_distance
    from animator.evaluation.networks import find_network

    ours, theirs, frames = _pairs(first, second, PERCEIVED)
    folders = [] if models is None else [models]
    missing: list[str] = []
    distance = likeness = None
    try:
        distance = float(lpips_distance(Lpips(find_network("lpips", folders).path), ours, theirs).mean())
    except XNeMoError as error:
        missing.append(str(error))
    try:
        likeness = _likeness(
            ours, theirs, find_network("landmarks", folders).path, find_network("identity", folders).path
        )
        if likeness is None:
            missing.append("identity: no face was found in both at the same time")
    except XNeMoError as error:
        missing.append(str(error))
    return Perceived(distance, likeness, len(frames), tuple(missing))


def _likeness(ours: Pictures, theirs: Pictures, landmarks: Path, identity: Path) -> float | None:
    from animator.evaluation.identity import FaceIdentity, cosine
    from animator.evaluation.landmarks import FaceLandmarker

    network = FaceIdentity(identity)
    with FaceLandmarker(landmarks) as landmarker:
        said = [network.describe(frames, landmarker.measure(frames)) for frames in (ours, theirs)]
    found = cosine(said[0], said[1])
    return None if np.isnan(found).all() else float(np.nanmean(found))


def _pairs(first: Path, second: Path, most: int) -> tuple[Pictures, Pictures, list[int]]:
    """Frames of both at the same times, (n, 256, 256, 3) each, and which they are of the first."""
    from animator.evaluation.metrics import at_measured_size
    from animator.video import VideoReader

    with VideoReader(first) as one, VideoReader(second) as other:
        fps = one.info.fps
        length = min(len(one), max(1, round(len(other) * fps / other.info.fps)))
        frames = sorted({round(place) for place in np.linspace(0, length - 1, min(most, length))})
        pairs = []
        for frame in frames:
            there = min(round(frame * other.info.fps / fps), len(other) - 1)
            pairs.append((_square(one.frame(frame)), _square(other.frame(there))))
    ours = np.concatenate([at_measured_size(a[None]) for a, _ in pairs])
    theirs = np.concatenate([at_measured_size(b[None]) for _, b in pairs])
    return ours, theirs, frames


def difference_picture(difference: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map of differences (side, side) in colours: black is none, through orange to white for a quarter and more."""
    share = np.clip(difference * 4, 0, 1)[..., None]
    return (255 * np.clip(share * np.array([2.2, 1.3, 0.6]), 0, 1)).astype(np.uint8)


def packed(first: Result, second: Result) -> bytes:
    """Both videos as `static/compare.js` unpacks them.

    Raises:
        XNeMoError: a video cannot be read, or is too large for the player.
    """
    from animator.video import VideoReader

    files, lengths = [], []
    for result in (first, second):
        with VideoReader(result.video) as reader:
            lengths.append((len(reader), reader.info.fps))
        data = result.video.read_bytes()
        if len(data) > MOST_BYTES:
            raise XNeMoError(f"{result.name}: has {len(data) / 2**20:.0f} MB; the player takes {MOST_BYTES // 2**20}")
        files.append(data)
    fps = lengths[0][1]
    frames = min(lengths[0][0], max(1, round(lengths[1][0] * fps / lengths[1][1])))
    about = {
        "id": hashlib.sha256(b"".join(files)).hexdigest()[:16],
        "names": [first.name, second.name],
        "sizes": [len(data) for data in files],
        "fps": fps,
        "frames": frames,
    }
    text = json.dumps(about).encode()
    return struct.pack("<I", len(text)) + text + b"".join(files)


def show_player(data: bytes, key: str) -> None:
    """Mount the player; what it plays goes to this browser window alone."""
    script, style = _static()
    mount = st.components.v2.component("xnemo_compare", html='<div class="comparison"></div>', css=style, js=script)
    mount(key=key, data=data)


@lru_cache(maxsize=1)
def _static() -> tuple[str, str]:
    return (STATIC / "compare.js").read_text(encoding="utf-8"), (STATIC / "compare.css").read_text(encoding="utf-8")


def _square(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]
