"""The long jobs that faults happen to: a command line, what it reads, and what its result is.

All are as short as they can be: what is tried is where they stop, and not how much they do.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from animator.assets import asset_path
from animator.builders import animator_config, build_pipeline
from animator.dataset import MotionRecord, write_dataset
from animator.image import resize
from animator.provenance.verify import video_stream_digest
from animator.training.parts import ClipPart, PartInfo, assemble, labels_file, save_part
from motion_tokenizer.training.weights import RECORD
from tests.animator.media import clip_frames, make_video
from tests.animator.release import SETTINGS, release_config, release_states, write_release
from tests.conftest import find_shared_data
from tests.motion_tokenizer.tiny import motion, tokenizer

FRAMES = 16
SIDE = 64  # of the pictures that networks are trained on


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
        faults: the only ones that it is there for; None: all that need no processes of its own.
        needs: a file of the evaluation's networks that not every machine has, by its name; None: nothing.
    """

    words: tuple[str, ...]
    reads: tuple[str, ...]
    source: str
    output: str
    digest: Callable[[Path], str]
    resumes: bool = False
    faults: tuple[str, ...] | None = None
    needs: str | None = None


def prepare_media(shop: Path) -> str:
    """Write everything that the jobs read into one folder: real faces, tiny weights of random numbers.

    Returns:
        The id of the motion encoder among them.
    """
    import skimage

    frames = clip_frames(asset_path("single-face-video"), FRAMES)
    make_video(shop / "driving.mp4", frames, 25, tone=FRAMES / 25)
    for name, count in (("clips", 3), ("pair", 2)):
        (shop / name).mkdir()
        for number in range(count):
            part = np.roll(frames, 8 * number, axis=2)[: FRAMES // 2 - number]
            make_video(shop / name / f"c{number}.mp4", part, 25)
    (shop / "squares").mkdir()
    for number in range(2):
        make_video(shop / "squares" / f"c{number}.mp4", frames[8 * number :][:4, :, 140:500], 25)
    shutil.copy(Path(skimage.__file__).parent / "data" / "astronaut.png", shop / "portrait.png")
    pipeline = build_pipeline(animator_config("tiny"), seed=0)
    pipeline.save_pretrained(shop / "weights")
    records = [
        MotionRecord(f"{person}{n}", person, None, None, split, None, motion(48, 10 * n + ord(person)))
        for person, split in (("a", "train"), ("b", "train"), ("c", "validation"))
        for n in range(2)
    ]
    write_dataset(shop / "motions", records)
    tokenizer().save_pretrained(shop / "tokenizer")
    write_release(shop / "released", release_states(release_config()))
    _prepare_crops(shop, frames)
    return pipeline.encoder_id


def _prepare_crops(shop: Path, frames: np.ndarray) -> None:
    """Write a folder of face crops with labels of chance, for which no landmarker is needed."""
    drawn = np.random.default_rng(0)
    pictures = np.stack([resize(frame[:, 140:500], (SIDE, SIDE)) for frame in frames[: FRAMES // 2]])
    count = len(pictures)
    for name, split in (("a", "train"), ("b", "validation")):
        video = make_video(shop / f"{name}.mp4", pictures if name == "a" else pictures[:, :, ::-1], 25)
        info = PartInfo(name, name, split, name, count, SIDE, tuple(f"shape{n}" for n in range(52)))
        fields = {
            "frame": np.arange(count, dtype=np.int32),
            "centre": np.full((count, 2), 0.5, np.float32),
            "size": np.full(count, 0.5, np.float32),
            "crop_side": np.full(count, 0.6, np.float32),
            "landmarks": drawn.uniform(0.2, 0.8, (count, 478, 2)).astype(np.float32),
            "blendshapes": drawn.uniform(0, 1, (count, 52)).astype(np.float32),
            "rotation": np.tile(np.eye(3, dtype=np.float32), (count, 1, 1)),
        }
        save_part(shop / "crops", ClipPart(info, video.read_bytes(), labels_file(info, fields)))
        video.unlink()
    assemble(shop / "crops")


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


def _weights(path: Path) -> str:
    """Finished weights."""
    return _folder(path / "weights", "*.safetensors", "config.json")


def _training(path: Path) -> str:
    """Weights, and every figure of the record but those that count seconds."""
    record = json.loads((path / "weights" / RECORD).read_text())
    history = [{k: v for k, v in row.items() if k not in ("seconds", "minutes")} for row in record["history"]]
    return _weights(path) + hashlib.sha256(json.dumps(history).encode()).hexdigest()


def _measured(path: Path) -> str:
    """Records and figures of an evaluation."""
    report = json.loads((path / "report.json").read_text())
    del report["provenance"]
    return _folder(path / "records", "*.json") + hashlib.sha256(json.dumps(report).encode()).hexdigest()


_DATA = find_shared_data()
NETWORKS = Path("models") if _DATA is None else _DATA / "models"
LOCAL = ("device=cpu", "weights=weights")
PREPARE = (
    "prepare", "pair", "-o", "made/crops", f"landmarker={NETWORKS / 'face_landmarker.task'}", f"image_size={SIDE}",
    "stride=2", "max_frames=3", "filters.min_seconds=0",
)  # fmt: skip
EVALUATE = (
    "evaluate", "self", "squares", "-o", "made/report", f"models={NETWORKS}", "frames=3", "resamples=100",
    "baselines=false", "renderer=gan", *LOCAL,
)  # fmt: skip
TOKENIZER = (
    "train", "tokenizer", "tokenizer=tiny", "tokenizer.codes=16", "batch=4", "window=32", "unquantised_steps=4",
    "searched_steps=0", "pool_vectors_per_code=1", "schedule.steps=24", "schedule.validate_steps=6", "dataset=motions",
    "output=made/run", "schedule.checkpoint_minutes=0",
)  # fmt: skip
GPT = (
    "train", "gpt", "gpt=tiny", "dataset=motions", "tokenizer_weights=tokenizer", "output=made/run", "augment.pool=4",
    "augment.refresh_steps=3", "schedule.steps=12", "schedule.warm_up_steps=2", "schedule.validate_steps=6",
    "schedule.checkpoint_minutes=0",
)  # fmt: skip
AUTOENCODER = (
    "train", "autoencoder", "animator=tiny", "crops=crops", "output=made/run", "batch=2", "patch_size=32",
    "schedule.max_steps=12", "schedule.max_minutes=null", "schedule.decay_steps=4", "schedule.checkpoint_minutes=0",
)  # fmt: skip
ANIMATOR = (
    "train", "animator", "animator=tiny", "train=motion", "crops=crops", "output=made/run", "pairs=2", "plan=false",
    "train_diffusion=false", "train_backbone=false", "losses.vgg=0", "losses.vggface=0", "schedule.max_steps=6",
    "schedule.decay_steps=4", "schedule.checkpoint_minutes=0",
)  # fmt: skip

JOBS = {
    "prepare": Job(
        (*PREPARE, "engine.workers=1"),
        ("pair",),
        "pair/c1.mp4",
        "made/crops",
        lambda path: _folder(path, "*.mp4", "*.safetensors", "*.npy", "*.parquet", "clips.json"),
        resumes=True,
        needs="face_landmarker.task",
    ),
    "extract": Job(
        ("extract", "clips", "-o", "made/dataset", "engine.workers=2", *LOCAL),
        ("clips", "weights"),
        "clips/c2.mp4",
        "made/dataset",
        lambda path: _folder(path, "*.parquet", "_dataset.json"),
        resumes=True,
    ),
    "train autoencoder": Job(AUTOENCODER, ("crops",), "crops/index.safetensors", "made/run", _weights, resumes=True),
    "train animator": Job(ANIMATOR, ("crops",), "crops/index.safetensors", "made/run", _weights, resumes=True),
    "train tokenizer": Job(TOKENIZER, ("motions",), "motions/_dataset.json", "made/run", _training, resumes=True),
    "train gpt": Job(GPT, ("motions", "tokenizer"), "motions/_dataset.json", "made/run", _training, resumes=True),
    "animate": Job(
        ("animate", "portrait.png", "driving.mp4", "-o", "made/video.mp4", "--preview", *LOCAL),
        ("portrait.png", "driving.mp4", "weights"),
        "driving.mp4",
        "made/video.mp4",
        _video,
    ),
    "evaluate": Job(
        (*EVALUATE, "workers=1"),
        ("squares", "weights"),
        "squares/c1.mp4",
        "made/report",
        _measured,
        resumes=True,
        needs="lpips_alexnet.safetensors",
    ),
    "convert": Job(
        ("convert", "xnemo-release", "released", "made/converted", *SETTINGS),
        ("released",),
        "released/xnemo_temporal_module.pth",
        "made/converted",
        lambda path: _folder(path, "*.safetensors", "config.json", "model_index.json"),
    ),
}
WORKERS = ("killed worker",)
JOBS |= {
    "prepare, 2 workers": replace(JOBS["prepare"], words=(*PREPARE, "engine.workers=2"), faults=WORKERS),
    "extract, 2 workers": replace(JOBS["extract"], faults=WORKERS),
    "evaluate, 2 workers": replace(JOBS["evaluate"], words=(*EVALUATE, "workers=2"), faults=WORKERS),
}
