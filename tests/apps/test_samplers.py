"""Samplers and the released preprocessing from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from animator.motion_clip import MotionClip
from animator.provenance.verify import video_stream_digest
from animator.video import VideoReader, VideoWriter
from apps.cli import main
from tests.apps.conftest import FRAMES, Outcome

Xnemo = Callable[..., Outcome]


@pytest.fixture
def portrait() -> Path:
    import skimage

    return Path(skimage.__file__).parent / "data" / "astronaut.png"


@pytest.fixture
def square(face_frames: np.ndarray, tmp_path: Path) -> Path:
    """The driving clip without what lies right and left of the face, at the rate for which the release is made."""
    height = face_frames.shape[1]
    left = (face_frames.shape[2] - height) // 2
    with VideoWriter(tmp_path / "square.mp4", 25) as writer:
        writer.write(face_frames[:, :, left : left + height])
    return tmp_path / "square.mp4"


def test_samplers_make_different_videos_of_the_same_clip(xnemo: Xnemo, portrait: Path, driving: Path) -> None:
    for name in ("paper", "release"):
        words = ("-o", f"{name}.mp4", f"sampler={name}", "steps=1", "guidance_scale=1", "--json")
        outcome = xnemo("animate", portrait, driving, *words)
        assert outcome.code == 0, outcome.err
        assert json.loads(outcome.out)["frames"] == FRAMES
        info = VideoReader(f"{name}.mp4").info
        assert (info.fps, info.has_audio) == (30, True)
    with VideoReader("paper.mp4") as paper, VideoReader("release.mp4") as release:
        assert not np.array_equal(paper.frame(3), release.frame(3))


def test_steps_are_the_samplers_unless_said(xnemo: Xnemo, portrait: Path, driving: Path) -> None:
    words = ("sampler=release", "sampler.steps=2", "guidance_scale=1")
    assert xnemo("animate", portrait, driving, "-o", "a.mp4", *words).code == 0
    assert xnemo("animate", portrait, driving, "-o", "b.mp4", *words, "steps=2").code == 0
    assert xnemo("animate", portrait, driving, "-o", "c.mp4", *words, "steps=1").code == 0
    a, b, c = (video_stream_digest(f"{name}.mp4") for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize(
    ("word", "key"), [("sampler=release", "sampler="), ("sampler.f_rts=reference", "sampler="), ("steps=4", "steps=")]
)
def test_a_renderer_that_does_not_sample_refuses_to_be_told_how(
    xnemo: Xnemo, portrait: Path, driving: Path, word: str, key: str
) -> None:
    words = ("animate", portrait, driving, "-o", "r.mp4", word)
    both = xnemo(*words, "--preview").error
    assert both == f"{key}: the GAN head draws without sampling; take renderer=diffusion, or leave it out"
    assert not Path("r.mp4").exists()


def test_weights_without_diffusion_say_which_ones_to_name(
    portrait: Path, driving: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["animate", str(portrait), str(driving), "-o", str(tmp_path / "r.mp4"), "sampler=release"]
    assert main(words) == 1  # the packaged ones
    error = capsys.readouterr().err
    assert (
        "sampler=: the GAN head draws without sampling; name weights with a diffusion model by weights=FOLDER" in error
    )


def test_the_release_is_reproduced_without_sound_at_25_frames_a_second(
    xnemo: Xnemo, portrait: Path, square: Path
) -> None:
    outcome = xnemo(
        *("animate", portrait, square, "-o", "r.mp4", "sampler=release", "face=release", "steps=1"),
        *("output_fps=25", "sound=false", "--json"),
    )
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["fps"] == 25
    info = VideoReader("r.mp4").info
    assert (info.fps, info.frames, info.has_audio) == (25, FRAMES, False)


def test_another_rate_drops_the_sound_that_no_longer_fits(xnemo: Xnemo, portrait: Path, driving: Path) -> None:
    for fps, kept in ((30, True), (15, False)):
        assert xnemo("animate", portrait, driving, "-o", "o.mp4", "--preview", f"output_fps={fps}").code == 0
        info = VideoReader("o.mp4").info
        assert (info.fps, info.frames, info.has_audio) == (fps, FRAMES, kept)
    assert xnemo("animate", portrait, driving, "-o", "o.mp4", "--preview", "sound=false").code == 0
    assert not VideoReader("o.mp4").info.has_audio


def test_both_preprocessings_agree_where_the_released_one_can_do_its_work(
    xnemo: Xnemo, square: Path, driving: Path
) -> None:
    for face in ("default", "release"):
        outcome = xnemo("extract", square, driving, "-o", face, f"face={face}")
        assert outcome.code == 0, outcome.err
    ours, theirs = (MotionClip.load(f"{face}/square.motion.safetensors") for face in ("default", "release"))
    assert len(ours) == len(theirs) == FRAMES
    np.testing.assert_allclose(ours.latents, theirs.latents, atol=1e-5)
    # Of the whole clip it sees the left square, which cuts the face off.
    ours, theirs = (MotionClip.load(f"{face}/driving.motion.safetensors") for face in ("default", "release"))
    assert (ours.latents - theirs.latents).abs().max() > 1


def test_what_the_released_preprocessing_cannot_do_is_one_line(xnemo: Xnemo, portrait: Path, square: Path) -> None:
    words = ("animate", portrait, square, "-o", "r.mp4", "face=release")
    assert "face.select=1" in xnemo(*words, "face.select=1").error
    assert "face.select=1" in xnemo(*words, "portrait_face=1").error
    assert not Path("r.mp4").exists()


def test_the_fast_sampler_is_a_name_and_its_nonsense_is_refused_before_the_clip_is_read(
    xnemo: Xnemo, portrait: Path, driving: Path
) -> None:
    words = ("animate", portrait, driving, "-o", "f.mp4", "sampler=fast", "steps=2", "device=cpu")
    words += ("sampler.deep_cache_every=2",)
    assert xnemo(*words).code == 0
    assert VideoReader("f.mp4").info.frames == FRAMES
    Path("f.mp4").unlink()
    for word, message in (
        ("sampler.guidance_from=0.9", "none of the 2 steps is guided"),
        ("sampler.loop=true", "deep_cache_every=2: the windows of a closed loop"),
        ("tiny_vae=here", "tiny_vae: is read only by sampler.decoder=tiny"),
        ("sampler.decoder=tiny", "there is no tiny decoder"),
        ("offload=group", "offload=group: keeps weights off the GPU"),
    ):
        assert message in xnemo(*words, word).error
        assert not Path("f.mp4").exists()
