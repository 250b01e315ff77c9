"""`xnemo tokenize` and `xnemo detokenize`: files in, files out, and one line where something is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from animator.builders import animator_config, build_pipeline
from animator.motion_clip import MotionClip
from animator.video import VideoReader
from motion_tokenizer.token_sequence import TokenSequence
from motion_tokenizer.tokenizer import MotionTokenizer
from tests.apps.conftest import FRAMES, Outcome
from tests.motion_tokenizer import tiny

Xnemo = Callable[..., Outcome]


@pytest.fixture(scope="session")
def encoder_id() -> str:
    return build_pipeline(animator_config("tiny"), seed=0).encoder_id


@pytest.fixture(scope="session")
def weights(encoder_id: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny tokenizer for the tiny animator's latents."""
    return tiny.tokenizer(encoder_id=encoder_id).save_pretrained(tmp_path_factory.mktemp("tokenizer") / "tiny")


@pytest.fixture
def tokens(xnemo: Xnemo, weights: Path) -> Xnemo:
    """Run a verb with the tiny tokenizer."""
    return lambda *words: xnemo(*words, f"tokenizer_weights={weights}")


@pytest.fixture
def motion_file(encoder_id: str, tmp_path: Path) -> Path:
    return tiny.motion(27, encoder_id=encoder_id).save(tmp_path / "clip.motion.safetensors")


