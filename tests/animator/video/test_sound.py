"""Sound goes with the pictures, unchanged where that can be and in step always."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from animator.errors import XNeMoError
from animator.video import VideoReader, read_audio, write_wav
from tests.animator.media import click_times, clicks, make_video
from tests.animator.video.whole_files import read_all, streams, write


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_aac_sound_is_copied_unchanged_and_stays_in_step(tmp_path: Path, clip: Path) -> None:
    path = write(tmp_path / "out.mp4", read_all(clip), audio_from=clip)
    assert packets(path) == packets(clip)
    one, rate = read_audio(clip)
    other, _ = read_audio(path)
    assert rate == 16000
    assert np.array_equal(one, other)


@pytest.mark.parametrize("seconds", [0.4, 1.0])
def test_sound_is_cut_to_the_pictures(tmp_path: Path, clip: Path, seconds: float) -> None:
    path = write(tmp_path / "out.mp4", read_all(clip)[: round(seconds * 25)], audio_from=clip)
    samples, rate = read_audio(path)
    assert seconds <= len(samples) / rate < seconds + 0.09  # a packet of 1024 samples, at 16 kHz 64 ms
    whole, _ = read_audio(clip)
    assert np.array_equal(samples[: rate // 3], whole[: rate // 3])


def test_sound_may_be_shorter_than_the_pictures(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    source = make_video(tmp_path / "short.mp4", frames, tone=0.8)
    info = VideoReader(write(tmp_path / "out.mp4", frames, audio_from=source)).info
    assert (info.has_audio, info.frames) == (True, 50)


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "pcm_s16le"), (".mkv", "libmp3lame"), (".ts", "aac")])
def test_other_sound_is_encoded_anew_in_step(
    tmp_path: Path, frames: NDArray[np.uint8], suffix: str, codec: str
) -> None:
    source = make_video(tmp_path / f"source{suffix}", frames, tone=2.0, audio_codec=codec)
    path = write(tmp_path / "out.mp4", frames, audio_from=source)
    assert streams(path)["audio"].codec_context.name == "aac"
    times = click_times(*read_audio(path, 48000))
    assert times == pytest.approx(np.arange(0.1, 2.0, 0.2), abs=0.004)


def test_sound_of_a_wav_file_is_taken(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    write_wav(tmp_path / "tone.wav", np.stack([clicks(3.0, 44100)] * 2, axis=1), 44100)
    path = write(tmp_path / "out.mp4", frames, audio_from=tmp_path / "tone.wav")
    samples, rate = read_audio(path, 44100)
    assert click_times(samples, rate) == pytest.approx(np.arange(0.1, 2.0, 0.2), abs=0.004)
    assert len(samples) / rate == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("first", [0, 13, 20])
def test_sound_counts_from_the_first_picture(tmp_path: Path, frames: NDArray[np.uint8], first: int) -> None:
    # The pictures begin `first` frames after the sound, as in files that were cut without being encoded anew.
    source = make_video(tmp_path / "late.mp4", frames[:25], ticks=range(first, first + 25), tone=2.0)
    expected = np.arange(0.1, 2.0, 0.2) - first / 25
    path = write(tmp_path / "out.mp4", frames[:25], audio_from=source)
    for file in (source, path):
        times = click_times(*read_audio(file, 48000))
        inside = expected[(expected > 0.03) & (expected < 0.97)]
        assert times[(times > 0.03) & (times < 0.97)] == pytest.approx(inside, abs=0.004)


def test_sound_that_begins_late_is_led_by_silence(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    source = make_video(tmp_path / "late.mp4", frames, tone=1.0, audio_delay=0.5)
    path = write(tmp_path / "out.mp4", frames, audio_from=source)
    for file in (source, path):
        samples, rate = read_audio(file, 48000)
        assert np.abs(samples[: round(0.45 * rate)]).max() < 1e-3
        assert click_times(samples, rate) == pytest.approx(np.arange(0.6, 1.5, 0.2), abs=0.004)


def test_silent_source_makes_a_silent_video(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    source = make_video(tmp_path / "silent.mp4", frames[:5])
    assert not VideoReader(write(tmp_path / "out.mp4", frames[:5], audio_from=source)).info.has_audio
    with pytest.raises(XNeMoError, match=r"silent.mp4: has no sound"):
        read_audio(source)


def test_wave_file_comes_back(tmp_path: Path) -> None:
    wave = clicks(0.5, 16000)
    write_wav(tmp_path / "new" / "x.wav", wave, 16000)
    back, rate = soundfile.read(tmp_path / "new" / "x.wav", dtype="float32")
    assert rate == 16000
    assert np.abs(back - wave).max() < 1e-4
    samples, _ = read_audio(tmp_path / "new" / "x.wav")
    assert np.abs(samples - wave).max() < 1e-4
