"""`xnemo extract FOLDER|MANIFEST`: the same motion as of single files, resumable to the byte, bad clips listed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from animator.builders import animator_config, build_pipeline
from animator.conditions import encode_faces
from animator.config import ExtractConfig
from animator.config_loader import load_config
from animator.dataset import MotionDataset
from animator.errors import XNeMoError
from animator.extraction import local
from animator.extraction.encoding import load_encoder
from animator.extraction.reading import ReadSettings, open_clip
from animator.extraction.sources import ClipSource, assign_splits, list_clips
from animator.face import FaceDetector
from animator.files import sha256_of
from animator.motion_clip import MotionClip
from tests.animator.media import make_video
from tests.apps.conftest import Outcome

ROOT = Path(__file__).parents[2]
Command = Callable[..., Outcome]


@pytest.fixture(scope="module")
def videos(face_frames: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real faces: two clips of ann, one each of ben and cy; 25 fps but for one of 50, two with sound."""
    folder = tmp_path_factory.mktemp("media") / "videos"
    (folder / "ann").mkdir(parents=True)
    make_video(folder / "ann" / "one.mp4", face_frames, 25, tone=12 / 25)
    make_video(folder / "ann" / "two.mp4", face_frames[::-1], 25)
    make_video(folder / "ben.mp4", np.concatenate([face_frames, face_frames[::-1]]), 50, tone=24 / 50)
    make_video(folder / "cy.mp4", face_frames[:7, :, ::-1], 25)
    return folder


