"""Peak memory of an animation does not grow with the clip: measured for short and long clips, each in its own process.

    python benchmarks/memory.py                          # tiny, 100 and 1,000 frames, both renderers
    python benchmarks/memory.py --size lite --steps 2    # fewer steps: the same chunks, sooner done

Random weights and random motion; frames are encoded to an mp4 as they come, as `xnemo animate` does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch

from animator.builders import animator_config, build_pipeline, resolve_device
from animator.motion_clip import MotionClip
from animator.portrait import portrait_pictures
from animator.video import VideoWriter
from apps.memory import MEGABYTE, peak_gpu_memory_mb, peak_memory_mb


def measure(size: str, renderer: str, frames: int, steps: int) -> dict[str, float]:
    """Animate a clip and say what it took: MiB before and at the peak, MiB of a GPU if there is one, seconds."""
    config = animator_config(size)
    pipeline = build_pipeline(config)
    pipeline.set_progress_bar_config(disable=True)
    side, face = config.image_size, config.motion_encoder.image_size
    drawn = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    pictures = portrait_pictures(drawn[0], (side, side), face, reference_face=drawn[1])
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(frames, config.motion_encoder.latent_dim, generator=generator)
    motion = MotionClip(latents, torch.tensor([[0.0, 0.0, 1.0]]).repeat(frames, 1), 25.0, pipeline.encoder_id)
    pipeline.to(resolve_device("auto"))
    before = psutil.Process().memory_info().rss / MEGABYTE
    start = time.monotonic()
    if renderer == "gan":
        chunks = pipeline.stream_preview(pictures, motion)
    else:
        chunks = pipeline.stream(pictures, motion, num_inference_steps=steps)
    with tempfile.TemporaryDirectory() as folder, VideoWriter(Path(folder) / "out.mp4", 25.0) as writer:
        for chunk in chunks:
            writer.write(chunk)
    found = {"before_mb": before, "peak_mb": peak_memory_mb(), "seconds": time.monotonic() - start}
    on_device = peak_gpu_memory_mb()
    return found if on_device is None else found | {"peak_gpu_mb": on_device}


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak memory for short and long clips.")
    parser.add_argument("--size", default="tiny", help="animator size: tiny, lite or xnemo")
    parser.add_argument("--renderer", nargs="+", default=["diffusion", "gan"], choices=["diffusion", "gan"])
    parser.add_argument("--frames", nargs="+", type=int, default=[100, 1000])
    parser.add_argument("--steps", type=int, default=8, help="denoising steps; about so many windows are alive at once")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--one", action="store_true", help="measure in this process and print JSON")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.one:
        print(json.dumps(measure(given.size, given.renderer[0], given.frames[0], given.steps)))
        return
    print("| size | renderer | frames | loaded, MiB | peak, MiB | peak on the GPU, MiB | seconds |")
    print("|---|---|---|---|---|---|---|")
    for renderer in given.renderer:
        for frames in given.frames:
            command = [sys.executable, __file__, "--one", "--size", given.size, "--renderer", renderer]
            command += ["--frames", str(frames), "--steps", str(given.steps), "--threads", str(given.threads)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            on_device = f"{found['peak_gpu_mb']:.0f}" if "peak_gpu_mb" in found else "-"
            print(
                f"| {given.size} | {renderer} | {frames} | {found['before_mb']:.0f} | {found['peak_mb']:.0f} "
                f"| {on_device} | {found['seconds']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
