"""Promises of animator.video, animator.video_probe and animator.audio, kept on real files."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from animator import video
from animator.errors import XNeMoError
from animator.video import VideoReader, VideoWriter, read_audio, resample_indices, write_wav
from animator.video_probe import decoded
from tests.animator.media import click_times, clicks, clip_frames, make_video, numbered, numbers

# Both libraries convert colours with swscale, but not with the same version of it.
SAME_PICTURE = 2  # levels of 255


def read_all(path: Path, backend: str = "auto", size: int = 32) -> NDArray[np.uint8]:
    with VideoReader(path, backend) as reader:  # type: ignore[arg-type]
        frames = np.concatenate(list(reader.chunks(size)))
        assert len(frames) == len(reader)
        assert frames.shape[1:] == (reader.info.height, reader.info.width, 3)
    return frames


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(np.int16) - other).max())


@pytest.fixture(scope="session")
def frames(clip: Path) -> NDArray[np.uint8]:
    """50 real frames that carry their numbers."""
    return numbered(clip_frames(clip, 50))


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["GRID_01_neutral_01", "AOC_01", "xnemo_demo_01", "lp_d13_man_selfie_01"])
def test_decord_and_pyav_give_the_same_frames(shared_data: Path, name: str) -> None:
    path = shared_data / "clips" / f"{name}.mp4"
    pytest.importorskip("decord", reason="decord has no wheel for this machine")
    assert VideoReader(path).backend == "decord"
    readers = VideoReader(path, "decord").chunks(7), VideoReader(path, "pyav").chunks(7)
    for one, other in zip(*readers, strict=True):
        assert difference(one, other) <= SAME_PICTURE


@pytest.mark.parametrize(("name", "count"), [("KristiNoem_02", 118), ("mt_man_podium_01", 293)])
def test_files_that_decord_cannot_open_are_read_without_a_word(
    shared_data: Path, name: str, count: int, capfd: pytest.CaptureFixture[str]
) -> None:
    path = shared_data / "clips" / f"{name}.mp4"
    assert VideoReader(path).backend == "pyav"
    assert len(read_all(path)) == count
    assert capfd.readouterr() == ("", "")
    pytest.importorskip("decord", reason="decord has no wheel for this machine")
    with pytest.raises(XNeMoError, match=f"{name}.mp4: decord"):
        VideoReader(path, "decord")


def test_everything_is_read_where_decord_is_not_installed(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    assert VideoReader(clip).backend == "pyav"
    assert len(read_all(clip)) == 75


@pytest.mark.parametrize("backend", ["auto", "pyav"])
def test_jumps_land_on_the_very_frame_even_in_open_groups_of_pictures(
    tmp_path: Path, frames: NDArray[np.uint8], backend: str
) -> None:
    many = np.concatenate([frames, frames[::-1], frames])
    path = make_video(tmp_path / "open.mp4", many, x264="open-gop=1:keyint=12:bframes=8")
    every = clip_frames(path)
    reader = VideoReader(path, backend)  # type: ignore[arg-type]
    for index in (149, 7, 60, 0, 61, 100, 33, 32):
        assert difference(reader.frame(index), every[index]) <= SAME_PICTURE
    part = np.concatenate(list(reader.chunks(10, 85, 120)))
    assert difference(part, every[85:120]) <= SAME_PICTURE


def test_chunks_are_no_larger_than_asked_and_cut_like_slices(clip: Path) -> None:
    reader = VideoReader(clip)
    assert [len(chunk) for chunk in reader.chunks(32)] == [32, 32, 11]
    assert [len(chunk) for chunk in reader.chunks(32, 70, 1000)] == [5]
    assert list(reader.chunks(32, 75)) == []
    with pytest.raises(IndexError):
        reader.frame(75)
    with pytest.raises(ValueError, match="size"):
        next(reader.chunks(0))


def test_two_iterators_over_one_reader_do_not_disturb_each_other(clip: Path, frames: NDArray[np.uint8]) -> None:
    reader = VideoReader(clip)
    every = clip_frames(clip)
    pairs = list(zip(reader.chunks(10), reader.chunks(10), strict=True))
    for side in (0, 1):
        assert difference(np.concatenate([pair[side] for pair in pairs]), every) <= SAME_PICTURE


def test_a_part_is_a_video_of_its_own(clip: Path, frames: NDArray[np.uint8], tmp_path: Path) -> None:
    path = make_video(tmp_path / "numbered.mp4", frames, 25)
    with VideoReader(path) as whole:
        for start, stop in ((0, 7), (40, None), (3, 44), (-5, None)):
            part, wanted = whole.part(start, stop), list(range(50))[start:stop]
            assert (len(part), part.info.frames, part.info.fps) == (len(wanted), len(wanted), 25)
            assert part.info.seconds == len(wanted) / 25
            assert numbers(np.concatenate(list(part.chunks(3)))) == wanted
            assert numbers(next(part.chunks(2, 1, 3))) == wanted[1:3]
            assert numbers(part.part(1, 4).frame(2)[None]) == [wanted[3]]
        # The whole still reads on where it was.
        chunks = whole.chunks(10)
        assert numbers(next(chunks)) == list(range(10))
        next(whole.part(0, 30).chunks(30))
        assert numbers(next(chunks)) == list(range(10, 20))
        assert whole.part(0, 5).backend == whole.backend
        for start, stop in ((50, None), (5, 5)):
            with pytest.raises(ValueError, match="no pictures from"):
                whole.part(start, stop)


def test_only_the_part_is_decoded(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "long.mp4", clip_frames(clip), 25, x264="keyint=10:min-keyint=10")
    reader = VideoReader(path, "pyav")
    count = 0

    def counting(*arguments: Any) -> Iterator[Any]:
        nonlocal count
        for picture in decoded(*arguments):
            count += 1
            yield picture

    monkeypatch.setattr(video, "decoded", counting)
    assert len(reader) == 75
    for start, stop, most in ((0, 6, 7), (65, 71, 6 + video.SEEK_MARGIN + 10)):
        count = 0
        list(reader.part(start, stop).chunks())
        assert count <= most


@pytest.mark.parametrize("backend", ["auto", "pyav"])
def test_memory_does_not_grow_with_the_clip(shared_data: Path, backend: str) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of one process alone is read from Linux's /proc")
    # 5000 frames of 256 x 256 are 983 MB as pictures.
    script = f"""
