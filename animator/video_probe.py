"""What a video file holds: checked, decoded once, and laid out on a constant-rate time line."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.sidedata.sidedata import SideData
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from animator.errors import XNeMoError

log = logging.getLogger(__name__)

MIN_SIDE = 16  # pixels; below that there is no face to find, and decoders pad what they return
MAX_SIDE = 8192
MAX_RESAMPLED_RATE = 120  # frames per second that a variable-rate file is laid out on at most
MAX_SECONDS = 24 * 3600.0  # time stamps beyond that are damaged, or made to fill memory with held pictures

_STANDARD_RATES = (
    *(Fraction(n, 1001) for n in (24000, 30000, 60000, 120000)),
    *(Fraction(n) for n in (10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120, 240)),
    Fraction(25, 2),
)


@dataclass(frozen=True)
class VideoInfo:
    """What a reader delivers, which for turned, stretched or variable-rate files is not what is stored.

    Attributes:
        path: the file.
        frames: pictures on the constant-rate time line, at least 1; all of them can be read.
        fps: frames per second, `float(rate)`.
        rate: frames per second, exact (30000/1001 and the like).
        width, height: pixels as displayed: after rotation and with non-square pixels made square.
        has_audio: the file holds a sound track.
        seconds: frames / rate.
        rotation: degrees clockwise by which the stored picture is turned for display: 0, 90, 180 or 270.
        variable_rate: the stored timestamps are not evenly spaced, so pictures are repeated or left out.
    """

    path: Path
    frames: int
    fps: float
    rate: Fraction
    width: int
    height: int
    has_audio: bool
    seconds: float
    rotation: int
    variable_rate: bool


@dataclass(frozen=True)
class Probe:
    """A `VideoInfo` and how to get its pictures out of the file.

    Attributes:
        info: what the reader delivers.
        order: source picture shown at each tick of the time line, int64 (frames,), never falling.
        pts: strictly rising timestamps of the source pictures in stream units, int64 (pictures,); empty where the
            file has none that can be trusted to seek by.
        size: (width, height) of a source picture before it is turned, pixels made square.
        turn: (a, b, c, d), the linear part of the display matrix: x' = a x + c y, y' = b x + d y.
        plain: every stored picture is shown once, unturned and unscaled, and none is damaged.
        first: the first source picture before it is turned, uint8 (height, width, 3).
    """

    info: VideoInfo
    order: NDArray[np.int64]
    pts: NDArray[np.int64]
    size: tuple[int, int]
    turn: tuple[int, int, int, int]
    plain: bool
    first: NDArray[np.uint8]


def probe(path: str | Path) -> Probe:
    """Decode a video once, keeping nothing but timestamps, and lay its pictures out at a constant rate.

    The count is of pictures that really decode, not what the container claims. Each tick k / rate, counted from the
    first picture, shows the last picture that began no later than half a tick after it. Where the stored pictures
    are evenly spaced (within half a frame) this shows each exactly once; where they are not, the rate is the
    prevailing one of the file (120 at most), and pictures are held or left out so that sound stays in step.

    Raises:
        XNeMoError: missing, empty, cut off, not a video, without a picture, smaller than 16 or larger than 8192 px, or
            longer than a day.
    """
    path = Path(path)
    check_file(path)
    with open_media(path) as container:
        stream = video_stream(container)
        if stream is None:
            what = "holds sound only" if container.streams.audio else "holds no video"
            raise XNeMoError(f"{path}: {what}; a video with pictures is needed")
        has_audio = bool(container.streams.audio)
        base = stream.time_base or Fraction(1, 1)
        stamps: list[int | None] = []
        sizes: set[tuple[int, int]] = set()
        damaged: list[int] = []
        first: VideoFrame | None = None
        last_duration = 0
        for frame in decoded(container, stream, damaged):
            if first is None:
                first = frame
                _check_size(path, frame.width, frame.height)
            stamps.append(frame.pts)
            sizes.add((frame.width, frame.height))
            last_duration = frame.duration or 0
        if first is None:
            raise XNeMoError(f"{path}: no picture could be decoded; the file is damaged or its codec unknown")
        if damaged:
            log.warning("%s: %d damaged packets are left out", path, len(damaged))

        known = [rate for rate in (stream.average_rate, stream.base_rate, stream.guessed_rate) if rate]
        pts, times = _times(stamps, base, known)
        seconds = float(times[-1]) + float(last_duration * base)
        if seconds > MAX_SECONDS:
            raise XNeMoError(f"{path}: lasts {seconds / 3600:.3g} hours by its time stamps; at most 24 are read")
        rate, order = _lay_out(times, float(base), known, float(last_duration * base))
        turn, rotation = _display_turn(first)
        aspect = stream.sample_aspect_ratio or Fraction(1)
        size = (max(1, round(first.width * aspect)), first.height)
        _check_size(path, *size)
        width, height = size if rotation in (0, 180) else size[::-1]
        even = np.array_equal(order, np.arange(len(stamps)))
        info = VideoInfo(
            path=path,
            frames=len(order),
            fps=float(rate),
            rate=rate,
            width=width,
            height=height,
            has_audio=has_audio,
            seconds=float(len(order) / rate),
            rotation=rotation,
            variable_rate=not even,
        )
        plain = even and not damaged and sizes == {size} and turn == (1, 0, 0, 1)
        return Probe(info, order, pts, size, turn, plain, to_rgb(first, size))


def check_file(path: Path) -> None:
    """Refuse what needs no decoder to be refused.

    Raises:
        XNeMoError: missing, a folder, unreadable, empty, or an mp4 or mov that ends too early.
    """
    if not path.exists():
        raise XNeMoError(f"{path}: no such file")
    if path.is_dir():
        raise XNeMoError(f"{path}: is a folder; name a file")
    try:
        length = path.stat().st_size
        if length == 0:
            raise XNeMoError(f"{path}: is empty (0 bytes)")
        with open(path, "rb") as file:
            _check_boxes(path, file, length)
    except OSError as error:
        raise XNeMoError(f"{path}: cannot be read: {error.strerror or error}") from error


def _check_boxes(path: Path, file: BinaryIO, length: int) -> None:
    """Walk the top-level boxes of an ISO media file (ISO/IEC 14496-12, 4.2): a decoder stays silent about cut ones."""
    position = 0
    indexed = False
    while position + 8 <= length:
        file.seek(position)
        header = file.read(16)
        size, kind = struct.unpack(">I4s", header[:8])
        if position == 0 and kind != b"ftyp":
            return
        if size == 1 and len(header) == 16:
            size = struct.unpack(">Q", header[8:])[0]
        elif size == 0:  # "to the end of the file"
            size = length - position
        if size < 8:
            break
        if kind in (b"moov", b"mdat", b"moof") and position + size > length:
            missing = position + size - length
            without = "" if indexed else ", and with it the index (moov atom not found)"
            raise XNeMoError(f"{path}: is cut off: at least {missing} bytes are missing{without}; copy it again")
        indexed = indexed or kind == b"moov"
        position += size
    if not indexed:
        raise XNeMoError(f"{path}: is cut off: its index is missing (moov atom not found); copy or record it again")


def _check_size(path: Path, width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise XNeMoError(f"{path}: is {width} x {height} pixels; each side must be {MIN_SIDE} to {MAX_SIDE}")


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Open a local file with PyAV; its errors, here and in the block, come out as one line.

    Raises:
        XNeMoError: the file cannot be opened or read on.
    """
    try:
        # Playlists would otherwise open other files and addresses; an absolute path is never taken for an address.
        options = {"protocol_whitelist": "file"}
        # Tags may be in any encoding, or damaged; PyAV raises at them otherwise.
        with av.open(os.path.abspath(path), options=options, metadata_errors="replace") as container:
            yield container
    except FFmpegError as error:
        raise XNeMoError(f"{path}: cannot be read as video or sound: {error.strerror or error}") from error


