"""What extracting motion costs: reading a clip, encoding it in each number format, and both together.

    python benchmarks/extract.py                                # the paper's encoder; minutes
    python benchmarks/extract.py --size tiny --frames 4         # the same at a width for trying out
    python benchmarks/extract.py --clips FOLDER                 # and a motion dataset of real clips, packaged weights

Encoders have random weights (time does not depend on them; what rounding does to latents does, and is larger than with
trained ones) and see the same face crops of a real clip, in turns, so that other load meets all of them. Processor
seconds are those of all threads; wall seconds mean something on an idle machine only. "torch's own" is the encoder with
`torch.nn.Linear` as it stands, which is the arithmetic of the authors' loop, one frame at a time.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from animator.assets import asset_path
from animator.builders import animator_config
from animator.conditions import encode_faces
from animator.config_loader import load_config
from animator.extraction.reading import ReadSettings, open_clip
from animator.extraction.recipe import extract_dataset
from animator.face import FaceDetector
from animator.models.motion_encoder import MotionEncoder

CPU = torch.device("cpu")
STOCK, EXACT, HALF, ALL_HALF = "float32, torch's own", "float32", "bfloat16", "bfloat16 throughout"


def processor_seconds() -> float:
    """Of this process and of its children that have ended, all threads."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def crops_of(path: Path, side: int, frames: int) -> tuple[np.ndarray, float, int]:
    """Face crops spread over a clip; processor seconds of reading a frame; frames of the clip."""
    settings = ReadSettings("largest", 0.5, 12, "tracked", "auto", side, audio=False)
    with FaceDetector() as detector:
        before = processor_seconds()
        with open_clip(path, settings, detector) as (start, batches):
            crops = np.concatenate(list(batches))
        cost = (processor_seconds() - before) / len(start.boxes)
    chosen = np.linspace(0, len(crops) - 1, frames).astype(int)
    return crops[chosen], cost, len(start.boxes)


def with_stock_linear(encoder: MotionEncoder) -> MotionEncoder:
    """The encoder with `nn.Linear` itself wherever a subclass of it stands."""
    stock = copy.deepcopy(encoder)
    for layer in stock.modules():
        if isinstance(layer, nn.Linear):
            layer.__class__ = nn.Linear
    return stock


@torch.no_grad()
def compare(size: str, crops: np.ndarray, repeats: int) -> None:
    """Time the encoder in its formats and print the table."""
    torch.manual_seed(0)
    exact = MotionEncoder(**asdict(animator_config(size).motion_encoder)).eval().requires_grad_(False)
    encoders = {
        STOCK: with_stock_linear(exact),
        EXACT: exact,
        HALF: copy.deepcopy(exact).halve_attention(torch.bfloat16),
        ALL_HALF: copy.deepcopy(exact).bfloat16(),
    }

    def one_by_one(encoder: MotionEncoder) -> Tensor:
        return torch.cat([encode_faces(encoder, crops[i : i + 1], CPU) for i in range(len(crops))])

    runs: dict[str, Callable[[], Tensor]] = {STOCK: lambda: one_by_one(encoders[STOCK])}
    for name in (EXACT, HALF, ALL_HALF):
        runs[name] = lambda encoder=encoders[name]: encode_faces(encoder, crops, CPU).float()  # type: ignore[misc]
    wall: dict[str, list[float]] = {name: [] for name in runs}
    processor: dict[str, list[float]] = {name: [] for name in runs}
    latents: dict[str, Tensor] = {}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            begin, used = time.perf_counter(), time.process_time()
            latents[name] = run()
            if repeat:  # the first is the warm-up
                wall[name].append((time.perf_counter() - begin) / len(crops))
                processor[name].append((time.process_time() - used) / len(crops))
    print(
        "| encoder | wall s a frame | processor s a frame | times torch's own | relative error |\n|---|---|---|---|---|"
    )
    unit = statistics.median(processor[STOCK])
    for name in runs:
        cost = statistics.median(processor[name])
        error = float((latents[name] - latents[EXACT]).norm() / latents[EXACT].norm())
        print(f"| {name} | {statistics.median(wall[name]):.3f} | {cost:.3f} | {unit / cost:.2f} | {error:.1e} |")


def dataset_of(clips: Path, workers: int | None) -> None:
    """Extract a motion dataset with the packaged weights and print how fast that was."""
    chosen = [] if workers is None else [f"engine.workers={workers}"]
    with TemporaryDirectory(prefix="xnemo-") as folder:
        begin, used = time.perf_counter(), processor_seconds()
        done = extract_dataset(clips, Path(folder) / "dataset", load_config("extract", ["device=cpu", *chosen]))
        wall, processor = time.perf_counter() - begin, processor_seconds() - used
    seconds = 3600 * sum(split.hours for split in done.splits.values())
    frames = sum(split.frames for split in done.splits.values())
    print("\n| dataset | frames | times real time | processor ms a frame | times real time if two cores were free |")
    print("|---|---|---|---|---|")
    rates = f"{seconds / wall:.1f} | {1000 * processor / frames:.1f} | {2 * seconds / processor:.1f}"
    print(f"| {done.extracted} clips | {frames} | {rates} |")


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="xnemo", help="file of configs/animator/")
    parser.add_argument("--clip", type=Path, help="a real clip; default: the demo's")
    parser.add_argument("--clips", type=Path, help="folder or manifest to make a motion dataset of, with lite")
    parser.add_argument("--frames", type=int, default=8, help="face crops that are encoded")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs, after one that warms up")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--workers", type=int, help="processes that read, for --clips")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    side = animator_config(arguments.size).motion_encoder.image_size
    clip = arguments.clip or asset_path("single-face-video")
    crops, reading, frames = crops_of(clip, side, arguments.frames)
    print(f"reading {clip.name} ({frames} frames): {1000 * reading:.1f} processor ms a frame\n")
    compare(arguments.size, crops, arguments.repeats)
    if arguments.clips is not None:
        dataset_of(arguments.clips, arguments.workers)


if __name__ == "__main__":
    main()
