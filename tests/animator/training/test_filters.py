"""Quality filters: each rejects what it names, says why in one line and in the table, and is a setting."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from animator.image import resize
from animator.training.config import PrepareConfig
from animator.training.filters import REASONS, cuts
from animator.training.prepare import prepare_crops
from apps.cli import main
from tests.animator.media import clip_frames, make_video

FRAMES = 30


@pytest.fixture(scope="module")
def bad_clips(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one good clip, and one for each filter, named after it."""
    folder = tmp_path_factory.mktemp("bad")
    one, two = (clip_frames(shared_data / "clips" / f"GRID_0{number}_neutral_01.mp4", FRAMES) for number in (1, 5))
    canvas = np.full((FRAMES, 256, 256, 3), 90, np.uint8)
    small = canvas.copy()
    small[:, 64:160, 64:160] = np.stack([resize(frame, (96, 96), "area") for frame in one])
    make_video(folder / "good.mp4", one)
    make_video(folder / "too_short.mp4", one[:12])
    make_video(folder / "no_face.mp4", canvas)
    make_video(folder / "several_faces.mp4", np.concatenate([one, two], axis=2))
    make_video(folder / "too_small.mp4", small)
    make_video(folder / "cut.mp4", np.concatenate([one[:15], two[15:]]))
    return folder


def test_each_filter_rejects_what_it_names(
    bad_clips: Path, prepare_config: Callable[..., PrepareConfig], tmp_path: Path
) -> None:
    folder = tmp_path / "crops"
    done = prepare_crops([bad_clips], folder, prepare_config("max_frames=2"))
    assert (done.clips, done.failed) == (1, {})
    assert done.reasons == dict.fromkeys(sorted(REASONS), 1)
    rows = {row["clip_id"]: row for row in pq.read_table(folder / "clips.parquet").to_pylist()}
    assert {name: row["status"] for name, row in rows.items()} == {"good": "kept"} | {name: name for name in REASONS}
    assert "has 0.48 s; filters.min_seconds=1" in rows["too_short"]["reason"]
    assert "no face found in any of its 30 frames" in rows["no_face"]["reason"]
    assert "several faces in 3 of 3 frames looked at" in rows["several_faces"]["reason"]
    assert "filters.min_face=64" in rows["too_small"]["reason"]
    assert "has 1 cuts (first at 0.60 s, frame 15)" in rows["cut"]["reason"]
    assert all(rows[name]["reason"].startswith(str(bad_clips / f"{name}.mp4")) for name in REASONS)

    # Told once, remembered: nothing is looked at again, and the report is the same.
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = prepare_crops([bad_clips], folder, prepare_config("max_frames=2"))
    assert again.rejected == done.rejected
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == files


def test_filters_are_settings(
    bad_clips: Path, landmarker: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every clip but the one without a face is taken by other settings, and takes the place of its rejection."""
    words = [str(bad_clips / f"{name}.mp4") for name in REASONS if name != "no_face"]
    quick = [f"landmarker={landmarker}", "image_size=64", "max_frames=2", "engine.workers=1", "--json"]
    folder = tmp_path / "crops"
    assert main(["prepare", *words, str(folder), *quick]) == 1
    assert json.loads(capsys.readouterr().out)["error"].startswith("none of the 4 clips could be prepared: ")
    assert len(list((folder / "parts").glob("*.rejected.json"))) == 4
    loose = ["min_seconds=0.1", "several_share=1", "min_face=1", "cut=1"]
    assert main(["prepare", *words, str(folder), *quick, *(f"filters.{word}" for word in loose)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["clips"], result["rejected"], result["reasons"]) == (4, {}, {})
    assert not list((folder / "parts").glob("*.rejected.json"))
    assert main(["prepare", "alone.mp4"]) == 2 and main(["prepare", *words]) == 2


def test_a_cut_stands_out_from_what_moves_about_it() -> None:
    calm = np.full(40, 0.01)
    assert cuts(calm, 0.08) == []
    one = calm.copy()
    one[[10, 30]] = 0.2
    assert cuts(one, 0.08) == [11, 31]
    assert cuts(one, 1) == [] and cuts(one, 0.3) == []
    assert cuts(np.full(40, 0.1), 0.08) == []  # a camera that is shaken all the time
    assert cuts(np.array([0.2]), 0.08) == []  # two pictures alone do not tell
    tossed = calm.copy()
    tossed[10:14] = 0.05, 0.11, 0.1, 0.04
    assert cuts(tossed, 0.08) == []
    repeated = np.zeros(80)
    repeated[::2] = tossed  # the same at half the rate, each picture twice
    assert cuts(repeated, 0.08) == []
    repeated[40] = 0.2
    assert cuts(repeated, 0.08) == [41]
