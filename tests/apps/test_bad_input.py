"""Bad input, each on a real file through the real command line: one clear line and exit code 1, or it just works.

Whatever happens, no half-written output is left.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

from animator.assets import asset_path
from animator.motion_clip import MotionClip
from animator.video import VideoReader
from tests.animator.media import make_video
from tests.apps.conftest import FRAMES, Outcome

pytestmark = pytest.mark.slow  # each makes a file and runs a command on it

Xnemo = Callable[..., Outcome]
Frames = NDArray[np.uint8]


@pytest.fixture
def fails(xnemo: Xnemo, portrait: Path, driving: Path, tmp_path: Path) -> Callable[..., str]:
    """Animate with one wrong input; returns the error after checking that nothing was left."""

    def run(*, portrait: Path = portrait, driving: Path = driving, output: str = "out/r.mp4", extra: str = "") -> str:
        before = sorted(tmp_path.rglob("*"))
        outcome = xnemo("animate", portrait, driving, "-o", output, "--preview", *extra.split())
        assert outcome.code == 1, outcome.err
        assert outcome.out == ""
        assert sorted(tmp_path.rglob("*")) == before
        return outcome.error

    return run


@pytest.fixture
def works(xnemo: Xnemo, portrait: Path, driving: Path) -> Callable[..., VideoReader]:
    """Animate with one odd input; returns the result."""

    def run(*, portrait: Path = portrait, driving: Path = driving, extra: str = "") -> VideoReader:
        outcome = xnemo("animate", portrait, driving, "-o", "out/r.mp4", "--preview", *extra.split())
        assert outcome.code == 0, outcome.err
        assert [path.name for path in Path("out").iterdir()] == ["r.mp4"]
        return VideoReader("out/r.mp4")

    return run


# --- driving video: what cannot work ---------------------------------------------------------------------------------


def test_missing_video(fails: Callable[..., str]) -> None:
    assert "nowhere.mp4" in fails(driving=Path("nowhere.mp4"))


def test_empty_video(fails: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    assert "empty.mp4" in fails(driving=tmp_path / "empty.mp4")


def test_text_named_mp4(fails: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("Dear diary, today I was renamed.\n" * 100)
    assert "text.mp4" in fails(driving=tmp_path / "text.mp4")


def test_truncated_mp4(fails: Callable[..., str], tmp_path: Path) -> None:
    data = asset_path("single-face-video").read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 2])
    outcome = fails(driving=tmp_path / "half.mp4")
    assert "half.mp4" in outcome


def test_video_without_a_face(fails: Callable[..., str]) -> None:
    error = fails(driving=asset_path("no-face-video"))
    assert "no_face.mp4" in error
    assert "no face" in error


def test_face_that_leaves_for_long_is_an_error_that_names_the_frames(fails: Callable[..., str]) -> None:
    error = fails(driving=asset_path("face-then-none"))
    assert "face_noface.mov" in error
    assert "of 168 frames" in error


def test_two_by_two_pixels(fails: Callable[..., str], tmp_path: Path, face_frames: Frames) -> None:
    assert "speck.mp4" in fails(driving=make_video(tmp_path / "speck.mp4", face_frames, size=(2, 2)))


def test_face_index_that_is_not_there(fails: Callable[..., str]) -> None:
    assert "driving.mp4" in fails(extra="face.select=3")
    assert "astronaut.png" in fails(extra="portrait_face=3")


# --- driving video: what works ---------------------------------------------------------------------------------------


def test_one_frame(works: Callable[..., VideoReader], tmp_path: Path, face_frames: Frames) -> None:
    assert len(works(driving=make_video(tmp_path / "one.mp4", face_frames[:1]))) == 1


def test_two_faces_take_the_larger_or_the_one_asked_for(
    works: Callable[..., VideoReader], tmp_path: Path, face_frames: Frames
) -> None:
    near = face_frames[:, :, 160:480]
    far = np.full_like(near, 90)
    rows, columns = np.linspace(0, 359, 288).astype(int), np.linspace(0, 319, 256).astype(int)
    far[:, 36:324, 32:288] = near[:, rows][:, :, columns]
    both = make_video(tmp_path / "both.mp4", np.concatenate([far, near], axis=2))
    pictures = []
    for choice in ("", "face.select=0", "face.select=1"):
        reader = works(driving=both, extra=choice)
        assert len(reader) == FRAMES
        pictures.append(reader.frame(FRAMES - 1))
    assert np.array_equal(pictures[0], pictures[2])
    assert not np.array_equal(pictures[0], pictures[1])


def test_odd_size(works: Callable[..., VideoReader], tmp_path: Path, face_frames: Frames) -> None:
    odd = make_video(tmp_path / "odd.mkv", face_frames[:, :-1, :-1], pix_fmt="yuv444p")
    assert len(works(driving=odd)) == FRAMES


def test_quarter_turn(works: Callable[..., VideoReader], tmp_path: Path, face_frames: Frames) -> None:
    turned = np.ascontiguousarray(np.rot90(face_frames, -1, axes=(1, 2)))
    assert len(works(driving=make_video(tmp_path / "turned.mp4", turned, rotation=90))) == FRAMES


def test_variable_frame_rate_keeps_its_length(
    works: Callable[..., VideoReader], tmp_path: Path, face_frames: Frames
) -> None:
    ticks = np.cumsum([0, *([3] * 4), 9, *([3] * 6)]).tolist()
    clip = make_video(tmp_path / "variable.mp4", face_frames, 90, ticks=ticks)
    result = works(driving=clip)
    assert result.info.seconds == pytest.approx(VideoReader(clip).info.seconds)
    assert not result.info.variable_rate


def test_no_sound(works: Callable[..., VideoReader], tmp_path: Path, face_frames: Frames) -> None:
    assert not works(driving=make_video(tmp_path / "silent.mp4", face_frames)).info.has_audio


def test_sixty_frames_a_second(works: Callable[..., VideoReader], tmp_path: Path, face_frames: Frames) -> None:
    result = works(driving=make_video(tmp_path / "fast.mp4", face_frames, Fraction(60000, 1001)))
    assert (len(result), result.info.rate) == (FRAMES, Fraction(60000, 1001))


# --- portrait --------------------------------------------------------------------------------------------------------


def test_missing_portrait(fails: Callable[..., str]) -> None:
    assert "nobody.png" in fails(portrait=Path("nobody.png"))


def test_portrait_that_is_text(fails: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    assert "text.png: is not a picture" in fails(portrait=tmp_path / "text.png")


def test_portrait_without_a_face(fails: Callable[..., str], tmp_path: Path) -> None:
    y, x = np.mgrid[:256, :256]
    Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)).save(tmp_path / "sky.png")
    error = fails(portrait=tmp_path / "sky.png")
    assert "sky.png: no face found" in error


def test_tiny_portrait(fails: Callable[..., str], tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "dot.png")
    assert "dot.png: is 2 x 2 pixels" in fails(portrait=tmp_path / "dot.png")


def test_portrait_with_alpha(works: Callable[..., VideoReader], tmp_path: Path, portrait: Path) -> None:
    picture = Image.open(portrait).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size).point(lambda value: 160 + value // 3))
    picture.save(tmp_path / "alpha.png")
    works(portrait=tmp_path / "alpha.png")


def test_grey_portrait(works: Callable[..., VideoReader], tmp_path: Path, portrait: Path) -> None:
    Image.open(portrait).convert("L").save(tmp_path / "grey.png")
    works(portrait=tmp_path / "grey.png")


def test_exif_rotated_portrait_is_the_upright_one(
    works: Callable[..., VideoReader], tmp_path: Path, portrait: Path
) -> None:
    upright = Image.open(portrait).convert("RGB")
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn a quarter clockwise to view"
    upright.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    bare = "marks.pixels=false"  # the mark says which file was drawn
    pictures = [works(portrait=tmp_path / name, extra=bare).frame(0) for name in ("upright.png", "turned.png")]
    assert np.array_equal(*pictures)


def test_portrait_of_48_megapixels(works: Callable[..., VideoReader], tmp_path: Path, portrait: Path) -> None:
    picture = Image.open(portrait).convert("RGB").resize((6000, 6000))
    wide = Image.new("RGB", (8000, 6000), "grey")
    wide.paste(picture, (1000, 0))
    wide.save(tmp_path / "large.jpg")
    works(portrait=tmp_path / "large.jpg")


# --- motion files ----------------------------------------------------------------------------------------------------


@pytest.fixture
def motion_file(xnemo: Xnemo, driving: Path) -> Path:
    assert xnemo("extract", driving, "-o", "motion").code == 0
    return Path("motion/driving.motion.safetensors")


def test_motion_of_another_encoder_names_both(fails: Callable[..., str], motion_file: Path) -> None:
    clip = MotionClip.load(motion_file)
    other = MotionClip(clip.latents, clip.boxes, clip.fps, encoder_id="0123456789abcdef", source=clip.source)
    other.save(Path("motion/other.motion.safetensors"))
    error = fails(driving=Path("motion/other.motion.safetensors"))
    assert "0123456789abcdef" in error
    assert clip.encoder_id in error


@pytest.mark.parametrize(("change", "says"), [("nan", "nan"), ("schema", "schema"), ("short", "motion")])
def test_damaged_motion_file(fails: Callable[..., str], motion_file: Path, change: str, says: str) -> None:
    bad = Path("motion/bad.motion.safetensors")
    if change == "nan":
        rewrite(motion_file, bad, nan=True)
    elif change == "schema":
        rewrite(motion_file, bad, schema="999")
    else:
        bad.write_bytes(motion_file.read_bytes()[:-1000])
    error = fails(driving=bad)
    assert "bad.motion.safetensors" in error
    assert says in error.lower().replace("finite", "nan")


def rewrite(source: Path, target: Path, *, nan: bool = False, schema: str | None = None) -> None:
    """Copy a motion file with one thing wrong, past the checks of MotionClip."""
    from safetensors import safe_open

    tensors = load_file(source)
    with safe_open(source, framework="pt") as file:
        metadata = file.metadata()
    if nan:
        tensors["latents"][3, 7] = torch.nan
    if schema is not None:
        metadata["schema"] = schema
    save_file(tensors, target, metadata)


# --- where it is written to ------------------------------------------------------------------------------------------


def test_output_folder_that_cannot_be_made(fails: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "file/r.mp4" in fails(output="file/r.mp4")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_output_folder_without_permission(fails: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "locked/r.mp4" in fails(output="locked/r.mp4")


def test_output_that_is_an_input(fails: Callable[..., str], driving: Path) -> None:
    before = driving.read_bytes()
    assert "is one of the inputs" in fails(output=str(driving))
    assert driving.read_bytes() == before


def test_output_that_is_no_mp4(fails: Callable[..., str]) -> None:
    assert ".mp4" in fails(output="r.gif")


def command(
    words: list[str], folder: Path, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-m", "apps.cli", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=before,
    )


def test_file_size_limit(tiny_weights: Path, portrait: Path, driving: Path, tmp_path: Path) -> None:
    """What a full disk does to a write, wherever the test runs."""
    words = ["animate", str(portrait), str(driving), "-o", "r.mp4", "--preview", f"weights={tiny_weights}"]
    done = command(words, tmp_path, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)))
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: r.mp4")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs more rights than this machine gives")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_full_disk(tiny_weights: Path, portrait: Path, driving: Path, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(60 * 1024))
    words = ["animate", str(portrait), str(driving), "-o", "r.mp4", "--preview", f"weights={tiny_weights}"]
    done = command(words, small_disk)
    assert done.returncode == 1, done.stderr
    assert "No space left" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