from pathlib import Path
from animator.video import VideoReader
reader = VideoReader({str(shared_data / "clips" / "fgnet_franck_01.mp4")!r}, {backend!r})
print(sum(len(chunk) for chunk in reader.chunks()))
print(*[line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")])
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    count, peak = map(int, result.stdout.split())
    assert count == 5000
    assert peak < 250 * 1024  # KiB; the libraries alone are about 90


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_rotation_and_mirroring_are_applied(
    tmp_path: Path, frames: NDArray[np.uint8], rotation: int, mirrored: bool
) -> None:
    wide = frames[:3, :128]
    path = make_video(tmp_path / "turned.mp4", wide, rotation=rotation, mirrored=mirrored)
    stored = clip_frames(path)
    # PyAV: "a counter-clockwise rotation; hflip mirrors after it".
    expected = np.rot90(stored, rotation // 90, axes=(1, 2))
    expected = expected[:, :, ::-1] if mirrored else expected
    info = VideoReader(path).info
    assert (info.width, info.height) == ((256, 128) if rotation in (0, 180) else (128, 256))
    assert difference(read_all(path), expected) == 0
    if not mirrored:
        assert info.rotation == -rotation % 360


def test_non_square_pixels_are_made_square(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    path = make_video(tmp_path / "wide.mp4", frames[:5, :, :192], aspect=Fraction(4, 3))
    info = VideoReader(path).info
    assert (info.width, info.height) == (256, 256)
    assert read_all(path).shape == (5, 256, 256, 3)


def test_variable_frame_rate_is_laid_out_on_a_constant_one_in_step_with_time(
    tmp_path: Path, frames: NDArray[np.uint8]
) -> None:
    # 30 fps with frames dropped here and there and one shown for half a second, on a 1/90 s clock with jitter.
    steps = [3] * 50
    steps[5], steps[6], steps[20], steps[30] = 6, 9, 46, 4
    ticks = np.cumsum([0, *steps[:-1]]).tolist()
    path = make_video(tmp_path / "variable.mp4", frames, 90, ticks=ticks, tone=2.0)
    reader = VideoReader(path)
    assert (reader.info.variable_rate, reader.info.rate, reader.backend) == (True, 30, "pyav")
    assert reader.info.seconds == pytest.approx(ticks[-1] / 90, abs=2 / 30)
    shown = numbers(read_all(path))
    assert (shown[0], shown[-1]) == (0, 49)
    for tick, number in enumerate(shown):
        assert ticks[number] / 90 <= tick / 30 + 0.5 / 30 + 1e-6, "shown before its time"
        if number < 49:
            assert ticks[number + 1] / 90 > tick / 30 + 0.5 / 30 - 1e-6, "shown after the next one's time"
    for index in (40, 25, 3):
        assert numbers(reader.frame(index)[None]) == [shown[index]]


def test_small_jitter_is_no_variable_rate(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    wobble = np.random.default_rng(0).integers(-8, 9, 50)
    ticks = (np.arange(50) * 40 + wobble - wobble[0]).tolist()
    path = make_video(tmp_path / "jitter.mp4", frames, 1000, ticks=ticks)
    info = VideoReader(path).info
    assert (info.variable_rate, info.frames) == (False, 50)
    assert info.fps == pytest.approx(25, rel=0.01)
    assert numbers(read_all(path)) == list(range(50))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi", ".ts"])
@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60), Fraction(12)])
def test_constant_rates_are_exact_in_every_container(
    tmp_path: Path, frames: NDArray[np.uint8], rate: Fraction, suffix: str
) -> None:
    # .avi stores no time stamps for B-frames.
    path = make_video(tmp_path / f"rate{suffix}", frames, rate, x264="bframes=0" if suffix == ".avi" else "")
    info = VideoReader(path).info
    assert (info.rate, info.frames, info.variable_rate) == (rate, 50, False)
    assert info.seconds == pytest.approx(float(50 / rate))
    assert numbers(read_all(path)) == list(range(50))


def test_one_frame_is_a_video(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    path = make_video(tmp_path / "one.mp4", frames[:1])
    info = VideoReader(path).info
    assert (info.frames, info.rate, info.has_audio) == (1, 25, False)
    assert len(read_all(path)) == 1


def test_odd_sizes_are_read_whole(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    path = make_video(tmp_path / "odd.mp4", frames[:5, :131, :255], pix_fmt="yuv444p")
    assert read_all(path).shape == (5, 131, 255, 3)


def test_ten_bit_colour_is_read_the_way_pyav_shows_it(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    path = make_video(tmp_path / "ten.mp4", frames[:5], pix_fmt="yuv420p10le")
    assert difference(read_all(path), clip_frames(path)) == 0


def test_damage_in_the_middle_costs_pictures_but_not_the_timing(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    path = make_video(tmp_path / "damaged.mkv", frames, x264="keyint=10")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    for packet in packets[15:18]:
        at = data.find(bytes(packet))
        data[at : at + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    reader = VideoReader(path)
    assert reader.info.frames == 50
    assert numbers(read_all(path))[40:] == list(range(40, 50))


# --- files that cannot be read ---------------------------------------------------------------------------------------


def bad_file(kind: str, folder: Path, frames: NDArray[np.uint8], clip: Path) -> tuple[Path, str]:
    """A file of a kind and what the error must say."""
    path = folder / "bad.mp4"
    if kind == "missing":
        return path, "no such file"
    if kind == "folder":
        path.mkdir()
        return path, "is a folder"
    if kind == "empty":
        path.touch()
        return path, "is empty"
    if kind == "text":
        path.write_text("This is no video at all.\n" * 200)
        return path, "cannot be read as video"
    if kind == "playlist":
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{clip}\n#EXT-X-ENDLIST\n")
        return path, "cannot be read as video"
    if kind == "cut, index in front":
        path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
        return path, "is cut off: at least"
    if kind == "cut, index behind":
        whole = make_video(folder / "whole.mp4", frames, tone=1.0).read_bytes()
        path.write_bytes(whole[: len(whole) * 2 // 3])
        return path, "moov atom not found"
    if kind == "index lost":
        whole = make_video(folder / "whole.mp4", frames).read_bytes()
        path.write_bytes(whole[: whole.rindex(b"moov") - 4])
        return path, "moov atom not found"
    if kind == "sound only":
        with av.open(str(path), "w") as output:
            stream = output.add_stream("aac", rate=48000, layout="mono")
            frame = av.AudioFrame.from_ndarray(clicks(1.0, 48000)[None], format="flt", layout="mono")
            frame.sample_rate = 48000
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        return path, "holds sound only"
    if kind == "2 x 2":
        return make_video(path, frames[:3], size=(2, 2)), "is 2 x 2 pixels"
    raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind",
    ["missing", "folder", "empty", "text", "playlist", "cut, index in front", "cut, index behind", "index lost",
     "sound only", "2 x 2"],
)  # fmt: skip
@pytest.mark.parametrize("backend", ["auto", "pyav", "decord"])
def test_bad_file_is_one_clear_line(
    tmp_path: Path, frames: NDArray[np.uint8], clip: Path, kind: str, backend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path, expected = bad_file(kind, tmp_path, frames, clip)
    capfd.readouterr()  # the encoder's chatter
    with pytest.raises(XNeMoError) as caught:
        VideoReader(path, backend)  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


# --- writing ---------------------------------------------------------------------------------------------------------


def write(path: Path, frames: NDArray[np.uint8], fps: float | Fraction = 25, audio_from: Path | None = None) -> Path:
    with VideoWriter(path, fps, audio_from) as writer:
        for begin in range(0, len(frames), 7):
            writer.write(frames[begin : begin + 7])
    return path


def streams(path: Path) -> dict[str, av.stream.Stream]:
    with av.open(str(path)) as container:
        return {stream.type: stream for stream in container.streams}


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize(
    ("fps", "rate"),
    [(25, Fraction(25)), (29.97, Fraction(30000, 1001)), (Fraction(24000, 1001), None), (60.0, Fraction(60)),
     (12.5, Fraction(25, 2)), (Fraction(1999, 80), None)],
)  # fmt: skip
def test_written_rate_is_exact(
    tmp_path: Path, frames: NDArray[np.uint8], fps: float | Fraction, rate: Fraction | None
) -> None:
    info = VideoReader(write(tmp_path / "out.mp4", frames, fps)).info
    assert (info.rate, info.frames, info.variable_rate, info.has_audio) == (rate or fps, 50, False, False)


def test_written_pictures_come_back(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    path = write(tmp_path / "out.mp4", frames)
    back = read_all(path)
    error = np.mean((back.astype(float) - frames) ** 2)
    assert 10 * np.log10(255**2 / error) > 36  # dB; halved colour resolution and crf 18
    # No colour cast; swscale's usual conversion rounds down, which costs about one level.
    assert np.abs((back.astype(float) - frames).mean(axis=(0, 1, 2))).max() < 2
    assert numbers(back) == list(range(50))


def test_written_file_is_h264_yuv420p_with_its_index_in_front(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    path = write(tmp_path / "out.mp4", frames)
    context = streams(path)["video"].codec_context
    assert (context.name, context.pix_fmt, context.colorspace) == ("h264", "yuv420p", 1)  # 1: BT.709
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_odd_sizes_are_filled_up_by_repeating_the_edge(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    back = read_all(write(tmp_path / "out.mp4", frames[:5, :131, :255]))
    assert back.shape == (5, 132, 256, 3)
    assert np.abs(back[:, :131, :255].astype(float) - frames[:5, :131, :255]).mean() < 3


def test_same_frames_give_the_same_bytes_on_any_number_of_cores(tmp_path: Path, clip: Path) -> None:
    script = f"""
import os, sys
if sys.argv[2] == "1" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
from pathlib import Path
from animator.video import VideoReader, VideoWriter
clip = Path({str(clip)!r})
with VideoWriter(sys.argv[1], 25, clip) as writer:
    for chunk in VideoReader(clip).chunks():
        writer.write(chunk)
"""
    digests = set()
    for run, cores in enumerate("021"):
        path = tmp_path / f"{run}.mp4"
        subprocess.run([sys.executable, "-c", script, str(path), cores], check=True)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_small_pictures_give_the_same_bytes_every_time(tmp_path: Path) -> None:
    for height, width in ((64, 64), (256, 48), (32, 32)):
        noise = np.random.default_rng(0).normal(128, 20, (12, height, width, 3)).cumsum(0) / 4 + 60
        frames = noise.clip(0, 255).astype(np.uint8)
        digests = {hashlib.sha256(write(tmp_path / "small.mp4", frames).read_bytes()).hexdigest() for _ in range(150)}
        assert len(digests) == 1


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


# --- writing that fails ----------------------------------------------------------------------------------------------


def test_failure_in_the_block_leaves_nothing_and_keeps_the_old_file(
    tmp_path: Path, frames: NDArray[np.uint8], clip: Path
) -> None:
    path = tmp_path / "out.mp4"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), VideoWriter(path, 25, clip) as writer:
        writer.write(frames)
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_frames_is_one_clear_line_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match=r"out.mp4: not written"), VideoWriter(tmp_path / "out.mp4", 25):
        pass
    assert list(tmp_path.iterdir()) == []


def test_wrong_pictures_are_refused(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="one size"), VideoWriter(tmp_path / "out.mp4", 25) as writer:
        writer.write(frames[:2])
        writer.write(frames[:2, :128])
    with pytest.raises(ValueError, match="uint8"), VideoWriter(tmp_path / "out.mp4", 25) as writer:
        writer.write(frames[:2].astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="with"):
        VideoWriter(tmp_path / "out.mp4", 25).write(frames)
    with pytest.raises(ValueError, match="fps"):
        VideoWriter(tmp_path / "out.mp4", 0)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "out.mp4", Path("/proc/out.mp4"), tmp_path):
        with pytest.raises(XNeMoError) as caught, VideoWriter(path, 25):
            pytest.fail("the block must not run")
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_missing_sound_file_is_told_before_the_work_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match=r"no.mp4: no such file"):
        VideoWriter(tmp_path / "new" / "out.mp4", 25, tmp_path / "no.mp4").__enter__()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [2_000, 60_000])
def test_write_that_the_system_refuses_is_one_clear_line_and_leaves_nothing(
    tmp_path: Path, clip: Path, limit: int
) -> None:
    # A limit on file size makes the kernel refuse, early and late in the file, as a full disk does.
    script = f"""
import resource, signal
from animator.errors import XNeMoError
from animator.video import VideoReader, VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    with VideoWriter({str(tmp_path / "out" / "out.mp4")!r}, 25, {str(clip)!r}) as writer:
        for chunk in VideoReader({str(clip)!r}).chunks():
            writer.write(chunk)
except XNeMoError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == f"{tmp_path / 'out' / 'out.mp4'}: cannot be written: File too large"
    assert result.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_one_clear_line_and_leaves_nothing(tmp_path: Path, frames: NDArray[np.uint8]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk to fill can only be mounted by root on Linux")
    try:
        with pytest.raises(XNeMoError, match=r"out.mp4: cannot be written: No space left on device"):
            write(disk / "out.mp4", frames)
        with pytest.raises(XNeMoError, match=r"x.wav: cannot be written: No space left on device"):
            write_wav(disk / "x.wav", clicks(10, 16000), 16000)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# --- changing the rate -----------------------------------------------------------------------------------------------


def test_resampling_takes_the_nearest_frame() -> None:
    assert resample_indices(10, 60, 25).tolist() == [0, 2, 5, 7]  # times 0, 2.4, 4.8, 7.2 in old frames
    assert resample_indices(4, 25, 60, 10).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 3, 3]
    assert resample_indices(7, 30, 30).tolist() == list(range(7))
    assert resample_indices(1, 60, 25).tolist() == [0]


@pytest.mark.parametrize("fps", [60, 30, 29.97, 24000 / 1001, 50, 12])
def test_resampling_there_and_back_keeps_length_and_time(fps: float) -> None:
    there = resample_indices(1000, fps, 25)
    assert len(there) == pytest.approx(1000 / fps * 25, abs=0.51)
    back = resample_indices(len(there), 25, fps, 1000)
    assert len(back) == 1000
    slowest = max(1 / 25, 1 / fps)
    assert np.abs(there[back] - np.arange(1000)).max() / fps <= slowest + 1e-9
    assert (np.diff(back) >= 0).all()
    assert back[-1] <= len(there) - 1


def test_resampling_refuses_nonsense() -> None:
    for arguments in ((0, 25, 25), (5, 0, 25), (5, 25, -1)):
        with pytest.raises(ValueError, match="must be"):
            resample_indices(*arguments)
