"""`xnemo prepare`: fields as documented, resumable, bad clips skipped, parts enough to rebuild everything."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from animator.errors import XNeMoError
from animator.face import FaceTrack
from animator.training.clip_job import chosen_frames, face_square
from animator.training.config import PrepareConfig
from animator.training.crops import FaceCrops
from animator.training.parts import PartInfo, assign_splits, labels_path, video_path
from animator.training.prepare import prepare_crops
from animator.training.sources import find_sources
from apps.cli import main
from tests.animator.media import clip_frames, make_video

ROOT = Path(__file__).parents[3]
TRAINED, HELD_OUT = "GRID_01_neutral_01", "GRID_05_neutral_01"
Configure = Callable[..., PrepareConfig]


@pytest.fixture
def crops(crops_folder: Path) -> FaceCrops:
    return FaceCrops.open(crops_folder)


def test_fields_have_the_documented_shapes_and_units(crops: FaceCrops) -> None:
    count = len(crops.frames)
    assert 20 <= count <= 24  # of at most 2 x 12 frames
    assert crops.frames.shape == (count, 64, 64, 3) and crops.frames.dtype == np.uint8
    assert crops.landmarks.shape == (count, 478, 2) and crops.blendshapes.shape == (count, 52)
    assert len(crops.blendshape_names) == 52 and "jawOpen" in crops.blendshape_names
    assert [clip["identity"] for clip in crops.clips] == [TRAINED, HELD_OUT]
    assert crops.clips_of("train") == [0] and crops.clips_of("validation") == [1]
    for number in (0, 1):
        rows = torch.tensor(list(crops.rows(number)))
        assert (crops.clip[rows] == number).all()
        assert (crops.frame[rows].diff() > 0).all()
        assert len(crops.crop_side[rows].unique()) == 1
    assert crops.blendshapes.min() >= 0 and crops.blendshapes.max() <= 1
    # The detector's box goes from brows to chin, and so does most of the mesh.
    assert ((crops.landmarks.mean(dim=1) - crops.centre).abs() < 0.1).all()
    height = crops.landmarks[..., 1].amax(dim=1) - crops.landmarks[..., 1].amin(dim=1)
    assert ((crops.size / height > 0.6) & (crops.size / height < 1.3)).all()
    assert ((crops.crop_side / crops.size > 1.0) & (crops.crop_side / crops.size < 1.3)).all()


def test_labels_agree_with_those_made_for_the_same_frames_by_others(crops: FaceCrops, shared_data: Path) -> None:
    for number, clip in enumerate(crops.clips):
        known = np.load(shared_data / "labels" / f"{clip['name']}.npz")
        rows = torch.tensor(list(crops.rows(number)))
        frames = crops.frame[rows].numpy()
        assert np.abs(crops.rotation[rows].numpy() - known["head_matrix"][frames][:, :3, :3]).max() < 0.03
        assert np.abs(crops.blendshapes[rows].numpy() - known["blendshapes"][frames]).mean() < 0.01
        assert list(known["blendshape_names"]) == crops.blendshape_names
    identity = crops.rotation @ crops.rotation.transpose(1, 2)
    assert torch.allclose(identity, torch.eye(3).expand_as(identity), atol=1e-4)


def test_a_face_centred_clip_is_kept_whole(crops: FaceCrops, shared_data: Path) -> None:
    frames = clip_frames(shared_data / "clips" / f"{TRAINED}.mp4")
    first = frames[int(crops.frame[0])].reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))  # 4 x 4 blocks of pixels
    assert np.abs(first - crops.frames[0]).mean() < 4


def test_finished_clips_are_not_done_again(
    crops_folder: Path, shared_data: Path, prepare_config: Configure, tmp_path: Path
) -> None:
    folder = tmp_path / "crops"
    clip = shared_data / "clips" / f"{TRAINED}.mp4"
    config = prepare_config("max_frames=3")
    prepare_crops([clip], folder, config)
    files = [labels_path(folder, TRAINED), video_path(folder, TRAINED), folder / "frames.npy", folder / "clips.json"]
    before = [path.stat().st_mtime_ns for path in files]
    whole = (folder / "frames.npy").read_bytes()
    assert prepare_crops([clip], folder, config).frames == 3
    assert [path.stat().st_mtime_ns for path in files] == before

    # Killed before the labels were written: the video alone does not count.
    files[0].unlink()
    assert prepare_crops([clip], folder, config).frames == 3
    assert (folder / "frames.npy").read_bytes() == whole

    # Other settings make another part.
    assert prepare_crops([clip], folder, prepare_config("max_frames=2")).frames == 2


def test_a_kill_between_pictures_and_labels_leaves_no_part(
    shared_data: Path, prepare_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, clip = tmp_path / "crops", shared_data / "clips" / f"{TRAINED}.mp4"
    prepare_crops([clip], folder, prepare_config("max_frames=3"))
    rename = os.replace

    def killed(source: Path, target: Path) -> None:
        if target == labels_path(folder, TRAINED):
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", killed)
        prepare_crops([clip], folder, prepare_config("max_frames=2"))
    assert len(clip_frames(video_path(folder, TRAINED))) == 2
    assert not labels_path(folder, TRAINED).exists()
    # The first settings again: the pictures are not taken for those of the first part.
    assert prepare_crops([clip], folder, prepare_config("max_frames=3")).frames == 3


@pytest.mark.skipif(shutil.which("unshare") is None, reason="a disk that is full needs Linux")
def test_a_full_disk_is_one_line(crops_folder: Path, tmp_path: Path) -> None:
    parts = tmp_path / "kept" / "parts"
    shutil.copytree(crops_folder / "parts", parts)
    mounted = tmp_path / "disk"
    mounted.mkdir()
    room = sum(path.stat().st_size for path in parts.iterdir()) + 150_000  # frames.npy needs twice as much
    script = f"""