def video_stream(container: InputContainer) -> VideoStream | None:
    """The first moving picture of a file (cover art is none), set to decode on several threads."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            stream.thread_type = "AUTO"
            return stream
    return None


def decoded(container: InputContainer, stream: VideoStream, damaged: list[int]) -> Iterator[VideoFrame]:
    """Decode a stream from where the container stands; the numbers of packets that fail are added to `damaged`."""
    for number, packet in enumerate(container.demux(stream)):
        try:
            frames = packet.decode()
        except FFmpegError:
            damaged.append(number)
            continue
        yield from frames


def to_rgb(frame: VideoFrame, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Convert by the colour matrix and range the frame names; uint8 (height, width, 3) for size (width, height)."""
    return np.asarray(frame.to_ndarray(format="rgb24", width=size[0], height=size[1]), dtype=np.uint8)


def turned(image: NDArray[np.uint8], turn: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Show a stored picture the way its display matrix says: quarter turns and mirrorings, as a view."""
    a, b, c, d = turn
    right, down = a, d
    if b or c:
        image = image.swapaxes(0, 1)
        right, down = c, b
    return image[:: down or 1, :: right or 1]


def _display_turn(frame: VideoFrame) -> tuple[tuple[int, int, int, int], int]:
    """Round a frame's display matrix to a signed permutation; also give its clockwise angle."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return (1, 0, 0, 1), 0
    # Nine int32, row by row: a b u, c d v, x y w; only the signs of a to d matter once the angle is rounded.
    a, b, _, c, d = np.frombuffer(bytes(cast(SideData, data)), dtype=np.int32)[:5].tolist()
    if abs(b) > abs(a):
        a = d = 0
    else:
        b = c = 0
    sign = (int(np.sign(a)), int(np.sign(b)), int(np.sign(c)), int(np.sign(d)))
    angle = round(float(np.degrees(np.arctan2(sign[1], sign[0])))) % 360
    return sign, angle


def _times(
    stamps: list[int | None], base: Fraction, known: list[Fraction]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Timestamps to seek by, where they serve, and each picture's time in seconds after the first."""
    if any(stamp is None for stamp in stamps):
        rate = known[0] if known else Fraction(25)
        return np.empty(0, dtype=np.int64), np.arange(len(stamps)) / float(rate)
    pts = np.array(stamps, dtype=np.int64)
    times = np.maximum.accumulate((pts - pts[0]) * float(base))
    return (pts if np.all(np.diff(pts) > 0) else pts[:0]), times


def _lay_out(
    times: NDArray[np.float64], tick: float, known: list[Fraction], last_duration: float
) -> tuple[Fraction, NDArray[np.int64]]:
    """Choose the constant rate and the picture that each of its ticks shows."""
    count = len(times)
    if count == 1:
        return (standard_rate(known[0]) if known else Fraction(25)), np.zeros(1, dtype=np.int64)
    everyone = np.arange(count)
    typical = _prevailing_rate(times)
    near = sorted(_STANDARD_RATES, key=lambda rate: abs(float(rate / typical) - 1))[:2]
    candidates = [standard_rate(rate) for rate in known] + near + [typical]
    # The rate that the timestamps were rounded from fits them to the file's clock tick; otherwise an even rate
    # with jitter below half a frame still shows every picture once.
    for rate in candidates:
        if np.max(np.abs(times - everyone / float(rate))) <= tick + 1e-9:
            return rate, everyone
    for rate in candidates:
        if np.array_equal(_shown(times, rate, count), everyone):
            return rate, everyone
    rate = min(typical, Fraction(MAX_RESAMPLED_RATE))
    ticks = max(round(times[-1] * rate) + 1, round((times[-1] + last_duration) * rate))
    return rate, _shown(times, rate, ticks)


def _prevailing_rate(times: NDArray[np.float64]) -> Fraction:
    """Frames per second of the usual distance between pictures, a common rate where one is within 1 %."""
    steps = np.diff(times)
    steps = steps[steps > 0]
    if not len(steps):
        return Fraction(25)
    median = np.quantile(steps, 0.5, method="lower")  # one of them, and not between two that are far apart
    # The mean of what is near the median, because coarse clocks (1 ms) give 33, 33, 34.
    mean = float(np.mean(steps[np.abs(steps - median) < 0.25 * median]))
    nearest = min(_STANDARD_RATES, key=lambda rate: abs(float(rate) * mean - 1))
    if abs(float(nearest) * mean - 1) < 0.01:
        return nearest
    return max(Fraction(1 / mean).limit_denominator(1001), Fraction(1, 1001))


def _shown(times: NDArray[np.float64], rate: Fraction, ticks: int) -> NDArray[np.int64]:
    """The picture shown at each tick: the last that began no later than half a tick after it."""
    moments = (np.arange(ticks) + 0.5) / float(rate)
    return np.maximum(np.searchsorted(times, moments, side="right") - 1, 0)


def standard_rate(fps: float | Fraction) -> Fraction:
    """The common rate that a rounded one stands for: 29.97 is 30000/1001, 25.0 is 25; others stay (to 1/1001)."""
    rate = Fraction(fps)
    nearest = min(_STANDARD_RATES, key=lambda standard: abs(standard - rate))
    if abs(nearest - rate) < nearest / 100_000:
        return nearest
    return rate if isinstance(fps, Fraction) else rate.limit_denominator(1001)


def exact_rate(fps: float | Fraction) -> Fraction:
    """A rate as the caller means it: fractions are exact already, floats are made so by `standard_rate`."""
    return fps if isinstance(fps, Fraction) else standard_rate(fps)
