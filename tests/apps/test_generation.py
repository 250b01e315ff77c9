"""`xnemo outpaint`, `emote` and `interpolate` keep their word, with small networks of random weights."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from animator.builders import animator_config, build_pipeline
from animator.image import write_image
from animator.motion_clip import SUFFIX, MotionClip
from animator.provenance.verify import video_stream_digest
from animator.video import VideoReader, read_audio
from apps.animation import relative_to
from apps.generation import in_batches, numbered
from motion_gpt.vocabulary import EMOTIONS
from motion_gpt.weights import save_gpt
from motion_tokenizer.tokenizer import MotionTokenizer
from tests.animator.media import make_video
from tests.apps.conftest import FRAMES, Outcome
from tests.motion_gpt.talking import speaker_of
from tests.motion_tokenizer import tiny

Frames = NDArray[np.uint8]
Made = Callable[..., Outcome]
RATE = 30  # of the driving clip, whose 12 frames are 10 at the tokenizer's rate: two tokens


@dataclass(frozen=True)
class Folders:
    """Where the weights are."""

    tokenizer: Path
    gpt: Path
    other_tokenizer: Path
    foreign_tokenizer: Path
    encoder_id: str


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A tokenizer and a generator for the tiny animator, another tokenizer, and one for another animator."""
    root = tmp_path_factory.mktemp("made")
    encoder_id = build_pipeline(animator_config("tiny"), seed=0).encoder_id
    tokenizer = MotionTokenizer(tiny.model(), encoder_id)
    return Folders(
        tokenizer.save_pretrained(root / "tokenizer"),
        save_gpt(speaker_of(tokenizer), root / "gpt"),
        MotionTokenizer(tiny.model(seed=1), encoder_id).save_pretrained(root / "other"),
        tiny.tokenizer().save_pretrained(root / "foreign"),
        encoder_id,
    )


@pytest.fixture
def made(xnemo: Callable[..., Outcome], folders: Folders) -> Made:
    """Run a command with these weights, drawing through the GAN head."""

    def run(*words: str | Path) -> Outcome:
        extra = (
            []
            if words[0] == "interpolate"
            else [f"tokenizer_weights={folders.tokenizer}", f"gpt_weights={folders.gpt}"]
        )
        # What the test names comes last and wins.
        return xnemo(words[0], "renderer=gan", *extra, *words[1:])

    return run


def report(outcome: Outcome) -> dict[str, Any]:
    assert outcome.code == 0, outcome.err
    return dict(json.loads(outcome.out))


