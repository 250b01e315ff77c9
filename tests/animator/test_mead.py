"""MEAD's folders: what is there is read with its labels, and what is not is said."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from animator.errors import XNeMoError
from animator.extraction.sources import assign_splits, list_clips
from animator.mead import EMOTIONS, hold_out, read_mead, write_manifest
from animator.training.sources import find_sources
from apps.cli import main
from motion_gpt.vocabulary import EMOTIONS as SPOKEN
from motion_gpt.vocabulary import Condition, Vocabulary


def make_takes(root: Path, subject: str, camera: str, emotion: str, level: int, takes: int = 2) -> None:
    folder = root / subject / "video" / camera / emotion / f"level_{level}"
    folder.mkdir(parents=True)
    for take in range(1, takes + 1):
        (folder / f"{take:03d}.mp4").write_bytes(b"not read here")


def make_subject(root: Path, subject: str, cameras: tuple[str, ...] = ("front",)) -> None:
    for camera in cameras:
        for emotion in EMOTIONS:
            for level in (1,) if emotion == "neutral" else (1, 2, 3):
                make_takes(root, subject, camera, emotion, level)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two whole people, one of them from two sides, and what a half-finished download leaves."""
    root = tmp_path / "MEAD"
    make_subject(root, "M003", ("front", "left_30"))
    make_subject(root, "W009")
    make_takes(root, "W011", "front", "happy", 3, takes=4)
    (root / "W011/video/front/happy/level_3/002.mp4").unlink()
    (root / "W011/video/front/happy/level_3/003.mp4").write_bytes(b"")
    make_takes(root, "W011", "front", "joyful", 1)
    make_takes(root, "W011", "front", "neutral", 2)
    (root / "M005").mkdir()
    make_takes(root, "M007", "top", "sad", 1)
    (root / "M003/video/front/happy/level_1/.DS_Store").write_bytes(b"x")
    return root


def test_all_eight_emotions_survive_and_are_those_that_the_generator_speaks(corpus: Path) -> None:
    assert EMOTIONS == SPOKEN
    mead = read_mead(corpus)
    whole = [clip for clip in mead.clips if clip.subject == "W009"]
    assert {clip.emotion for clip in whole} == set(EMOTIONS)
    assert len(whole) == 2 * (7 * 3 + 1)
    vocabulary = Vocabulary()
    for clip in whole:
        Condition(clip.emotion, clip.level).branches(vocabulary)


def test_neutral_has_level_1_only(corpus: Path) -> None:
    mead = read_mead(corpus)
    assert {clip.level for clip in mead.clips if clip.emotion == "neutral"} == {1}
    assert "W011/video/front/neutral/level_2: no level of neutral" in mead.ignored


def test_what_is_missing_and_what_means_nothing_is_reported(corpus: Path) -> None:
    mead = read_mead(corpus)
    assert "M005: no folder video" in mead.missing
    assert "M007: no camera front" in mead.missing
    assert "W011 front: no sad" in mead.missing
    assert "W011 front: no happy level_1" in mead.missing
    assert "W011 front: happy level_3 lacks 2 of 4 takes (002, 003)" in mead.missing
    assert "W011/video/front/joyful: unknown emotion" in mead.ignored
    assert "W011/video/front/happy/level_3/003.mp4: no video, or an empty file" in mead.ignored
    assert not any(line.startswith(("M003", "W009")) for line in (*mead.missing, *mead.ignored))


def test_cameras_are_chosen(corpus: Path) -> None:
    assert {clip.camera for clip in read_mead(corpus).clips} == {"front"}
    both = read_mead(corpus, ["front", "left_30"])
    assert {clip.camera for clip in both.clips} == {"front", "left_30"}
    assert len({clip.clip_id for clip in both.clips}) == len(both.clips)
    with pytest.raises(XNeMoError, match="cameras=behind: unknown; the cameras are front, down"):
        read_mead(corpus, ["behind"])
    with pytest.raises(XNeMoError, match="no clips of the camera left_60"):
        read_mead(corpus, ["left_60"])
    with pytest.raises(XNeMoError, match="not MEAD"):
        read_mead(corpus / "M003")


def test_people_are_held_out_of_both_sexes_whatever_else_is_there() -> None:
    people = [f"M{n:03d}" for n in range(20)] + [f"W{n:03d}" for n in range(10)]
    chosen = hold_out(people, 0.2)
    assert sum(name.startswith("M") for name in chosen) == 4
    assert sum(name.startswith("W") for name in chosen) == 2
    assert chosen == hold_out(reversed(people), 0.2)  # type: ignore[arg-type]
    assert chosen != hold_out(people, 0.2, seed=1)
    assert len(hold_out(["M001", "M002"], 0.01)) == 1
    assert hold_out(people, 0) == set()


def test_the_manifest_is_what_extract_and_prepare_read(corpus: Path, tmp_path: Path) -> None:
    mead = read_mead(corpus)
    manifest = write_manifest(mead, tmp_path / "tables" / "mead.csv", share=0.4)
    clips = list_clips(manifest)
    assert len(clips) == len(mead.clips)
    by_name = {clip.clip_id: clip for clip in clips}
    clip = by_name["M003_front_happy_level_2_001"]
    assert (clip.identity, clip.emotion, clip.intensity) == ("M003", "happy", 2)
    assert clip.path.resolve() == (corpus / "M003/video/front/happy/level_2/001.mp4").resolve()
    splits = assign_splits(clips, {}, 0.5, 0)
    assert set(splits.values()) == {"train", "validation"}
    prepared = {source.name: source for source in find_sources([manifest])}
    assert prepared.keys() == by_name.keys()
    assert all(prepared[name].split == splits[by_name[name].identity] for name in prepared)


def test_the_command_writes_the_table_and_says_what_is_missing(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "mead.csv"
    assert main(["manifest", "mead", str(corpus), "-o", str(target), "cameras=[front,left_30]", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["clips"] == sum(1 for _ in csv.DictReader(target.open()))
    assert "W011 front: no sad" in result["missing"]
    assert main(["manifest", "mead", str(tmp_path), "-o", str(target)]) == 1
    assert "not MEAD" in capsys.readouterr().err
    assert main(["manifest", "mead", str(corpus)]) == 2
