"""The command line keeps its word: exit codes, one JSON object, help from the keys, nothing half done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from animator.config_loader import describe
from animator.motion_clip import MotionClip
from animator.provenance.verify import video_stream_digest
from animator.video import VideoReader, read_audio
from apps.animation import cut
from apps.cli import VERBS, main
from tests.animator.media import make_video
from tests.apps.conftest import FRAMES, Outcome

Xnemo = Callable[..., Outcome]


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    for name in VERBS:
        assert f"xnemo {name}" in shown


@pytest.mark.parametrize("name", VERBS)
def test_help_shows_every_key_with_its_default(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    for info in describe(name.replace(" ", "_").replace("-", "_")):
        assert f"{info.name}=" in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["animat"], "did you mean xnemo animate?"),
        (["train"], "xnemo train animator"),
        (["animate", "only_one.png"], "xnemo animate PORTRAIT DRIVING"),
        (["animate", "a.png", "b.mp4", "stepz=2"], "did you mean steps?"),
        (["animate", "a.png", "b.mp4", "steps=none"], "whole number"),
        (["animate", "a.png", "b.mp4", "--loud"], "--loud"),
        (["doctor", "extra.txt"], "xnemo doctor"),
        (["extract"], "xnemo extract VIDEO"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert says in captured.err
    assert len(captured.err.splitlines()) == 1
    assert main([*words, "--json"]) == 2
    assert says in json.loads(capsys.readouterr().out)["error"]


def test_animate_keeps_length_rate_and_sound(xnemo: Xnemo, portrait: Path, driving: Path, tmp_path: Path) -> None:
    outcome = xnemo("animate", portrait, driving, "-o", "result.mp4", "steps=1", "guidance_scale=1", "--json")
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    on_device = {"peak_gpu_memory_mb"} if torch.cuda.is_available() else set()
    assert set(report) == {"output", "frames", "fps", "width", "height", "seconds", "peak_memory_mb"} | on_device
    assert report["peak_memory_mb"] > 50
    info = VideoReader(tmp_path / "result.mp4").info
    assert (info.frames, info.fps, info.width, info.height) == (FRAMES, 30, 64, 64)
    assert (report["frames"], report["fps"], report["width"], report["height"]) == (FRAMES, 30, 64, 64)
    assert info.has_audio
    samples, rate = read_audio(tmp_path / "result.mp4")
    assert len(samples) / rate == pytest.approx(FRAMES / 30, abs=0.05)


def test_the_default_output_is_named_after_both_inputs(xnemo: Xnemo, portrait: Path, driving: Path) -> None:
    outcome = xnemo("animate", portrait, driving, "--preview")
    assert outcome.code == 0, outcome.err
    assert Path("outputs/astronaut_driving.mp4").is_file()
    assert outcome.out.startswith("outputs/astronaut_driving.mp4: 12 frames")


def test_same_seed_same_bytes_and_another_seed_another_video(xnemo: Xnemo, portrait: Path, driving: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert xnemo("animate", portrait, driving, "-o", f"{name}.mp4", "steps=1", f"seed={seed}").code == 0
    first, second, other = (video_stream_digest(f"{name}.mp4") for name in "abc")
    assert first == second
    assert first != other


def test_extracted_motion_drives_like_the_video_itself(xnemo: Xnemo, portrait: Path, driving: Path) -> None:
    outcome = xnemo("extract", driving, "-o", "motion", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out) == {"files": ["motion/driving.motion.safetensors"]}
    motion = MotionClip.load("motion/driving.motion.safetensors")
    assert (len(motion), motion.fps, motion.source) == (FRAMES, 30, "driving.mp4")
    words = ("--preview", "marks.pixels=false")  # the mark in the pixels names what the video was made from
    assert xnemo("animate", portrait, "motion/driving.motion.safetensors", "-o", "m.mp4", *words).code == 0
    assert xnemo("animate", portrait, driving, "-o", "v.mp4", *words).code == 0
    with VideoReader("m.mp4") as ours, VideoReader("v.mp4") as theirs:
        assert not ours.info.has_audio
        np.testing.assert_array_equal(next(ours.chunks()), next(theirs.chunks()))


def test_extract_goes_on_after_a_bad_file_and_says_so_at_the_end(xnemo: Xnemo, driving: Path) -> None:
    Path("bad.mp4").write_text("not a video")
    outcome = xnemo("extract", "bad.mp4", driving, "missing.mp4", "-o", "motion", "--json")
    assert outcome.code == 1
    report = json.loads(outcome.out)
    assert report["files"] == ["motion/driving.motion.safetensors"]
    assert set(report["failed"]) == {"bad.mp4", "missing.mp4"}
    assert report["error"].startswith("2 of 3 failed: bad.mp4")
    assert [path.name for path in Path("motion").iterdir()] == ["driving.motion.safetensors"]


def test_two_inputs_for_one_output_are_refused(xnemo: Xnemo) -> None:
    assert xnemo("extract", "a/x.mp4", "b/x.mp4").code == 2


def test_a_model_rate_keeps_the_clips_own_rate(xnemo: Xnemo, portrait: Path, face_frames: NDArray[np.uint8]) -> None:
    make_video(Path("sixty.mp4"), np.repeat(face_frames, 2, axis=0), 60)
    assert xnemo("animate", portrait, "sixty.mp4", "-o", "r.mp4", "--preview", "model_fps=25").code == 0
    with VideoReader("r.mp4") as reader:
        assert (len(reader), reader.info.fps) == (2 * FRAMES, 60)


def test_seconds_takes_the_beginning_with_its_sound(xnemo: Xnemo, portrait: Path, driving: Path) -> None:
    assert xnemo("animate", portrait, driving, "-o", "r.mp4", "--preview", "seconds=0.2").code == 0
    info = VideoReader("r.mp4").info
    assert (info.frames, info.has_audio) == (6, True)


def test_a_part_begins_with_its_own_sound_and_pose(xnemo: Xnemo, portrait: Path, driving: Path) -> None:
    assert xnemo("animate", portrait, driving, "-o", "part.mp4", "--preview", "start=0.2", "seconds=0.2").code == 0
    info = VideoReader("part.mp4").info
    assert (info.frames, info.has_audio) == (6, True)
    whole, rate = read_audio(driving)
    part, _ = read_audio("part.mp4")
    loudest = np.abs(whole[int(0.2 * rate) : int(0.4 * rate)]).argmax()
    assert np.abs(part).argmax() == pytest.approx(loudest, abs=0.02 * rate)
    assert xnemo("animate", portrait, driving, "--preview", "start=9").code == 1


def test_a_part_is_what_a_file_cut_to_it_gives(
    xnemo: Xnemo, portrait: Path, face_frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    whole = make_video(tmp_path / "whole.mp4", face_frames, 30, x264="keyint=4:min-keyint=4:scenecut=0:bframes=0")
    with av.open(str(whole)) as source, av.open(str(tmp_path / "cut.mp4"), "w") as target:
        (stream,) = source.streams.video
        copied = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        begin = packets[4].pts
        assert packets[4].is_keyframe and begin is not None
        for packet in packets[4:10]:
            packet.pts, packet.dts, packet.stream = packet.pts - begin, packet.dts - begin, copied
            target.mux(packet)
    words = ["--preview", "reader=pyav", "marks.pixels=false"]
    part = xnemo("animate", portrait, whole, "-o", "part.mp4", *words, f"start={4 / 30}", "seconds=0.2")
    assert part.code == 0, part.err
    assert xnemo("animate", portrait, "cut.mp4", "-o", "alone.mp4", *words).code == 0
    with VideoReader("part.mp4") as ours, VideoReader("alone.mp4") as theirs:
        np.testing.assert_array_equal(next(ours.chunks()), next(theirs.chunks()))
    # No frame beside these has been looked at.
    assert "6/6" in part.err and "12/12" not in part.err


def test_a_part_is_relative_to_its_own_first_frame() -> None:
    boxes = torch.tensor([[0.0, 0.0, 1.0], [1.0, -1.0, 2.0], [3.0, 0.0, 4.0]])
    part = cut(MotionClip(torch.zeros(3, 512), boxes, 25.0, "0" * 16), 1, None)
    assert part.boxes.tolist() == [[0.0, 0.0, 1.0], [1.0, 0.5, 2.0]]


def test_doctor_reports_what_there_is(xnemo: Xnemo, tiny_weights: Path) -> None:
    outcome = xnemo("doctor", "--json")
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    assert report["weights"]["found"]
    assert report["weights"]["path"] == str(tiny_weights)
    assert len(report["weights"]["encoder_id"]) == 16
    assert report["versions"]["torch"]
    assert report["readers"]["pyav"]
    needed = report["memory"]["needed_mb"]
    assert needed["tiny"] < needed["lite"] < needed["xnemo"]
    assert "needs about" in xnemo("doctor").out


def test_doctor_reports_missing_weights_without_failing(xnemo: Xnemo, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "weights=nowhere", "--json"]) == 0
    assert not json.loads(capsys.readouterr().out)["weights"]["found"]


@pytest.mark.slow
def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    code = "import sys; sys.modules['tensorboard'] = None; from apps.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "animator", f"output={tmp_path}"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: tensorboard is not installed; pip install")


def test_demo_leaves_three_pictures_of_the_result(xnemo: Xnemo, driving: Path) -> None:
    outcome = xnemo("demo", f"driving={driving}", "output=shown", "start=0.1", "renderer=gan", "--json")
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    assert sorted(path.name for path in Path("shown").iterdir()) == [
        "animated.mp4",
        "contact_sheet.png",
        "side_by_side.mp4",
    ]
    with VideoReader(report["side_by_side"]) as reader:
        assert (len(reader), reader.info.width, reader.info.has_audio) == (FRAMES - 3, 3 * 64, True)


def test_the_demo_shows_a_clip_of_ones_own_from_its_beginning(xnemo: Xnemo, driving: Path) -> None:
    """The part that is cut out of the fetched clip begins long after a short clip of the user's has ended."""
    outcome = xnemo("demo", f"driving={driving}", "output=shown", "renderer=gan", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["frames"] == FRAMES


@pytest.mark.slow
def test_interrupting_ends_with_130_says_what_is_kept_and_leaves_nothing_half_written(
    tiny_weights: Path, portrait: Path, driving: Path, tmp_path: Path
) -> None:
    words = ["animate", str(portrait), str(driving), "-o", "r.mp4", f"weights={tiny_weights}", "steps=900"]
    with subprocess.Popen(
        [sys.executable, "-m", "apps.cli", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert err.splitlines()[-1] == "error: interrupted; r.mp4 was not written"
    assert list(tmp_path.iterdir()) == []


INTERRUPTED_IN_TEXT = """
import sys
from apps import cli, commands
commands.__path__.append(sys.path[0])
cli.VERBS["interrupted"] = ("interrupted_verb", "executes text, as many libraries do, and is interrupted at that")
sys.exit(cli.main(["interrupted"]))
"""


def test_an_interrupt_that_meets_text_which_a_library_executes_ends_with_130_too(tmp_path: Path) -> None:
    (tmp_path / "interrupted_verb.py").write_text('exec("raise KeyboardInterrupt")\n')
    (tmp_path / "command.py").write_text(INTERRUPTED_IN_TEXT)
    places = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    outcome = subprocess.run(
        [sys.executable, "-m", "command"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": places},
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 130, outcome.stderr
    assert outcome.stderr.startswith("error: interrupted")
