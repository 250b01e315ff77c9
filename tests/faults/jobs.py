"""The long jobs that faults happen to: a command line, what it reads, and what its result is."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from animator.assets import asset_path
from animator.builders import animator_config, build_pipeline
from animator.dataset import MotionRecord, write_dataset
from animator.provenance.verify import video_stream_digest
from tests.animator.media import clip_frames, make_video
from tests.animator.release import SETTINGS, release_config, release_states, write_release
from tests.motion_tokenizer.tiny import motion

FRAMES = 24


@dataclass(frozen=True)
class Job:
    """One command.

    Attributes:
        words: of the command line, run in a folder that holds what it reads.
        reads: the files and folders that are put there.
        source: the one that vanishes midway.
        output: what it writes, file or folder, in the folder "made".
        digest: the result, so that two can be compared.
        resumes: an interrupted run leaves a part of the output that the same command goes on from.
        workers: it starts processes of its own.
    """

    words: tuple[str, ...]
    reads: tuple[str, ...]
    source: str
    output: str
    digest: Callable[[Path], str]
    resumes: bool = False
    workers: bool = False


def prepare_media(shop: Path) -> None:
    """Write everything that the jobs read into one folder: real faces, tiny weights of random numbers."""
    import skimage

    frames = clip_frames(asset_path("single-face-video"), FRAMES)
    make_video(shop / "driving.mp4", frames, 25, tone=FRAMES / 25)
    (shop / "clips").mkdir()
    for number in range(3):
        part = np.roll(frames, 8 * number, axis=2)[: FRAMES - 2 * number]
        make_video(shop / "clips" / f"c{number}.mp4", part, 25)
    shutil.copy(Path(skimage.__file__).parent / "data" / "astronaut.png", shop / "portrait.png")
    build_pipeline(animator_config("tiny"), seed=0).save_pretrained(shop / "weights")
    records = [
        MotionRecord(f"{person}{n}", person, None, None, split, None, motion(48, 10 * n + ord(person)))
        for person, split in (("a", "train"), ("b", "train"), ("c", "validation"))
        for n in range(2)
    ]
    write_dataset(shop / "motions", records)
    write_release(shop / "released", release_states(release_config()))


def _video(path: Path) -> str:
    return video_stream_digest(path)


def _folder(path: Path, *patterns: str) -> str:
    """All bytes of the files that match, by name."""
    digest = hashlib.sha256()
    found = sorted(file for pattern in patterns for file in path.rglob(pattern))
    assert found, f"{path} holds no {' or '.join(patterns)}"
    for file in found:
        digest.update(f"{file.relative_to(path).as_posix()} ".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _training(path: Path) -> str:
    """Weights, and every figure of the record but those that count seconds."""
    record = json.loads((path / "weights" / "training.json").read_text())
    validations = [{k: v for k, v in row.items() if "seconds" not in k} for row in record.get("validation", [])]
    return _folder(path / "weights", "*.safetensors") + hashlib.sha256(json.dumps(validations).encode()).hexdigest()


LOCAL = ("device=cpu", "weights=weights")
TRAINING = (
    "tokenizer=tiny", "tokenizer.codes=16", "batch=4", "window=32", "unquantised_steps=4", "searched_steps=0",
    "pool_vectors_per_code=1", "schedule.steps=24", "schedule.validate_steps=6", "dataset=motions", "output=made/run",
    "schedule.checkpoint_minutes=0",
)  # fmt: skip

JOBS = {
    "animate": Job(
        ("animate", "portrait.png", "driving.mp4", "-o", "made/video.mp4", "--preview", *LOCAL),
        ("portrait.png", "driving.mp4", "weights"),
        "driving.mp4",
        "made/video.mp4",
        _video,
    ),
    "extract": Job(
        ("extract", "clips", "-o", "made/dataset", "engine.workers=2", *LOCAL),
        ("clips", "weights"),
        "clips/c2.mp4",
        "made/dataset",
        lambda path: _folder(path, "*.parquet", "_dataset.json"),
        resumes=True,
        workers=True,
    ),
    "convert": Job(
        ("convert", "xnemo-release", "released", "made/converted", *SETTINGS),
        ("released",),
        "released/xnemo_temporal_module.pth",
        "made/converted",
        lambda path: _folder(path, "*.safetensors", "config.json", "model_index.json"),
    ),
    "train tokenizer": Job(
        ("train", "tokenizer", *TRAINING),
        ("motions",),
        "motions/_dataset.json",
        "made/run",
        _training,
        resumes=True,
    ),
}
