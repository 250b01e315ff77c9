"""Video files in and out: read through decord or PyAV, write H.264/AAC, change the frame rate.

Pictures are uint8 RGB, (frames, height, width, 3). Sound is in `animator.audio`, what a file holds is found out in
`animator.video_probe`; their public names are importable from here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from copy import copy
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from numpy.typing import NDArray

from animator.audio import AudioTrack, read_audio, write_wav
from animator.errors import XNeMoError
from animator.files import atomic_path
from animator.provenance.marks import Marker, Marks
from animator.video_probe import (
    VideoInfo,
    decoded,
    exact_rate,
    open_media,
    probe,
    to_rgb,
    turned,
    video_stream,
)

__all__ = ["VideoInfo", "VideoReader", "VideoWriter", "read_audio", "resample_indices", "write_wav"]

log = logging.getLogger(__name__)

CHUNK_BYTES = 256 * 2**20  # pictures in one chunk; 32 frames of 1080p are 199 MB
# decord decodes ahead of a slow reader, up to nearly the whole clip (measured), so the clip must fit into this.
AHEAD_BYTES = 128 * 2**20
SEEK_MARGIN = 32  # pictures; more than any codec reorders, so that what is asked for lies behind a whole key frame

# libx264's macroblock tree gives small pictures other bytes now and then, whatever the threads: at 64 x 64 in up to
# half of the runs, at 144 x 176 in one of 1,000, at 256 x 256 in none of 3,000. It is off for pictures below this side.
MBTREE_SIDE = 256


class VideoReader:
    """A video as a sequence of displayed pictures at a constant rate, read in pieces.

    Rotation and mirroring are applied, non-square pixels made square, and a variable frame rate laid out on a
    constant one (`animator.video_probe.probe` says how), so `len`, `info.fps` and the sound agree. Opening decodes the
    whole file once to count and time the pictures that are really there.

    decord reads files forward where it shows the very pictures that PyAV does; PyAV reads the rest (turned, stretched,
    variable-rate, damaged and long files, those decord cannot open, and everything where decord is not installed).
    Jumps are PyAV's too: decord's seeking breaks pictures after an open group of pictures (measured: 78 of 255 levels
    off).

    Args:
        path: a local video file.
        backend: "auto" as above; "pyav" to never use decord; "decord" to insist on it.
    Raises:
        XNeMoError: as `probe`; or decord is insisted on and not able.
    """

    def __init__(self, path: str | Path, backend: Literal["auto", "decord", "pyav"] = "auto") -> None:
        if backend not in ("auto", "decord", "pyav"):
            raise ValueError(f'backend must be "auto", "decord" or "pyav", not {backend!r}')
        self._path = Path(path)
        self._probe = probe(path)
        size = self.info.frames * self.info.width * self.info.height * 3
        forward = backend == "decord" or (backend == "auto" and size <= AHEAD_BYTES)
        self._decord = self._open_decord() if forward else None
        self._cursor = 0  # the picture that decord gives next without seeking
        if backend == "decord" and self._decord is None:
            raise XNeMoError(f"{path}: decord is not installed or cannot read this file; use the pyav backend")

    @property
    def info(self) -> VideoInfo:
        """Size, rate, length and origin of what this reader delivers."""
        return self._probe.info

    @property
    def backend(self) -> Literal["decord", "pyav"]:
        """The library that reads this file forward."""
        return "pyav" if self._decord is None else "decord"

    def __len__(self) -> int:
        return self.info.frames

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the decoder; reading on is possible and goes through PyAV."""
        self._decord = None

    def chunks(self, size: int = 32, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """Read pictures `start` to `stop` (as in a slice) in order.

        Args:
            size: pictures in a chunk at most; fewer where they are so large that they would fill 256 MB.
        Yields:
            uint8 (n, height, width, 3), n <= size; each chunk is the caller's own.
        Raises:
            XNeMoError: the file can no longer be read.
        """
        if size < 1:
            raise ValueError(f"size must be at least 1, not {size}")
        start, stop, _ = slice(start, stop).indices(len(self))
        size = min(size, max(1, CHUNK_BYTES // (self.info.width * self.info.height * 3)))
        position = start
        # Checked before each chunk: another iterator over this reader may have moved decord meanwhile.
        while position < stop and self._decord is not None and position in (0, self._cursor):
            end = min(position + size, stop)
            try:
                batch = self._decord.get_batch(range(position, end)).asnumpy()
            except Exception as error:  # decord raises its own and built-in ones
                log.debug("%s: decord failed at picture %d, PyAV reads on: %s", self._path, position, error)
                self._decord = None
                break
            position = self._cursor = end
            yield batch
        if position < stop:
            yield from self._pyav_chunks(position, stop, size)

    def frame(self, index: int) -> NDArray[np.uint8]:
        """One picture, uint8 (height, width, 3); IndexError where there is none."""
        if not 0 <= index < len(self):
            raise IndexError(f"{self._path}: picture {index} of {len(self)}")
        return next(self.chunks(1, index, index + 1))[0]

    def part(self, start: int, stop: int | None = None) -> VideoReader:
        """Pictures `start` to `stop` (as in a slice) as a video of their own, with frame 0 at `start`.

        Nothing is decoded before pictures are asked for, and then nothing that lies long before or after them.

        Raises:
            ValueError: no pictures lie there.
        """
        chosen = range(len(self))[start:stop]
        if not chosen:
            raise ValueError(f"{self._path}: no pictures from {start} to {stop}; there are {len(self)}")
        info = replace(self.info, frames=len(chosen), seconds=float(len(chosen) / self.info.rate))
        other = copy(self)
        other._probe = replace(self._probe, info=info, order=self._probe.order[chosen.start : chosen.stop])
        # A decoder of its own, for two readers would move each other's; from anywhere but the start PyAV reads.
        other._decord = self._open_decord() if chosen.start == 0 and self._decord is not None else None
        other._cursor = 0
        return other

    def _open_decord(self) -> Any:
        """decord's reader, or None where it is missing or shows anything but the stored pictures."""
        if not self._probe.plain:
            return None
        try:
            import decord

            decord.logging.set_level(decord.logging.QUIET)
            reader = decord.VideoReader(os.path.abspath(self._path), num_threads=0)
            if len(reader) != len(self):
                return None
            first = reader.get_batch([0]).asnumpy()[0]
        except Exception as error:  # not installed, a library it needs is missing, or any of its own errors
            log.debug("%s: PyAV reads it, decord does not: %s", self._path, error)
            return None
        # Two levels allow for rounding; a misread colour matrix, range or bit depth shows more.
        same = first.shape == self._probe.first.shape and np.abs(first.astype(int) - self._probe.first).max() <= 2
        return reader if same else None

    def _pyav_chunks(self, start: int, stop: int, size: int) -> Iterator[NDArray[np.uint8]]:
        order, turn = self._probe.order, self._probe.turn
        position, filled = start, 0
        shape = (self.info.height, self.info.width, 3)
        chunk = np.empty((min(size, stop - start), *shape), dtype=np.uint8)
        for source, picture in self._pyav_pictures(int(order[start])):
            image: NDArray[np.uint8] | None = None
            # "<=": a picture that decoded when the file was probed and is missing now is replaced by the next.
            while position < stop and order[position] <= source:
                image = turned(to_rgb(picture, self._probe.size), turn) if image is None else image
                chunk[filled] = image
                position, filled = position + 1, filled + 1
                if filled == len(chunk):
                    yield chunk
                    chunk, filled = np.empty((min(size, stop - position), *shape), dtype=np.uint8), 0
            if position == stop:
                return
        raise XNeMoError(f"{self._path}: ended after {position} of {len(self)} frames; has it been changed meanwhile?")

    def _pyav_pictures(self, first: int) -> Iterator[tuple[int, VideoFrame]]:
        """Decode source pictures with their numbers, from number `first` on."""
        pts = self._probe.pts
        # Where a seek is refused (raw streams) or lands behind the picture, reading starts at the beginning.
        for jump in (True, False) if len(pts) and first > SEEK_MARGIN else (False,):
            with open_media(self._path) as container:
                stream = video_stream(container)
                if stream is None:
                    return
                if jump:
                    with suppress(FFmpegError):
                        container.seek(int(pts[first - SEEK_MARGIN]), stream=stream)
                pictures = decoded(container, stream, [])
                head = next(pictures, None)
                if jump and (head is None or head.pts is None or head.pts > pts[first]):
                    continue
                everything = pictures if head is None else chain([head], pictures)
                for count, picture in enumerate(everything):
                    number = int(np.searchsorted(pts, picture.pts or 0)) if jump else count
                    if number >= first:
                        yield number, picture
                return


class VideoWriter:
    """Write pictures as H.264 (yuv420p, BT.709) in an mp4, with the sound of another file.

    The file appears under its name only when the `with` block has ended well; until then, and after any failure,
    there is nothing. The index stands at the front, so that the file plays while it loads. The same pictures, sound
    and library versions give the same bytes, on any number of cores. yuv420p has no odd sizes: an odd last row or
    column is written twice, so a 255 x 131 picture becomes a 256 x 132 video.

    Args:
        path: the mp4 to make; the folder is created, an older file replaced.
        fps: frames per second; a float is made exact (29.97 is 30000/1001), a Fraction (`VideoInfo.rate`) is kept.
        audio_from: a file whose sound is taken along, AAC unchanged, other codecs as AAC; counted from its first
            picture and cut to the length of the pictures (to a packet, about 1/40 s). Without sound in it, or None,
            the video is silent.
        audio_until: end the sound at this time already, in seconds.
        crf: constant rate factor of x264: 0 is lossless, 18 hardly visible, 51 worst.
        marks: what a synthetic video says about itself and the marks it gets (`animator.provenance`); None for
            recordings of the world, and for videos that are only a step on the way to another.
    Raises:
        XNeMoError: the path cannot be written, or `audio_from`, a source of the marks or their certificate cannot be
            read (all on entering), the disk is full, or not one picture was written.
    """

    def __init__(
        self,
        path: str | Path,
        fps: float | Fraction,
        audio_from: str | Path | None = None,
        crf: int = 18,
        audio_until: float | Fraction | None = None,
        marks: Marks | None = None,
    ) -> None:
        if not 0 < fps <= 1000:
            raise ValueError(f"fps must be above 0 and at most 1000, not {fps}")
        if not 0 <= crf <= 51:
            raise ValueError(f"crf must be 0 to 51, not {crf}")
        self._path = Path(path)
        self._rate = exact_rate(fps)
        self._crf = crf
        self._audio_from = None if audio_from is None else Path(audio_from)
        self._audio_until = None if audio_until is None else Fraction(audio_until)
        self._audio: AudioTrack | None = None
        self._marks = marks
        self._marker: Marker | None = None
        self._cleanup = ExitStack()
        self._temporary: Path | None = None
        self._output: OutputContainer | None = None
        self._size: tuple[int, int] | None = None  # (height, width) as given
        self._frames = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._temporary = stack.enter_context(atomic_path(self._path))
            if self._audio_from is not None:
                self._audio = AudioTrack(self._audio_from)
                stack.callback(self._audio.close)
            if self._marks is not None:
                self._marker = Marker(self._path, self._marks)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The stack sees the error, this method's own too, and so removes the temporary file.
        with self._cleanup:
            if error is not None:
                if self._output is not None:
                    with suppress(FFmpegError):
                        self._output.close()
                raise error
            self._finish()

    def write(self, frames: NDArray[np.uint8]) -> None:
        """Append pictures.

        Args:
            frames: uint8 RGB, (n, height, width, 3) or (height, width, 3); all of one size.
        Raises:
            ValueError: another type, shape or size.
            XNeMoError: the file cannot be written.
        """
        if frames.ndim == 3:
            frames = frames[None]
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ValueError(f"frames must be uint8 (n, height, width, 3), not {frames.dtype} {frames.shape}")
        size = (frames.shape[1], frames.shape[2])
        if self._size not in (None, size):
            raise ValueError(f"all frames must be of one size: {size} after {self._size} (height, width)")
        if self._temporary is None:
            raise ValueError("a VideoWriter writes only inside its `with` block")
        with self._one_line_errors():
            for frame in frames:
                if self._marker is not None:
                    frame = self._marker.drawn_on(frame)
                if self._output is None:
                    self._size = size
                    self._output = self._open(self._temporary, size)
                self._encode(self._output, frame)

    def _open(self, path: Path, size: tuple[int, int]) -> OutputContainer:
        # "bitexact" leaves the library's version out of the file.
        options = {"movflags": "+faststart", "fflags": "+bitexact"}
        output = av.open(os.path.abspath(path), "w", format="mp4", options=options)
        if self._marker is not None:
            output.metadata.update(self._marker.metadata)
        choices = {"crf": str(self._crf)}
        if min(size) < MBTREE_SIDE:
            choices["mbtree"] = "0"
        self._video = output.add_stream("libx264", rate=self._rate, options=choices)
        context = self._video.codec_context
        context.height, context.width = (side + side % 2 for side in size)
        context.pix_fmt = "yuv420p"
        context.thread_count = 4  # x264's result depends on it; left alone, it follows the number of cores
        # Untagged video is read as BT.601 by some players and as BT.709 by others.
        context.colorspace = Colorspace.ITU709
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        context.color_range = ColorRange.MPEG
        if self._audio is not None:
            self._audio.attach(output)
        return output

    def _encode(self, output: OutputContainer, image: NDArray[np.uint8]) -> None:
        height, width = image.shape[:2]
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = self._frames, 1 / self._rate
        self._frames += 1
        output.mux(self._video.encode(frame))
        if self._audio is not None:
            shown = self._frames / self._rate
            self._audio.write_until(output, shown if self._audio_until is None else min(shown, self._audio_until))

    def _finish(self) -> None:
        if self._output is None:
            raise XNeMoError(f"{self._path}: not written: there was no frame to write")
        with self._one_line_errors():
            self._output.mux(self._video.encode(None))
            self._output.close()
        if self._marker is not None and self._temporary is not None:
            self._marker.finish(self._temporary)

    @contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        try:
            yield
        except FFmpegError as error:
            raise XNeMoError(f"{self._path}: cannot be written: {error.strerror or error}") from error


def resample_indices(
    frames: int, fps: float | Fraction, new_fps: float | Fraction, new_frames: int | None = None
) -> NDArray[np.int64]:
    """For each frame at a new rate, the nearest frame at the old one.

    Args:
        frames: frames at the old rate, at least 1.
        fps, new_fps: frames per second; floats are made exact as in `VideoWriter`.
        new_frames: how many to give; by default as many as last equally long (at least 1). For the way back to a
            clip of known length, because 100 frames at 60 fps are 42 at 25 fps, and those are 101 at 60 fps.
    Returns:
        int64 (new_frames,), never falling, within [0, frames - 1].
    """
    if frames < 1:
        raise ValueError(f"frames must be at least 1, not {frames}")
    if fps <= 0 or new_fps <= 0:
        raise ValueError(f"rates must be above 0, not {fps} and {new_fps}")
    step = exact_rate(fps) / exact_rate(new_fps)  # old frames per new frame
    if new_frames is None:
        new_frames = max(1, round(frames / step))
    ticks = np.arange(new_frames, dtype=np.int64)
    # round(tick * step), halves up, in whole numbers: floats would waver at the halves.
    nearest = (2 * ticks * step.numerator + step.denominator) // (2 * step.denominator)
    return np.minimum(nearest, frames - 1)
