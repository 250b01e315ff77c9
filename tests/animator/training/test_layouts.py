"""The layouts of HDTF, VFHQ, NeRSemble and MEAD: what paths say is in the table, and what is missing is reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from animator.errors import XNeMoError
from animator.image import write_image
from animator.training.config import PrepareConfig
from animator.training.layouts import Found, find_clips
from animator.training.prepare import prepare_crops
from tests.animator.media import clip_frames, make_video

VFHQ = "Clip+0a-_456789b+P1+C0+F100-112"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def said(found: Found) -> dict[str, tuple[Any, ...]]:
    return {
        clip.name: (clip.dataset, clip.identity, clip.camera, clip.emotion, clip.intensity, clip.split)
        for clip in found.sources
    }


def test_hdtf_speakers_are_one_person_whatever_the_talk(tmp_path: Path) -> None:
    names = ["train/WDA_NancyPelosi0_000", "train/WDA_NancyPelosi1_000", "test/WRA_TimScott_002", "RD_Radio1_000"]
    touch(tmp_path, *(f"{name}.mp4" for name in names), "RD_Radio12_000.mp4", "notes.txt")
    found = find_clips([tmp_path])
    assert said(found) == {
        "WDA_NancyPelosi0_000": ("hdtf", "NancyPelosi", None, None, None, "train"),
        "WDA_NancyPelosi1_000": ("hdtf", "NancyPelosi", None, None, None, "train"),
        "WRA_TimScott_002": ("hdtf", "TimScott", None, None, None, "validation"),
        "RD_Radio1_000": ("hdtf", "Radio1", None, None, None, None),
        "RD_Radio12_000": ("hdtf", "Radio12", None, None, None, None),
    }
    assert found.missing == ("WRA_TimScott: lacks 000, 001",) and found.ignored == ()
    touch(tmp_path, "test/WDA_NancyPelosi3_000.mp4")
    with pytest.raises(XNeMoError, match="identity NancyPelosi is in both splits"):
        find_clips([tmp_path])
    (tmp_path / "test/WDA_NancyPelosi3_000.mp4").unlink()
    touch(tmp_path, "holiday.mp4")
    assert {clip.dataset for clip in find_clips([tmp_path]).sources} == {""}  # not all are HDTF's: a plain folder
    assert find_clips([tmp_path], "hdtf").ignored[0].startswith("holiday.mp4: not named as in HDTF")


def test_vfhq_clips_are_folders_or_videos(tmp_path: Path) -> None:
    other = "Clip+moIOVVEIffQ+P0+C1+F25505-25726"
    touch(tmp_path, *(f"VFHQ-Test/{VFHQ}/{number:08d}.png" for number in range(10)), f"{other}.mp4")
    touch(tmp_path, "Clip+short+P0/1.png")
    (tmp_path / "Clip+moIOVVEIffQ+P2+C1+F0-9").mkdir()
    found = find_clips([tmp_path])
    assert said(found) == {
        VFHQ: ("vfhq", "0a-_456789b_P1", None, None, None, "validation"),
        other: ("vfhq", "moIOVVEIffQ_P0", None, None, None, None),
    }
    assert set(found.missing) == {f"VFHQ-Test/{VFHQ}: 10 of 12 pictures", "Clip+moIOVVEIffQ+P2+C1+F0-9: no pictures"}
    assert [line.split(":")[0] for line in found.ignored] == ["Clip+short+P0"]


def test_nersemble_says_person_camera_and_emotion(tmp_path: Path) -> None:
    happy, free = "017/sequences/EMO-4-disgust+happy/images", "018/sequences/FREE/images"
    touch(tmp_path, f"{happy}/cam_220700191.mp4", f"{happy}/cam_222200037.mp4", f"{free}/cam_222200037.mp4")
    (tmp_path / free / "cam_220700191.mp4").touch()  # a broken download
    touch(tmp_path, "017/sequences/BACKGROUND/image_220700191.jpg", "017/calibration/camera_params.json")
    found = find_clips([tmp_path])
    assert said(found) == {
        "017_EMO-4-disgust+happy_220700191": ("nersemble", "017", "220700191", "disgust+happy", None, None),
        "017_EMO-4-disgust+happy_222200037": ("nersemble", "017", "222200037", "disgust+happy", None, None),
        "018_FREE_222200037": ("nersemble", "018", "222200037", None, None, None),
    }
    assert found.missing == ("017: no FREE", "018: no EMO-4-disgust+happy", "018 FREE: lacks the camera 220700191")
    assert list(said(find_clips([tmp_path], cameras=["220700191"]))) == ["017_EMO-4-disgust+happy_220700191"]
    with pytest.raises(XNeMoError, match="no clips of the camera front here"):
        find_clips([tmp_path], cameras=["front"])


def test_mead_is_read_as_far_as_it_is_there(tmp_path: Path) -> None:
    touch(tmp_path, "M003/video/front/happy/level_2/001.mp4", "M003/video/front/happy/level_2/003.mp4")
    touch(tmp_path, "M003/video/top/sad/level_1/001.mp4", "W009/audio/x.m4a")
    found = find_clips([tmp_path])
    assert said(found) == {
        f"M003_front_happy_level_2_00{take}": ("mead", "M003", "front", "happy", 2, None) for take in (1, 3)
    }
    assert "M003 front: happy level_2 lacks 1 of 3 takes (002)" in found.missing
    assert "M003 front: no angry" in found.missing and "W009: no folder video" in found.missing
    assert list(said(find_clips([tmp_path], cameras=["top"]))) == ["M003_top_sad_level_1_001"]


@pytest.mark.parametrize("layout", ["hdtf", "vfhq", "nersemble", "mead"])
def test_another_layout_is_refused(tmp_path: Path, layout: str) -> None:
    touch(tmp_path, "ann/1.mp4")
    with pytest.raises(XNeMoError, match=r"not \w+; name the folder that has"):
        find_clips([tmp_path], layout)
    assert said(find_clips([tmp_path])) == {"ann_1": ("", "ann", None, None, None, None)}


def test_what_the_paths_say_is_in_the_table(
    shared_data: Path, prepare_config: Callable[..., PrepareConfig], tmp_path: Path
) -> None:
    clips = shared_data / "clips"
    hdtf, vfhq, nersemble, mead = (tmp_path / name for name in ("hdtf", "vfhq", "nersemble", "mead"))
    for path, clip in (
        (hdtf / "WDA_AmyKlobuchar1_000.mp4", "AmyKlobuchar_01"),
        (nersemble / "030/sequences/EMO-3-angry+sad/images/cam_222200037.mp4", "MEAD_M030_angry_level3_01"),
        (mead / "W009/video/front/fear/level_3/004.mp4", "MEAD_W009_fear_level3_04"),
    ):
        path.parent.mkdir(parents=True)
        make_video(path, clip_frames(clips / f"{clip}.mp4", 12))
    (vfhq / VFHQ).mkdir(parents=True)
    for number, picture in enumerate(clip_frames(clips / "GRID_02_neutral_01.mp4", 12)):
        write_image(vfhq / VFHQ / f"{number:08d}.png", picture)

    folder = tmp_path / "crops"
    settings = ["max_frames=2", "filters.min_seconds=0.4"]
    done = prepare_crops([hdtf, vfhq, nersemble, mead], folder, prepare_config(*settings))
    assert (done.clips, done.frames, done.rejected, done.failed) == (4, 8, {}, {})
    assert "W009 front: no happy" in done.missing
    rows = {row["dataset"]: row for row in pq.read_table(folder / "clips.parquet").to_pylist()}
    columns = ("identity", "camera", "emotion", "intensity", "status", "source_frames", "frames")
    assert {name: tuple(row[column] for column in columns) for name, row in rows.items()} == {
        "hdtf": ("AmyKlobuchar", None, None, None, "kept", 12, 2),
        "vfhq": ("0a-_456789b_P1", None, None, None, "kept", 12, 2),
        "nersemble": ("030", "222200037", "angry+sad", None, "kept", 12, 2),
        "mead": ("W009", "front", "fear", 3, "kept", 12, 2),
    }
    assert {row["split"] for row in rows.values()} == {"train", "validation"}
    for row in rows.values():
        x0, y0, x1, y1 = row["square"]
        assert 0 <= x0 < x1 <= row["source_width"] and x1 - x0 == y1 - y0
        assert row["face"] < x1 - x0 and row["source_fps"] == 25

    # Nothing is done twice, folders of pictures included; a picture that changes makes a new part.
    parts = {path: path.stat().st_mtime_ns for path in (folder / "parts").iterdir()}
    picture = vfhq / VFHQ / "00000005.png"
    assert prepare_crops([vfhq], folder, prepare_config(*settings)).clips == 4
    assert {path: path.stat().st_mtime_ns for path in (folder / "parts").iterdir()} == parts
    write_image(picture, np.full((100, 100, 3), 90, np.uint8))
    with pytest.raises(XNeMoError, match=r"00000005.png: is 100 x 100 pixels, the first of its folder 256 x 256"):
        prepare_crops([vfhq], folder, prepare_config(*settings))