mount -t tmpfs -o size={room} none {mounted} || exit 77
cp -r {parts} {mounted} || exit 77
{sys.executable} -m apps.cli prepare -o {mounted} --json
status=$?
ls -A {mounted} >&2
exit $status
"""
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, cwd=ROOT)
    if done.returncode in (77, 1) and not done.stdout:
        pytest.skip(f"no file system of its own for a test here: {done.stderr}")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout) == {"error": f"{mounted}/frames.npy: cannot be written: No space left on device"}
    assert done.stderr.splitlines()[-1] == "parts"


def test_parts_alone_rebuild_the_folder(crops_folder: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(crops_folder / "parts", moved / "parts")
    done = prepare_crops([], moved, PrepareConfig())
    assert (done.clips, done.failed) == (2, {})
    for name in ("frames.npy", "index.safetensors", "clips.json", "clips.parquet"):
        assert (moved / name).read_bytes() == (crops_folder / name).read_bytes(), name


def test_bad_clips_are_skipped_and_listed(
    shared_data: Path, landmarker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    nobody = make_video(tmp_path / "nobody.mp4", np.full((30, 64, 64, 3), 90, np.uint8))
    clip = shared_data / "clips" / f"{TRAINED}.mp4"
    words = [str(path) for path in (text, nobody, clip)]
    settings = [f"landmarker={landmarker}", "image_size=64", "max_frames=2", "engine.workers=1"]
    assert main(["prepare", *words, "-o", str(tmp_path / "crops"), *settings, "--json"]) == 1
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert set(result["failed"]) == {str(text)} and result["reasons"] == {"no_face": 1}
    assert "no face found" in result["rejected"][str(nobody)]
    assert (result["clips"], result["frames"]) == (1, 2)
    assert "1 clips failed" in captured.err and "Traceback" not in captured.err
    parts = sorted(path.name for path in (tmp_path / "crops" / "parts").iterdir())
    assert parts == [f"{TRAINED}.mp4", f"{TRAINED}.safetensors", "nobody.rejected.json"]

    with pytest.raises(XNeMoError, match="none of the 1 clips"):
        prepare_crops([text], tmp_path / "none", PrepareConfig(landmarker=str(landmarker)))


def test_a_wide_fast_clip_is_cut_to_the_face_and_brought_to_25_fps(
    shared_data: Path, prepare_config: Configure, tmp_path: Path
) -> None:
    frames = clip_frames(shared_data / "clips" / f"{TRAINED}.mp4", 40)
    wide = np.full((40, 288, 640, 3), 90, np.uint8)
    wide[:, 16:272, 360:616] = frames
    clip = make_video(tmp_path / "wide.mp4", wide, 50)
    folder = tmp_path / "crops"
    done = prepare_crops([clip], folder, prepare_config("stride=2", "max_frames=300", "filters.min_seconds=0.5"))
    crops = FaceCrops.open(folder)
    assert done.frames == 10 and crops.frame.tolist() == list(range(0, 20, 2))
    assert ((crops.landmarks > 0) & (crops.landmarks < 1)).all()
    assert ((crops.centre - torch.tensor([0.5, 0.55])).abs() < 0.1).all()
    assert abs(len(set(crops.crop_side.tolist())) - 1) == 0


def test_the_square_holds_every_place_of_the_face() -> None:
    steps = np.linspace(0, 200, 50)
    boxes = np.stack([700 + steps, 300 + 0 * steps, 900 + steps, 500 + 0 * steps], axis=1).astype(np.float32)
    track = FaceTrack(boxes, 1920, 1080)
    x0, y0, x1, y1 = face_square(track)
    assert x1 - x0 == y1 - y0 == 600  # 400 covered, and half a side of 200 on either side
    assert x0 <= 600 and x1 >= 1200 and y0 <= 300 and y1 >= 500
    assert (y0 + y1) / 2 < 400  # room for hair
    still = FaceTrack(boxes[:1], 1920, 1080)
    assert face_square(still)[2] - face_square(still)[0] == 420  # 2.1 sides
    large = FaceTrack(boxes[:1] - np.float32([700, 250, 700, 250]), 360, 320)
    assert face_square(large) == (0, 0, 320, 320)  # nearly all of the picture is all of it


def test_frames_are_chosen_evenly() -> None:
    assert chosen_frames(9, 2, 300).tolist() == [0, 2, 4, 6, 8]
    many = chosen_frames(10_000, 2, 300)
    assert len(many) == 300 and many[0] == 0 and many[-1] == 9998
    assert set((many % 2).tolist()) == {0} and set(np.diff(many).tolist()) <= {32, 34}


def part(identity: str, split: str = "") -> PartInfo:
    return PartInfo(identity, identity, split, "", 2, 64, ())


def test_identities_never_lie_in_both_splits() -> None:
    people = [part(f"person {number}") for number in range(1000) for _ in range(2)]
    splits = assign_splits(people)
    assert splits[::2] == splits[1::2]
    assert 70 <= splits[::2].count("validation") <= 130
    assert assign_splits(people[:500]) == splits[:500]  # does not change when clips are added


def test_somebody_is_held_out_wherever_there_is_a_choice() -> None:
    for count in range(2, 12):
        assert "validation" in assign_splits([part(f"p{number}") for number in range(count)])
    assert assign_splits([part("alone")]) == ["train"]
    assert assign_splits([part("a", "train"), part("b", "validation")]) == ["train", "validation"]
    # What is said of one clip of a person goes for all of them.
    assert assign_splits([part("a"), part("a", "validation"), part("b")]) == ["validation", "validation", "train"]
    with pytest.raises(XNeMoError, match="identity a is in both splits"):
        assign_splits([part("a", "train"), part("a", "validation")])


def test_sources_are_named_after_their_place(tmp_path: Path) -> None:
    for name in ("id1/x/1.mp4", "id1/y/1.mp4", "id2/1.MOV", "3.webm", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {source.name: source.identity for source in find_sources([tmp_path])}
    assert found == {"id1_x_1": "id1", "id1_y_1": "id1", "id2_1": "id2", "3": "3"}
    with pytest.raises(XNeMoError, match="would both be called 1"):
        find_sources([tmp_path / "id1/x/1.mp4", tmp_path / "id1/y/1.mp4"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(XNeMoError, match="no videos"):
        find_sources([tmp_path / "empty"])
    with pytest.raises(XNeMoError, match="no such file"):
        find_sources([tmp_path / "absent.mp4"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,identity,split\na.mp4,x,test", "the split 'test'"),
        ("file,split\na.mp4,train", "row 2 has no identity"),
        ("file,identity,intensity\na.mp4,x,loud", "the intensity 'loud'"),
        ("file,kind,identity,split\na.jpg,portrait,x,train", "names no clips"),
    ],
)
def test_a_bad_manifest_is_named(tmp_path: Path, text: str, message: str) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text(text)
    with pytest.raises(XNeMoError, match=message):
        find_sources([manifest])


def test_without_a_landmarker_the_error_says_where_it_is(tmp_path: Path, clip: Path) -> None:
    for config in (PrepareConfig(), PrepareConfig(landmarker=str(tmp_path / "absent.task"))):
        with pytest.raises(XNeMoError, match="face_landmarker.task by hand"):
            prepare_crops([clip], tmp_path / "crops", config)
    with pytest.raises(XNeMoError, match="no prepared clips"):
        prepare_crops([], tmp_path / "crops", PrepareConfig())
