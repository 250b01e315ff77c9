"""Whoever prepares clips, one process, several, or a Ray cluster that loses a machine, the files are the same."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from animator.extraction import on_ray
from animator.files import sha256_of
from animator.training.config import PrepareConfig
from animator.training.prepare import prepare_crops
from tests.animator.media import clip_frames, make_video

ROOT = Path(__file__).parents[3]
CLIPS = 6
SETTINGS = ("max_frames=3", "filters.min_seconds=0.5")


@pytest.fixture(scope="module")
def videos(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Most of a second of each of six people, and a clip that is too short."""
    folder = tmp_path_factory.mktemp("engines") / "videos"
    folder.mkdir()
    names = sorted(shared_data.glob("clips/GRID_0*_neutral_01.mp4"))[:CLIPS]
    for name in names:
        make_video(folder / name.name, clip_frames(name, 20))
    make_video(folder / "short.mp4", clip_frames(names[0], 5))
    return folder


@pytest.fixture(scope="module")
def whole(
    videos: Path, prepare_config: Callable[..., PrepareConfig], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """What one process makes of them."""
    folder = tmp_path_factory.mktemp("whole") / "crops"
    done = prepare_crops([videos], folder, prepare_config(*SETTINGS))
    assert (done.clips, done.reasons) == (CLIPS, {"too_short": 1})
    return contents(folder)


def contents(folder: Path) -> dict[str, str]:
    """All files but the hidden ones that a killed process leaves."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): sha256_of(path) for path in files}


def test_killed_processes_go_on_and_end_with_the_same_files(
    whole: dict[str, bytes],
    videos: Path,
    landmarker: Path,
    prepare_config: Callable[..., PrepareConfig],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "crops"
    quick = [f"landmarker={landmarker}", "image_size=64", "stride=3", *SETTINGS, "engine.workers=2"]
    command = [sys.executable, "-m", "apps.cli", "prepare", str(videos), str(folder), *quick]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and len(list(folder.glob("parts/[!.]*.safetensors"))) < 2:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    parts = {path: path.stat().st_mtime_ns for path in folder.glob("parts/[!.]*.safetensors")}
    assert 2 <= len(parts) < CLIPS and not (folder / "clips.json").exists()
    (folder / "parts" / ".xnemo-0123456789ab.safetensors").touch()  # as a kill in the middle of writing leaves one
    assert prepare_crops([videos], folder, prepare_config(*SETTINGS)).clips == CLIPS
    assert {path: path.stat().st_mtime_ns for path in parts} == parts
    assert contents(folder) == whole


@pytest.mark.slow
def test_a_ray_cluster_that_loses_a_machine_makes_the_same_files(
    whole: dict[str, bytes],
    videos: Path,
    prepare_config: Callable[..., PrepareConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_worker_niceness", "0")  # its workers stand back behind all other processes else
    machine = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=machine)
    lost: list[Any] = []
    try:
        second = cluster.add_node(**machine)
        cluster.wait_for_nodes()
        done_as_before = on_ray._Pool._done

        def lose_a_machine(pool: on_ray._Pool[Any], answer: Any, waiting: deque[tuple[Any, int]]) -> Any:
            """As soon as both actors, of which each machine has room for one, are at work."""
            if not lost and len(pool.working) == 2:
                lost.append(answer)
                cluster.remove_node(second, allow_graceful=False)
            return done_as_before(pool, answer, waiting)

        monkeypatch.setattr(on_ray._Pool, "_done", lose_a_machine)
        engine = ("engine=ray", "engine.workers=2", f"engine.address={cluster.address}")
        done = prepare_crops([videos], tmp_path / "crops", prepare_config(*engine, *SETTINGS))
    finally:
        cluster.shutdown()
    assert len(lost) == 1
    assert (done.clips, done.failed) == (CLIPS, {})
    assert contents(tmp_path / "crops") == whole
