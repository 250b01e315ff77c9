"""Seconds, memory and share of the matrix rate for one second of video at full size, exact and fast.

    python benchmarks/animate_gpu.py                     # 25 frames of 512 x 512 in bfloat16, on CUDA
    python benchmarks/animate_gpu.py --tiny --device cpu # the same at a width for trying out

Random weights of the paper's size: times do not depend on them. Timed from the portrait's picture and the motion to the
frames; reading the driving clip is not part of it. The 25 frames are one window, so that each is denoised once at a
step; in a long clip, windows of 24 that share 4 compute a fifth more.

The networks are built in the machine's memory, in float32: 12 GB and more. The arithmetic is counted by torch in a run
of its own (matrix products, convolutions and attention; 2 FLOP a multiplication and addition). Estimated from the
layers' sizes, the exact path is about 2,200 TFLOP for 25 frames of a long clip, that fifth included. The matrix rate is
what a product of two large square matrices reaches in the same process.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from animator.builders import animator_config, build_pipeline, resolve_device
from animator.motion_clip import MotionClip
from animator.pipeline import XNeMoPipeline
from animator.placement import compile_blocks
from animator.portrait import PortraitPictures, portrait_pictures
from animator.sampler import SamplerConfig, load_sampler
from apps.memory import MEGABYTE, peak_memory_mb

TERA = 1e12


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, until the device is done."""
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


@torch.no_grad()
def matrix_rate(device: torch.device, dtype: torch.dtype, side: int, repeats: int = 20) -> float:
    """TFLOP/s of a product of two matrices of `side` x `side`, the median of some after a warm-up."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    times = [seconds(lambda: a @ b, device) for _ in range(repeats + 3)][3:]
    return 2 * side**3 / statistics.median(times) / TERA


def random_inputs(pipeline: XNeMoPipeline, frames: int) -> tuple[PortraitPictures, MotionClip]:
    """A portrait and a motion of noise, which cost what real ones do."""
    side, face = pipeline.config.image_size, pipeline.motion_encoder.config.image_size
    drawn = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    pictures = portrait_pictures(drawn[0], (side, side), face, reference_face=drawn[1])
    width = pipeline.motion_encoder.config.latent_dim
    latents = torch.randn(frames, width, generator=torch.Generator().manual_seed(0))
    return pictures, MotionClip(latents, torch.tensor([[0.0, 0.0, 1.0]]).repeat(frames, 1), 25.0, pipeline.encoder_id)


def animate(pipeline: XNeMoPipeline, sampler: SamplerConfig, frames: int) -> None:
    """Draw one clip, and let the frames go."""
    pictures, motion = random_inputs(pipeline, frames)
    for _ in pipeline.stream(pictures, motion, sampler=sampler):
        pass


def count(run: Callable[[], object]) -> float:
    """TFLOP of one call. The counter does not see into compiled blocks."""
    with FlopCounterMode(display=False) as counted:
        run()
    return counted.get_total_flops() / TERA


def measure(run: Callable[[], object], device: torch.device, repeats: int) -> tuple[float, float]:
    """Median seconds after a warm-up, and peak memory in MiB: of the device, or of this whole process."""
    run()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = [seconds(run, device) for _ in range(repeats)]
    peak = torch.cuda.max_memory_allocated(device) / MEGABYTE if device.type == "cuda" else peak_memory_mb()
    return statistics.median(times), peak


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="another width, to try the script out")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--window", type=int, default=25, help="frames denoised together")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs, after one that warms up")
    parser.add_argument("--compile", action="store_true", help="compile the UNets' transformer blocks")
    given = parser.parse_args()
    device = resolve_device(given.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    pipeline = build_pipeline(animator_config("tiny" if given.tiny else "xnemo")).to(dtype).to(device)
    pipeline.set_progress_bar_config(disable=True)
    rate = matrix_rate(device, dtype, 512 if given.tiny else 8192)
    side = pipeline.config.image_size
    print(f"{given.frames} frames of {side} x {side}, {device}, {dtype}, matrix rate {rate:.3g} TFLOP/s\n")
    memory = "peak memory of the device" if device.type == "cuda" else "peak memory of the process so far"
    print(f"| sampler | seconds | {memory}, MiB | TFLOP | share of the matrix rate |\n|---|---|---|---|---|")
    samplers = {name: replace(load_sampler(name), window=given.window) for name in ("paper", "fast")}
    runs = {name: partial(animate, pipeline, sampler, given.frames) for name, sampler in samplers.items()}
    arithmetic = {name: count(run) for name, run in runs.items()}
    if given.compile:
        compile_blocks(pipeline)
    for name, run in runs.items():
        taken, peak = measure(run, device, given.repeats)
        share = arithmetic[name] / taken / rate
        print(f"| {name} | {taken:.2f} | {peak:.0f} | {arithmetic[name]:.3g} | {share:.0%} |", flush=True)


if __name__ == "__main__":
    main()