@pytest.fixture(scope="session")
def motion_file(tiny_weights: Path, driving: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driving clip's motion, as `xnemo extract` writes it."""
    pipeline = build_pipeline(animator_config("tiny"), seed=0)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.encode_motion(driving).save(tmp_path_factory.mktemp("given") / f"driving{SUFFIX}")


def test_an_outpainted_video_is_the_driving_and_what_follows(made: Made, driving: Path) -> None:
    done = report(
        made("outpaint", driving, "--seconds", "0.5", "-o", "r.mp4", "--side-by-side", "--seed", "1", "--json")
    )
    assert (done["frames"], done["t0"], done["fps"], done["seed"]) == (FRAMES + 15, FRAMES, RATE, 1)
    assert done["videos"] == ["r.mp4"] and done["motions"] == []
    with VideoReader("r.mp4") as reader:
        assert (len(reader), reader.info.fps, reader.info.has_audio) == (FRAMES + 15, RATE, True)
    samples, rate = read_audio("r.mp4")
    assert len(samples) / rate == pytest.approx(FRAMES / RATE, abs=0.05), "sound for the part that has it"
    with VideoReader(done["side_by_side"]) as reader:
        assert (len(reader), reader.info.width) == (FRAMES + 15, 128)
        before, after = reader.frame(FRAMES - 1), reader.frame(FRAMES + 2)
    result = slice(64, 128)
    assert not amber(before[:2, result]), "no mark while the driving lasts"
    assert amber(after[:2, result]) and amber(after[30:40, 64:65])
    assert after[:64, :64].mean() < 0.6 * before[:64, :64].mean(), "the driving has stopped and is dark"
    again = made("outpaint", driving, "--seconds", "0.5", "-o", "again.mp4", "--seed", "1")
    assert again.code == 0
    assert video_stream_digest("again.mp4") == video_stream_digest("r.mp4")


def amber(pixels: Frames) -> bool:
    red, green, blue = pixels.reshape(-1, 3).mean(axis=0)
    return bool(red > 180 and blue < 90 and red > green > blue)


def test_motion_out_alone_draws_nothing_and_keeps_the_driving_exactly(
    made: Made, driving: Path, motion_file: Path
) -> None:
    target = f"out/long{SUFFIX}"
    done = report(made("outpaint", driving, "--seconds", "0.4", "--seed", "3", "--motion-out", target, "--json"))
    assert done["videos"] == [] and not list(Path().rglob("*.mp4"))
    clip, given = MotionClip.load(target), MotionClip.load(motion_file)
    assert (len(clip), clip.t0, clip.seed, clip.fps) == (FRAMES + 12, FRAMES, 3, RATE)
    assert torch.equal(clip.latents[:FRAMES], given.latents) and torch.equal(clip.boxes[:FRAMES], given.boxes)
    # A motion file is continued as the video is, and several continuations have several files.
    assert (
        made(
            "outpaint", motion_file, "--seconds", "0.4", "--seed", "3", "--candidates", "2", "--motion-out", target
        ).code
        == 0
    )
    first, second = (MotionClip.load(path) for path in numbered(Path(target), 2))
    assert torch.equal(first.latents, clip.latents)
    assert not torch.equal(second.latents, clip.latents)


def test_candidates_are_several_files_and_one_comparison(made: Made, motion_file: Path, portrait: Path) -> None:
    words = ["--portrait", portrait, "--seconds", "0.3", "--candidates", "2", "-o", "c.mp4", "--side-by-side", "--json"]
    done = report(made("outpaint", motion_file, *words))
    assert done["videos"] == ["c_1.mp4", "c_2.mp4"]
    assert Path("c_1.mp4").read_bytes() != Path("c_2.mp4").read_bytes()
    with VideoReader("c_1.mp4") as reader:
        assert not reader.info.has_audio
    with VideoReader(done["side_by_side"]) as reader:
        assert reader.info.width == 3 * 64


def test_a_part_of_the_driving_is_continued_with_its_own_sound(made: Made, driving: Path) -> None:
    done = report(made("outpaint", driving, "--seconds", "0.2", "start=0.1", "stop=0.3", "-o", "r.mp4", "--json"))
    assert (done["t0"], done["frames"]) == (6, 12)
    samples, rate = read_audio("r.mp4")
    assert len(samples) / rate == pytest.approx(0.2, abs=0.05)


def test_the_diffusion_model_draws_continuations_too(made: Made, driving: Path) -> None:
    words = ["renderer=diffusion", "steps=1", "guidance_scale=1", "--seconds", "0.2", "-o", "r.mp4", "--json"]
    assert report(made("outpaint", driving, *words))["frames"] == FRAMES + 6
    with VideoReader("r.mp4") as reader:
        assert len(reader) == FRAMES + 6


def test_the_portrait_of_a_clip_itself_is_in_place_where_the_clip_ends(
    made: Made, xnemo: Callable[..., Outcome], driving: Path, motion_file: Path
) -> None:
    """Drawn with its own last picture, a clip ends with the head where, and as large as, that picture has it."""
    with VideoReader(driving) as reader:
        write_image("last.png", reader.frame(FRAMES - 1))
    clip = MotionClip.load(motion_file)
    assert float((clip.boxes[-1] - clip.boxes[0]).abs().max()) > 0.003, "the head has moved"
    relative_to(clip, clip.boxes[-1]).save(f"moved{SUFFIX}")
    assert made("outpaint", driving, "marks.pixels=false", "--seconds", "0.2", "-o", "own.mp4").code == 0
    animate = ["animate", "last.png", f"moved{SUFFIX}", "marks.pixels=false", "-o", "same.mp4", "--preview"]
    assert xnemo(*animate).code == 0
    with VideoReader("own.mp4") as ours, VideoReader("same.mp4") as theirs:
        difference = next(ours.chunks(FRAMES)).astype(int) - next(theirs.chunks(FRAMES))
    assert np.abs(difference).mean() < 1, "the two were compressed apart"


def test_an_emotion_from_nothing_begins_in_place(made: Made, portrait: Path) -> None:
    words = ["--emotion", "happy", "--intensity", "3", "--blend", "sad:0.3", "--seconds", "0.6"]
    done = report(made("emote", portrait, *words, "-o", "h.mp4", "--motion-out", f"h{SUFFIX}", "--json"))
    assert (done["frames"], done["t0"], done["fps"], done["emotions"]) == (15, 0, 25, ["happy"])
    clip = MotionClip.load(f"h{SUFFIX}")
    assert (len(clip), clip.t0, clip.seed) == (15, 0, 0)
    assert clip.boxes[0].tolist() == [0.0, 0.0, 1.0]
    with VideoReader("h.mp4") as reader:
        assert (len(reader), reader.info.fps) == (15, 25)
    assert made("emote", portrait, "--emotion", "happy", "--seconds", "0.6", "--motion-out", f"n{SUFFIX}").code == 0
    assert not Path("outputs").exists(), "motion alone draws nothing"
    assert not torch.equal(MotionClip.load(f"n{SUFFIX}").latents, clip.latents), "a blend is something else"


def test_a_script_goes_on_from_a_prefix_with_its_sound(made: Made, portrait: Path, driving: Path) -> None:
    words = ["--script", "neutral:0.32s happy@3:0.4s", "--intensity", "2", "--prefix", driving]
    done = report(made("emote", portrait, *words, "-o", "s.mp4", "--motion-out", f"s{SUFFIX}", "--json"))
    assert (done["emotions"], done["t0"], done["fps"]) == (["neutral", "happy"], FRAMES, RATE)
    assert done["frames"] == FRAMES + round(0.72 * RATE)
    assert len(MotionClip.load(f"s{SUFFIX}")) == done["frames"]
    with VideoReader("s.mp4") as reader:
        assert (len(reader), reader.info.has_audio) == (done["frames"], True)


def test_all_emotions_are_one_labelled_sheet(made: Made, portrait: Path) -> None:
    done = report(made("emote", portrait, "--all", "--seconds", "0.2", "--intensity", "2", "-o", "a.mp4", "--json"))
    assert done["emotions"] == list(EMOTIONS)
    with VideoReader("a.mp4") as reader:
        assert (len(reader), reader.info.width) == (5, 4 * 64)
        assert reader.info.height >= 2 * 64
        labels = reader.frame(0)[64:78]
    assert labels.max() > 150, "there are letters"


def test_interpolation_passes_through_keys_of_all_kinds(
    made: Made, portrait: Path, driving: Path, motion_file: Path
) -> None:
    keys = [portrait, f"{driving}@0.2", f"{driving}@0:00.3", f"{motion_file}@-1"]
    words = ["--seconds", "0.4", "-o", "i.mp4", "--motion-out", f"i{SUFFIX}", "easing=linear", "mode=linear", "--json"]
    done = report(made("interpolate", portrait, *keys, *words))
    assert (done["keys"], done["frames"]) == (4, 31)
    clip = MotionClip.load(f"i{SUFFIX}")
    assert (len(clip), clip.t0, clip.fps) == (31, 1, 25)
    last = MotionClip.load(motion_file)
    assert torch.equal(clip.latents[-1], last.latents[-1]) and torch.equal(clip.boxes[-1], last.boxes[-1])
    assert clip.boxes[0].tolist() == clip.boxes[10].tolist() == [0.0, 0.0, 1.0], "a picture, a video's first key"
    assert clip.boxes[20].tolist() != [0.0, 0.0, 1.0], "the same video's next key"
    torch.testing.assert_close(clip.latents[5], (clip.latents[0] + clip.latents[10]) / 2)
    looped = report(made("interpolate", portrait, *keys[:2], "--seconds", "0.4", "loop=true", "hold=0.2", "--json"))
    assert looped["frames"] == 2 * (10 + 5)
    assert Path(looped["video"]) == Path("outputs/astronaut_interpolated.mp4")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["outpaint", "d.mp4", "--seconds", "0"], "0 seconds: must be more than 0"),
        (["outpaint", "d.mp4", "--seconds", "-3"], "-3 seconds: must be more than 0"),
        (["outpaint", "d.mp4", "--seconds", "nan"], "nan seconds: must be more than 0"),
        (["outpaint", "d.mp4", "--seconds", "ten"], "--seconds ten: must be a number"),
        (["outpaint", "d.mp4", "--seconds", "3600"], "longest=600; if they are meant, add longest=3600"),
        (["outpaint", "d.mp4", "--candidates", "0"], "--candidates 0: must be at least 1"),
        (["outpaint", "d.mp4", "--seed", "-1"], "--seed -1: must be at least 0"),
        (["outpaint", "d.mp4", "--seed", "x"], "--seed x: must be a whole number"),
        (["outpaint", "d.mp4", "--motion-out", "m.safetensors"], "must end in .motion.safetensors"),
        (["outpaint", "d.mp4", "sampling.temperature=-1"], "sampling.temperature=-1"),
        (["outpaint", "d.mp4", "seam.fade=0"], "seam.fade=0: must be at least 1"),
        (["emote", "p.png", "--emotion", "hapy"], f"emotion=hapy: unknown; the emotions are {', '.join(EMOTIONS)}"),
        (["emote", "p.png", "--emotion", "neutral", "--intensity", "3"], "neutral has intensity 1 only"),
        (["emote", "p.png", "--emotion", "happy", "--intensity", "4"], "intensity=4: must be 1, 2 or 3"),
        (["emote", "p.png", "--emotion", "happy", "--blend", "sad"], "blend sad: not understood"),
        (["emote", "p.png", "--emotion", "happy", "--blend", "sad:2"], "blend share 2: must be from 0 to 1"),
        (["emote", "p.png"], "one of --emotion, --script, --all (got none)"),
        (["emote", "p.png", "--all", "--emotion", "sad"], "(got --emotion and --all)"),
        (["emote", "p.png", "--script", "happy"], "happy is not understood; a script is EMOTION:SECONDS"),
        (["emote", "p.png", "--script", "happy:0s"], "happy:0s must last for more than 0 seconds"),
        (["emote", "p.png", "--script", "hapy:2s"], "emotion=hapy: unknown"),
        (["emote", "p.png", "--script", "happy:2s", "--seconds", "3"], "a script has its own"),
        (["emote", "p.png", "--script", "happy:900s"], "longest=600"),
        (["emote", "p.png", "--all", "--motion-out", "m.motion.safetensors"], "--all makes eight"),
        (["interpolate", "p.png", "k.png"], "xnemo interpolate PORTRAIT KEY1 KEY2"),
        (["interpolate", "p.png", "k.png", "l.png", "--seconds", "0"], "0 seconds: must be more than 0"),
        (["interpolate", "p.png", "k.png", "l.png", "mode=cubic"], "mode=cubic: not one of linear, slerp"),
    ],
)
def test_wrong_usage_is_one_line_before_anything_is_loaded(made: Made, words: list[str], says: str) -> None:
    outcome = made(*words)
    assert outcome.code == 2
    assert says in outcome.error
    assert list(Path().iterdir()) == []