@pytest.fixture(scope="module")
def whole(videos: Path, tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of those videos, with mirrored copies and sound, made in one go."""
    folder = tmp_path_factory.mktemp("whole") / "dataset"
    done = subprocess.run(command(videos, folder, tiny_weights), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["extracted"], result["frames"], result["tokens"]) == (4, 43, 10)
    assert result["splits"]["train"]["mirrored"] + result["splits"]["validation"]["mirrored"] == 4
    assert "frames/s" in done.stderr and "4/4" in done.stderr
    return folder


def command(source: Path, folder: Path, weights: Path, *settings: str) -> list[str]:
    words = [str(source), "-o", str(folder), "mirror=true", "audio=true", f"weights={weights}", "device=cpu", "--json"]
    return [sys.executable, "-m", "apps.cli", "extract", *words, *settings]


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


def kill_workers(monkeypatch: pytest.MonkeyPatch, clip: str, times: int) -> list[int]:
    """Kill (SIGKILL) the first so many processes that are given a clip, as soon as they have it; lists their ids."""
    killed: list[int] = []
    begin = local._Worker.begin

    def begin_and_die(worker: local._Worker, path: Path, attempt: int) -> None:
        begin(worker, path, attempt)
        if path.name == clip and len(killed) < times:
            assert worker.process.pid is not None
            os.kill(worker.process.pid, signal.SIGKILL)
            killed.append(worker.process.pid)

    monkeypatch.setattr(local._Worker, "begin", begin_and_die)
    return killed


def test_latents_are_those_of_the_single_files(whole: Path, videos: Path, xnemo: Command, tmp_path: Path) -> None:
    records = {record.clip_id: record for record in MotionDataset.open(whole).records()}
    assert list(records) == sorted(records, key=lambda name: (records[name].split, name)) and len(records) == 8
    assert xnemo("extract", videos / "ann" / "one.mp4", videos / "ben.mp4", "-o", tmp_path).code == 0
    one = MotionClip.load(tmp_path / "one.motion.safetensors")
    found = records["ann_one"].motion
    assert torch.equal(found.latents, one.latents) and torch.equal(found.boxes, one.boxes)
    assert vars(found).keys() == vars(one).keys()
    for name in ("fps", "encoder_id", "source", "source_sha256", "crop"):
        assert getattr(found, name) == getattr(one, name)
    ben = MotionClip.load(tmp_path / "ben.motion.safetensors")
    assert (ben.fps, len(ben), records["ben"].motion.fps, len(records["ben"].motion)) == (50, 24, 25, 12)
    assert torch.equal(records["ben"].motion.latents, ben.resample(25).latents)
    assert {name: record.identity for name, record in records.items() if not record.mirrored} == {
        "ann_one": "ann",
        "ann_two": "ann",
        "ben": "ben",
        "cy": "cy",
    }


def test_a_mirrored_copy_is_the_motion_of_the_flipped_pictures(whole: Path, videos: Path, tiny_weights: Path) -> None:
    records = {record.clip_id: record for record in MotionDataset.open(whole).records()}
    original, copy = records["ann_one"], records["ann_one-mirrored"]
    assert copy.mirrored and (copy.identity, copy.split, copy.audio) == ("ann", original.split, original.audio)
    config: ExtractConfig = load_config("extract", [f"weights={tiny_weights}", "device=cpu"])
    encoder = load_encoder(config).encoder
    settings = ReadSettings("largest", 0.5, 12, "tracked", "auto", encoder.config.image_size, False)
    with (
        FaceDetector() as detector,
        open_clip(videos / "ann" / "one.mp4", settings, detector) as (start, crops),
        torch.no_grad(),
    ):
        flipped = [np.ascontiguousarray(batch[:, :, ::-1]) for batch in crops]
        expected = torch.cat([encode_faces(encoder, batch, torch.device("cpu")) for batch in flipped])
    assert torch.equal(copy.motion.latents, expected)
    assert torch.equal(copy.motion.boxes, original.motion.boxes * torch.tensor([-1, 1, 1]))
    assert original.motion.crop is not None and copy.motion.crop is not None
    assert copy.motion.crop[0] + original.motion.crop[0] + original.motion.crop[2] == start.width
    assert copy.motion.crop[1:] == original.motion.crop[1:]


def test_clips_too_large_to_keep_give_the_same_crops(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ReadSettings("largest", 0.5, 12, "tracked", "auto", 64, False)
    found = []
    with FaceDetector() as detector:
        for kept in (2**30, 0):
            monkeypatch.setattr("animator.extraction.reading.KEPT_BYTES", kept)
            with open_clip(videos / "ben.mp4", settings, detector) as (start, crops):
                batches = list(crops)
            assert [len(batch) for batch in batches] == [16, 8]
            found.append((start.boxes, np.concatenate(batches)))
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_sound_is_kept_as_16_khz_mono_of_the_clips_length(whole: Path) -> None:
    for record in MotionDataset.open(whole).records():
        assert (record.audio is not None) == (record.motion.source in ("one.mp4", "ben.mp4"))
        if record.audio is not None:
            info = soundfile.info(record.audio)
            assert (info.samplerate, info.channels) == (16000, 1)
            assert abs(info.duration - record.motion.seconds) < 0.001
            assert np.abs(soundfile.read(record.audio)[0]).max() > 0.3


def test_the_same_again_reads_nothing_and_changes_nothing(
    whole: Path, videos: Path, xnemo: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "dataset"
    shutil.copytree(whole, folder)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    outcome = xnemo("extract", videos, "-o", folder, "mirror=true", "audio=true", "device=cpu", "--json")
    assert outcome.code == 0 and json.loads(outcome.out)["extracted"] == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    whole: Path, videos: Path, tiny_weights: Path, xnemo: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "dataset"
    process = subprocess.Popen(
        command(videos, folder, tiny_weights, "engine.workers=1"), cwd=ROOT, stderr=subprocess.DEVNULL
    )
    workers: list[psutil.Process] = []
    while process.poll() is None and not list(folder.glob(".parts/[!.]*.parquet")):
        workers = psutil.Process(process.pid).children() or workers
        time.sleep(0.005)
    process.kill()
    process.wait()
    parts = {path: path.stat().st_mtime_ns for path in folder.glob(".parts/[!.]*.parquet")}
    assert 1 <= len(parts) < 4
    with pytest.raises(XNeMoError, match="its extraction was interrupted"):
        MotionDataset.open(folder)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive, "a reading process outlives the one that it reads for"

    outcome = xnemo("extract", videos, "-o", folder, "mirror=true", "audio=true", "device=cpu", "--json")
    assert outcome.code == 0 and json.loads(outcome.out)["extracted"] == 4 - len(parts)
    assert contents(folder) == contents(whole)


def test_a_killed_worker_costs_nothing_but_time(
    whole: Path, videos: Path, xnemo: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = kill_workers(monkeypatch, "ben.mp4", times=1)
    outcome = xnemo("extract", videos, "-o", tmp_path / "dataset", "mirror=true", "audio=true", "device=cpu")
    assert outcome.code == 0, outcome.err
    assert len(killed) == 1
    assert contents(tmp_path / "dataset") == contents(whole)


def test_a_clip_whose_workers_die_is_listed_and_the_others_are_done(
    videos: Path, xnemo: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = kill_workers(monkeypatch, "one.mp4", times=2)
    outcome = xnemo("extract", videos, "-o", tmp_path / "dataset", "engine.workers=1", "--json")
    assert outcome.code == 1 and len(killed) == 2
    result = json.loads(outcome.out)
    assert list(result["failed"]) == [str(videos / "ann" / "one.mp4")] and result["extracted"] == 3
    assert "was killed 2 times (exit code -9)" in outcome.error
    assert len(MotionDataset.open(tmp_path / "dataset")) == 3


def test_bad_clips_are_skipped_and_listed_and_good_ones_join_what_is_there(
    videos: Path, xnemo: Command, tmp_path: Path
) -> None:
    source, folder = tmp_path / "source", tmp_path / "dataset"
    source.mkdir()
    (source / "text.mp4").write_text("not a video")
    make_video(source / "nobody.mp4", np.full((10, 64, 64, 3), 90, np.uint8))
    outcome = xnemo("extract", source, "-o", folder)
    assert outcome.code == 1 and outcome.error.startswith("none of the 2 clips could be extracted: ")
    assert not folder.exists()

    shutil.copy(videos / "cy.mp4", source)
    outcome = xnemo("extract", source, "-o", folder, "--json")
    result = json.loads(outcome.out)
    assert outcome.code == 1 and set(result["failed"]) == {str(source / "text.mp4"), str(source / "nobody.mp4")}
    assert "no face found" in result["failed"][str(source / "nobody.mp4")]
    assert f"skipped: {source / 'text.mp4'}" in outcome.err and "2 clips failed" in outcome.error
    before = [record.motion.latents for record in MotionDataset.open(folder).records()]
    assert (len(before), result["frames"]) == (1, 7)

    # Mended, the rest joins; a manifest of the same clips brings labels up to date without reading them again.
    shutil.copy(videos / "ann" / "one.mp4", source / "text.mp4")
    manifest = source / "manifest.csv"
    manifest.write_text(
        "file,kind,identity,split,emotion,intensity\n"
        "cy.mp4,clip,carol,validation,happy,3\ntext.mp4,clip,dora,train,,\nnobody.png,portrait,x,train,,\n"
    )
    outcome = xnemo("extract", manifest, "-o", folder, "--json")
    assert outcome.code == 0 and json.loads(outcome.out)["extracted"] == 1
    text, cy = MotionDataset.open(folder).records()
    assert (cy.clip_id, cy.identity, cy.split, cy.emotion, cy.intensity) == ("cy", "carol", "validation", "happy", 3)
    assert (text.clip_id, text.identity, text.split, text.emotion, text.intensity) == (
        "text",
        "dora",
        "train",
        None,
        None,
    )
    assert torch.equal(cy.motion.latents, before[0])
    shards = sorted(path.name.split("-")[0] for path in folder.glob("*.parquet"))
    assert shards == ["train", "validation"] and not (folder / ".parts").exists()

    # Who is in the dataset cannot come back in the other split.
    manifest.write_text("file,identity,split\nnobody.mp4,carol,train\n")
    outcome = xnemo("extract", manifest, "-o", folder)
    assert outcome.code == 1 and "identity carol would be in both splits" in outcome.error


def test_what_cannot_be_extracted_into_is_refused_before_any_work(
    whole: Path, videos: Path, xnemo: Command, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    build_pipeline(animator_config("tiny"), seed=1).save_pretrained(other)
    before = contents(whole)
    # The last weights= of a command line count; the fixture's come last, so these are another encoder's dataset.
    config: ExtractConfig = load_config("extract", [f"weights={other}", "device=cpu"])
    from animator.extraction.recipe import extract_dataset

    with pytest.raises(XNeMoError, match=r"holds latents of motion encoder \w{16}, the weights in use have \w{16}"):
        extract_dataset(videos, whole, config)
    assert "has 25 frames a second; give fps=25" in xnemo("extract", videos, "-o", whole, "fps=50").error
    assert contents(whole) == before

    (tmp_path / "file").write_text("x")
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.tex").write_text("x")
    for target, reason in (
        (full, "is no motion dataset, and not empty"),
        (tmp_path / "file", "cannot be written"),
        (Path("/proc/dataset"), "cannot be written"),
    ):
        outcome = xnemo("extract", videos, "-o", target)
        assert outcome.code == 1 and str(target) in outcome.error and reason in outcome.error
    assert [path.name for path in full.iterdir()] == ["thesis.tex"]


def test_two_runs_do_not_write_into_one_folder(videos: Path, xnemo: Command, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    (folder / ".parts").mkdir(parents=True)
    # Another process, because a lock does not keep out the one that has it.
    script = f"""
import fcntl, sys
with open({str(folder / ".parts" / ".lock")!r}, "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"locked\n"
        outcome = xnemo("extract", videos, "-o", folder)
        assert outcome.error == f"{folder}: another extraction is writing into it; wait for it to end"
        other.communicate()


def test_sources_that_make_no_sense_are_one_line(xnemo: Command, videos: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    manifest = tmp_path / "list.csv"

    def fails(source: Path, *words: str | Path) -> str:
        outcome = xnemo("extract", source, "-o", tmp_path / "out", *words)
        assert outcome.code in (1, 2) and not (tmp_path / "out").exists()
        return outcome.error

    assert fails(empty) == f"{empty}: no videos in this folder"
    assert "no such file or folder" in fails(tmp_path / "absent.csv")
    for text, reason in (
        ("", "no column file and no column identity"),
        ("file,identity\n", "names no clips"),
        ("file,identity\na.mp4,\n", "row 2 has no identity"),
        ("file,identity,split\na.mp4,a,test\n", "row 2 has the split 'test'; train or validation is meant"),
        ("file,identity,intensity\na.mp4,a,loud\n", "row 2 has the intensity 'loud'"),
        ("file,identity\na.mp4,a\nb/a.mp4,b\n", "would both be called a; rename one"),
        (
            "file,identity,split\na.mp4,sue,train\nb.mp4,sue,validation\n",
            "identity sue is in both splits (a.mp4 in train",
        ),
    ):
        manifest.write_text(text)
        assert reason in fails(manifest), text
    assert "made of one folder or manifest" in fails(videos, videos / "cy.mp4")
    assert fails(videos / "cy.mp4", "mirror=true", "fps=30").startswith("fps and mirror: for motion datasets")
    assert "-o DATASET is missing" in xnemo("extract", videos).error


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    videos: Path, whole: Path, tiny_weights: Path, xnemo: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "dataset"
    # A limit on file size makes the kernel refuse the write of the longer clips, as a full disk does.
    script = f"""
import resource, signal, sys
from apps.cli import main
if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
    sys.exit(main({command(videos, folder, tiny_weights)[3:]!r}))
"""
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    error = json.loads(done.stdout)["error"]
    assert done.returncode == 1 and "cannot be written: " in error and str(folder) in error, done.stderr
    assert "Traceback" not in done.stderr and not list(folder.glob(".parts/.xnemo*"))
    assert xnemo("extract", videos, "-o", folder, "mirror=true", "audio=true", "device=cpu").code == 0
    assert contents(folder) == contents(whole)


def test_people_are_held_out_by_a_hash_of_their_name() -> None:
    clips = [ClipSource(Path(f"{number}.mp4"), str(number), f"person {number // 2}") for number in range(2000)]
    splits = assign_splits(clips, {}, 0.1, 0)
    held_out = {identity for identity, split in splits.items() if split == "validation"}
    assert 70 < len(held_out) < 130
    # Fewer or more people, or another order, move nobody; another seed holds out others.
    assert assign_splits(clips[::-3], {}, 0.1, 0).items() <= splits.items()
    assert assign_splits(clips, {}, 0.1, 1) != splits
    assert set(assign_splits(clips, {}, 0.0, 0).values()) == {"train"}
    few = clips[:6]
    chosen = assign_splits(few, {}, 1e-9, 0)
    assert sorted(chosen.values()) == ["train", "train", "validation"]
    # Where somebody is already, they stay, and then nobody else has to be held out.
    known = {"person 0": "validation"}
    assert assign_splits(few, known, 1e-9, 0) == {"person 0": "validation", "person 1": "train", "person 2": "train"}


def test_the_manifest_of_the_face_clips_is_understood(shared_data: Path) -> None:
    clips = list_clips(shared_data / "manifest.csv")
    assert len(clips) == 123 and len({clip.identity for clip in clips}) == 90
    assert {clip.emotion for clip in clips} >= {"neutral", "happy", "contempt"} and all(c.path.is_file() for c in clips)
    assert all(clip.split in ("train", "validation") for clip in clips)


@pytest.mark.slow
def test_ray_extracts_the_same_dataset(
    whole: Path, videos: Path, xnemo: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # its workers stand back behind all other processes else
    words = ("engine=ray", "engine.workers=1", "engine.cpus=0.5", "mirror=true", "audio=true", "device=cpu")
    outcome = xnemo("extract", videos, "-o", tmp_path / "dataset", *words)
    assert outcome.code == 0, outcome.err
    assert contents(tmp_path / "dataset") == contents(whole)


def test_without_ray_the_error_says_how_to_get_it(
    videos: Path, xnemo: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    outcome = xnemo("extract", videos, "-o", tmp_path / "dataset", "engine=ray")
    assert outcome.code == 1 and "pip install 'xnemo-motion-suite[ray]'" in outcome.error
    assert not (tmp_path / "dataset").exists()
