"""Sound: read as a waveform, written as WAV, carried from one video into another."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
import soundfile
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from numpy.typing import NDArray

from animator.errors import XNeMoError
from animator.files import atomic_path
from animator.video_probe import check_file, decoded, open_media, video_stream

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)


def read_audio(path: str | Path, rate: int = 16000) -> tuple[NDArray[np.float32], int]:
    """Read the sound of a video or sound file, mixed down to one channel.

    Sample 0 belongs to the first picture: sound before it is left out, sound that starts later is led by silence.

    Args:
        path: anything with a sound track.
        rate: samples per second to resample to.
    Returns:
        Samples, float32 (samples,), nominally in [-1, 1]; and `rate`.
    Raises:
        XNeMoError: the file cannot be read or has no sound.
    """
    path = Path(path)
    check_file(path)
    start = _first_picture_time(path)
    pieces: list[NDArray[np.float32]] = []
    with open_media(path) as container:
        if not container.streams.audio:
            raise XNeMoError(f"{path}: has no sound track")
        resampler = AudioResampler(format="flt", layout="mono", rate=rate)
        lead: int | None = None
        for frame in _sound_frames(container, container.streams.audio[0]):
            if lead is None:
                late = 0 if start is None or frame.pts is None else frame.pts * (frame.time_base or 0) - start
                lead = round(late * rate)
            pieces += _samples(resampler, frame)
        if lead is None:
            raise XNeMoError(f"{path}: the sound track cannot be decoded")
        pieces += _samples(resampler, None)
    samples = np.concatenate([np.zeros(max(lead, 0), dtype=np.float32), *pieces])
    return samples[max(-lead, 0) :], rate


def write_wav(path: str | Path, samples: NDArray[np.float32], rate: int) -> None:
    """Write 16-bit PCM.

    Args:
        path: the file to make; it appears only when whole.
        samples: (samples,) or (samples, channels) in [-1, 1]; what is beyond is clipped.
        rate: samples per second.
    Raises:
        XNeMoError: the file cannot be written.
    """
    # Through memory, because libsndfile does not say why a write failed.
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16")
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


class AudioTrack:
    """The sound of a file on its way into an mp4, fed step by step so that nothing piles up in memory.

    AAC is copied, packet by packet, everything else encoded anew (at most two channels). Time 0 is the first picture
    of the file it comes from, as in `read_audio`; packets (about 1/40 s) that begin before the end are kept whole.

    Raises:
        XNeMoError: the source cannot be read.
    """

    def __init__(self, path: Path) -> None:
        check_file(path)
        self.path = path
        self._start = _first_picture_time(path)
        try:
            self._input: InputContainer = av.open(
                os.path.abspath(path), options={"protocol_whitelist": "file"}, metadata_errors="replace"
            )
        except FFmpegError as error:
            raise XNeMoError(f"{path}: cannot be read as video or sound: {error.strerror or error}") from error
        self._source: AudioStream | None = next(iter(self._input.streams.audio), None)
        self._packets: Iterator[tuple[Fraction, Packet]] = iter(())
        self._waiting: tuple[Fraction, Packet] | None = None

    def attach(self, output: OutputContainer) -> None:
        """Add the track to an mp4 whose writing has not begun; nothing happens where the source has no sound."""
        if self._source is None:
            return
        context: AudioCodecContext | None = self._source.codec_context
        # Without extradata the AAC is framed for broadcast (ADTS), which an mp4 cannot hold as it is.
        if context is not None and context.name == "aac" and context.extradata:
            self._packets = self._copied(self._source, output.add_stream_from_template(self._source))
        elif context is not None:
            rate = next((rate for rate in _AAC_RATES if rate <= context.sample_rate), _AAC_RATES[-1])
            layout = "mono" if context.channels == 1 else "stereo"
            self._packets = self._encoded(self._source, output.add_stream("aac", rate=rate, layout=layout))
        self._advance()

    def write_until(self, output: OutputContainer, seconds: Fraction) -> None:
        """Write the packets that begin before a time, counted from the first picture."""
        while self._waiting is not None and self._waiting[0] < seconds:
            output.mux(self._waiting[1])
            self._advance()

    def _advance(self) -> None:
        try:
            self._waiting = next(self._packets, None)
        except FFmpegError as error:
            raise XNeMoError(f"{self.path}: its sound cannot be carried over: {error.strerror or error}") from error

    def close(self) -> None:
        """Let go of the source file."""
        with suppress(FFmpegError):
            self._input.close()

    def _copied(self, source: AudioStream, target: AudioStream) -> Iterator[tuple[Fraction, Packet]]:
        """Source packets that sound after time 0, and when they begin."""
        base = _clock(source)
        offset = round((self._start or 0) / base)
        for packet in self._input.demux(source):
            if packet.pts is None:  # the empty packet that ends a stream
                continue
            packet.pts -= offset
            packet.dts = packet.pts
            # Without an offset all stay: a negative time is then the encoder's run-in, which the mp4 marks as such.
            if not offset or packet.pts + (packet.duration or 0) > 0:
                begin = packet.pts * base
                packet.stream = target
                yield begin, packet

    def _encoded(self, source: AudioStream, target: AudioStream) -> Iterator[tuple[Fraction, Packet]]:
        """Source sound after time 0, encoded (the encoder resamples), and when each packet begins."""
        base = _clock(source)
        offset = round((self._start or 0) / base)
        for frame in chain(_sound_frames(self._input, source), [None]):
            if frame is not None and frame.pts is not None:
                frame.pts -= offset
                if frame.pts * base + Fraction(frame.samples, frame.sample_rate) <= 0:
                    continue
            for packet in target.encode(frame):
                yield (packet.pts or 0) * (packet.time_base or base), packet


def _samples(resampler: AudioResampler, frame: AudioFrame | None) -> list[NDArray[np.float32]]:
    """What a resampler to packed mono gives for a frame (None: for the end)."""
    # One plane of (1, samples) each.
    return [piece.to_ndarray().reshape(-1).astype(np.float32) for piece in resampler.resample(frame)]


def _clock(stream: AudioStream) -> Fraction:
    """Seconds in one unit of a stream's timestamps."""
    return stream.time_base or Fraction(1, stream.rate)


def _sound_frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Decode a sound track; damaged packets are left out."""
    for packet in container.demux(stream):
        with suppress(FFmpegError):
            yield from packet.decode()


def _first_picture_time(path: Path) -> Fraction | None:
    """When a file's first picture is shown, in seconds of the file's own clock; None for sound files."""
    with open_media(path) as container:
        stream = video_stream(container)
        if stream is None or stream.time_base is None:
            return None
        frame = next(decoded(container, stream, []), None)
        return None if frame is None or frame.pts is None else frame.pts * stream.time_base