def test_a_face_that_leaves_before_the_end_is_told_with_the_way_out(
    made: Made, face_frames: Frames, tmp_path: Path
) -> None:
    gone = np.full_like(face_frames[:9], 90)
    make_video(tmp_path / "leaves.mp4", np.concatenate([face_frames, gone]), RATE)
    words = ["outpaint", "leaves.mp4", "--seconds", "0.2", "--motion-out", f"m{SUFFIX}"]
    outcome = made(*words)
    assert outcome.code == 1
    assert "leaves.mp4: the face leaves at 0:00.4 (frame 12)" in outcome.error
    assert outcome.error.endswith("with stop=0.4")
    assert [path.name for path in tmp_path.iterdir()] == ["leaves.mp4"]
    assert made(*words, "stop=0.4").code == 0
    assert MotionClip.load(f"m{SUFFIX}").t0 == 12


def test_what_cannot_be_continued_is_told_in_one_line(
    made: Made, folders: Folders, driving: Path, motion_file: Path, portrait: Path
) -> None:
    def fails(*words: str | Path) -> str:
        outcome = made(*words)
        assert outcome.code == 1, outcome.out
        assert not Path("outputs").exists()
        return outcome.error

    assert "name one with --portrait FILE" in fails("outpaint", motion_file)
    assert "driving.motion.safetensors: has 2 frames at 25 a second, but a token stands for 4" in fails(
        "outpaint", motion_file, "stop=0.1", "--motion-out", f"m{SUFFIX}"
    )
    assert "driving.motion.safetensors is only 0.40 s long" in fails(
        "outpaint", motion_file, "start=5", "--motion-out", f"m{SUFFIX}"
    )
    assert "take a later stop" in fails("outpaint", driving, "start=0.3", "stop=0.2")
    other = MotionTokenizer.from_pretrained(folders.other_tokenizer).id
    ours = MotionTokenizer.from_pretrained(folders.tokenizer).id
    line = fails("outpaint", driving, f"tokenizer_weights={folders.other_tokenizer}")
    assert other in line and ours in line
    line = fails("outpaint", driving, f"tokenizer_weights={folders.foreign_tokenizer}")
    assert ours in line, "the generator's tokenizer"
    assert "name a folder with gpt_weights=FOLDER" in fails("outpaint", driving, "gpt_weights=nowhere")
    assert "is no frame" in fails("interpolate", portrait, f"{motion_file}@x", portrait)
    assert "has frames 0 to 11, but 12 was asked for" in fails("interpolate", portrait, f"{motion_file}@12", portrait)
    assert "which frame?" in fails("interpolate", portrait, motion_file, portrait)
    assert "the video is only 0.40 s long" in fails("interpolate", portrait, f"{driving}@9", portrait)
    assert "is no time; write seconds" in fails("interpolate", portrait, f"{driving}@noon", portrait)
    assert "no such" in fails("interpolate", portrait, "nobody.png", portrait)


