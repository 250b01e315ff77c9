"""Makes real video files for tests, out of real frames, with the traits that real files trouble readers with."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

MARK = 32  # pixels, side of the square whose brightness numbers a frame
STEP = 3  # grey levels between two numbers; survives compression


def clip_frames(path: Path, count: int | None = None) -> NDArray[np.uint8]:
    """The first frames of a plain file, straight from PyAV, uint8 (n, height, width, 3)."""
    with av.open(str(path)) as container:
        frames = []
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == count:
                break
    return np.stack(frames)


def numbered(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Write each frame's number into its upper left corner, as brightness (at most 80 frames)."""
    frames = frames.copy()
    for number, frame in enumerate(frames):
        frame[:MARK, :MARK] = 8 + STEP * number
    return frames


def numbers(frames: NDArray[np.uint8]) -> list[int]:
    """Read back what `numbered` wrote."""
    inner = frames[:, MARK // 4 : 3 * MARK // 4, MARK // 4 : 3 * MARK // 4].astype(float)
    return [round((value - 8) / STEP) for value in inner.mean(axis=(1, 2, 3))]


def make_video(
    path: Path,
    frames: NDArray[np.uint8],
    rate: Fraction | int = 25,
    *,
    ticks: Sequence[int] | None = None,
    size: tuple[int, int] | None = None,
    pix_fmt: str = "yuv420p",
    aspect: Fraction | None = None,
    rotation: int = 0,
    mirrored: bool = False,
    tone: float = 0.0,
    audio_codec: str = "aac",
    audio_delay: float = 0.0,
    x264: str = "",
) -> Path:
    """Write an H.264 file.

    Args:
        ticks: timestamp of each frame in 1 / rate; evenly spaced where not given.
        size: (width, height) to scale to.
        rotation: degrees counter-clockwise in the display matrix.
        tone: seconds of sound: a click every 0.2 s over a quiet 300 Hz tone; 0 for none.
        audio_delay: when the sound begins, in seconds.
    """
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=rate, options={"crf": "10", "x264-params": x264})
        stream.width, stream.height = size or (frames.shape[2], frames.shape[1])
        stream.pix_fmt = pix_fmt
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        sound: Any = output.add_stream(audio_codec, rate=48000, layout="mono") if tone else None
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame = frame.reformat(width=stream.width, height=stream.height, format=pix_fmt)
            frame.pts, frame.time_base = (index if ticks is None else ticks[index]), Fraction(1) / rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if tone:
            wave = av.AudioFrame.from_ndarray(clicks(tone, 48000)[None], format="flt", layout="mono")
            wave.sample_rate, wave.pts = 48000, round(audio_delay * 48000)
            wave.time_base = Fraction(1, 48000)
            output.mux(sound.encode(wave))
            output.mux(sound.encode(None))
    return path


def clicks(seconds: float, rate: int) -> NDArray[np.float32]:
    """A quiet tone with a sharp click every fifth of a second, so that shifts can be measured."""
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.05 * np.sin(2 * np.pi * 300 * time)
    for begin in np.arange(0.1, seconds, 0.2):
        at = round(begin * rate)
        burst = wave[at : at + rate // 200]
        burst += 0.8 * np.sin(2 * np.pi * 2000 * np.arange(len(burst)) / rate)
    return wave.astype(np.float32)


def click_times(samples: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    """Seconds at which the clicks of `clicks` begin."""
    loud = np.flatnonzero(np.abs(samples) > 0.35)
    return loud[np.diff(loud, prepend=-rate) > rate // 20] / rate