def test_a_video_and_its_motion_file_have_the_same_tokens(tokens: Xnemo, xnemo: Xnemo, driving: Path) -> None:
    outcome = tokens("tokenize", driving, "-o", "video", "--json")
    assert outcome.code == 0, outcome.err
    report = json.loads(outcome.out)
    assert (report["files"], report["videos"]) == (["video/driving.tokens.json"], [])
    assert xnemo("extract", driving, "-o", "motion").code == 0
    assert tokens("tokenize", "motion/driving.motion.safetensors", "-o", "file").code == 0
    one, other = (TokenSequence.load(f"{name}/driving.tokens.json") for name in ("video", "file"))
    assert torch.equal(one.tokens, other.tokens)
    # 12 frames at 30 a second are 10 at 25.
    assert (one.frames, one.fps, len(one), one.source) == (FRAMES * 25 // 30, 25.0, 3, "driving.mp4")
    assert one.tokenizer_id == report["tokenizer_id"] == other.tokenizer_id


def test_tokens_become_motion_again(tokens: Xnemo, weights: Path, motion_file: Path) -> None:
    assert tokens("tokenize", motion_file, "-o", "out").code == 0
    outcome = tokens("detokenize", "out/clip.tokens.json", "-o", "back.motion.safetensors", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out) == {"output": "back.motion.safetensors", "frames": 27, "fps": 25.0, "video": None}
    back = MotionClip.load("back.motion.safetensors")
    expected = MotionTokenizer.from_pretrained(weights).reconstruct(MotionClip.load(motion_file))
    assert torch.equal(back.latents, expected.latents) and torch.equal(back.boxes, expected.boxes)
    # Of a motion file: what its tokens keep of it. A part of it is cut out first.
    assert tokens("detokenize", motion_file, "-o", "direct.motion.safetensors").code == 0
    assert torch.equal(MotionClip.load("direct.motion.safetensors").latents, expected.latents)
    assert tokens("detokenize", "out/clip.tokens.json", "start=0.2", "seconds=0.4").code == 0
    assert len(MotionClip.load("outputs/clip.motion.safetensors")) == 10


def test_both_draw_what_the_tokens_say(tokens: Xnemo, portrait: Path, driving: Path) -> None:
    drawn = ("--portrait", portrait, "renderer=gan", "marks.pixels=false")
    outcome = tokens("tokenize", driving, *drawn, "-o", "out", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["videos"] == ["out/driving.mp4"]
    info = VideoReader("out/driving.mp4").info
    assert (info.frames, info.fps, info.width, info.has_audio) == (10, 25, 64, True)
    assert tokens("detokenize", "out/driving.tokens.json", *drawn, "-o", "again.motion.safetensors").code == 0
    with VideoReader("again.mp4") as again, VideoReader("out/driving.mp4") as first:
        assert not again.info.has_audio
        assert (next(again.chunks()) == next(first.chunks())).all()


def test_tokenize_goes_on_after_bad_files(tokens: Xnemo, motion_file: Path, encoder_id: str) -> None:
    tiny.motion(12).save("other.motion.safetensors")
    short = replace(tiny.motion(3, encoder_id=encoder_id), source="talk.mp4")
    short.save("short.motion.safetensors")
    Path("bad.mp4").write_text("not a video")
    content = load_file(motion_file)
    content["latents"][4] = torch.nan
    save_file(content, "nan.motion.safetensors", {"schema": "1", "fps": "25.0", "encoder_id": encoder_id})
    bad = {
        "other.motion.safetensors": "made by motion encoder 0123456789abcdef",
        "short.motion.safetensors": "has 3 frames at 25 a second, but a token stands for 4",
        "nan.motion.safetensors": "latents hold NaN or infinity in 1 frames (first: frame 4)",
        "missing.motion.safetensors": "no such motion file",
        "bad.mp4": "bad.mp4",
    }
    outcome = tokens("tokenize", *bad, motion_file, "-o", "out", "--json")
    assert outcome.code == 1
    report = json.loads(outcome.out)
    assert report["files"] == ["out/clip.tokens.json"]
    assert [path.name for path in Path("out").iterdir()] == ["clip.tokens.json"]
    assert set(report["failed"]) == set(bad)
    for name, reason in bad.items():
        assert report["failed"][name].startswith(f"{name}: ") and reason in report["failed"][name]


def test_tokens_that_cannot_be_decoded_are_told_in_one_line(tokens: Xnemo, motion_file: Path) -> None:
    assert tokens("tokenize", motion_file, "-o", ".").code == 0
    good = json.loads(Path("clip.tokens.json").read_text())
    for name, changes, reason in (
        ("large", {"tokens": [999] * 7}, "token [999] at step 0 is not 0 to 255"),
        ("other", {"tokenizer_id": "feed"}, "made by tokenizer feed, but the one in use is"),
        ("long", {"frames": 40}, "7 tokens of 4 frames cannot make 40 frames"),
        ("nan", {"fps": float("nan")}, "fps must be above 0"),
    ):
        path = Path(f"{name}.tokens.json")
        path.write_text(json.dumps(good | changes))
        outcome = tokens("detokenize", path, "-o", "x.motion.safetensors")
        assert outcome.code == 1
        assert outcome.error.startswith(f"{path}: ") and reason in outcome.error
    Path("cut.tokens.json").write_text(json.dumps(good)[:50])
    assert "not a token file" in tokens("detokenize", "cut.tokens.json").error
    assert not Path("x.motion.safetensors").exists() and not Path("outputs").exists()


def test_wrong_tokenizers_and_outputs_are_told_before_any_work(
    tokens: Xnemo, xnemo: Xnemo, motion_file: Path, driving: Path
) -> None:
    assert "no tokenizer here" in xnemo("tokenize", motion_file, "tokenizer_weights=nowhere").error
    tiny.tokenizer().save_pretrained("foreign")
    assert "that belong together" in xnemo("tokenize", driving, "tokenizer_weights=foreign").error
    assert "name a file that ends in .motion.safetensors" in tokens("detokenize", motion_file, "-o", "x.json").error
    assert "is the input" in tokens("detokenize", motion_file, "-o", motion_file).error
    outcome = tokens("tokenize", motion_file, f"elsewhere/{motion_file.name}")
    assert outcome.code == 2 and "two inputs would both be written" in outcome.error
    assert "no-portrait.png" in tokens("tokenize", motion_file, "--portrait", "no-portrait.png").error
    assert not Path("outputs").exists()