def test_greedy_continuations_do_not_depend_on_the_seed(made: Made, motion_file: Path) -> None:
    for seed in ("1", "2"):
        words = ["--seconds", "0.4", "--seed", seed, "--motion-out", f"{seed}{SUFFIX}", "sampling.temperature=0"]
        assert made("outpaint", motion_file, *words).code == 0
    assert torch.equal(MotionClip.load(f"1{SUFFIX}").latents, MotionClip.load(f"2{SUFFIX}").latents)


def test_killed_in_the_middle_nothing_half_written_is_left(
    made: Made, motion_file: Path, portrait: Path, tmp_path: Path
) -> None:
    """A signal ends the process while it draws ten minutes of video."""
    folder = tmp_path / "out"

    def kill() -> None:
        deadline = time.monotonic() + 60
        since: float | None = None
        while time.monotonic() < deadline:
            busy = folder.is_dir() and any(folder.iterdir())
            since = (since or time.monotonic()) if busy else None
            if since is not None and time.monotonic() - since > 1:
                os.kill(os.getpid(), signal.SIGTERM)
                return
            time.sleep(0.02)

    watcher = threading.Thread(target=kill)
    watcher.start()
    outcome = made("outpaint", motion_file, "--portrait", portrait, "--seconds", "600", "-o", folder / "r.mp4")
    watcher.join()
    assert outcome.code == 130
    assert outcome.error == "interrupted; 0 of 1 continuations are whole"
    assert not folder.exists()


def test_pieces_become_batches_of_the_same_frames() -> None:
    clip = tiny.motion(23)
    pieces = [clip[0:4], clip[4:5], clip[5:21], clip[21:23]]
    batches = list(in_batches(pieces, 8))
    assert [len(batch) for batch in batches] == [8, 8, 7]
    assert torch.equal(torch.cat([batch.latents for batch in batches]), clip.latents)
