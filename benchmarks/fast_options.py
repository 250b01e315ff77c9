"""What each option of a sampler saves, and how far it takes the pictures from the exact path.

    python benchmarks/fast_options.py --weights FOLDER --portrait face.jpg --driving clip.mp4   # what counts
    python benchmarks/fast_options.py --size tiny --frames 64                                   # random weights

The exact path is `sampler=paper`; the deviation is the peak signal-to-noise ratio of the frames in dB (all of them
together, 255 levels). Each line is one option alone, the last ones are `sampler=fast`, alone and, where the weights
have a tiny decoder or --tiny-vae names one, with it. Times are of denoising and decoding, in turns with the exact path.

Random weights show that the options work and what they save. Their deviations say nothing about those of trained
weights, neither from above nor from below: they predict no picture, and how smooth the way from step to step is, on
which all these options rest, is what training makes.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from animator.builders import animator_config, build_pipeline, load_pipeline
from animator.config import RuntimeConfig
from animator.motion_clip import SUFFIX, MotionClip
from animator.pipeline import XNeMoPipeline
from animator.portrait import PortraitPictures, portrait_pictures
from animator.sampler import SamplerConfig, load_sampler


def settings(window: int, overlap: int, tiny_decoder: bool) -> dict[str, SamplerConfig]:
    """Samplers to compare, by what is said of them in the table; the exact one first."""
    paper, fast = (replace(load_sampler(name), window=window, overlap=overlap) for name in ("paper", "fast"))
    found = {
        "exact (paper)": paper,
        "guidance_until=0.6": replace(paper, guidance_until=0.6),
        "overlap_layers=temporal": replace(paper, overlap_layers="temporal"),
        "deep_cache_every=2": replace(paper, deep_cache_every=2),
        "deep_cache_every=3": replace(paper, deep_cache_every=3),
        "steps=15": replace(paper, steps=15),
        "solver=dpmpp, steps=15": replace(paper, solver="dpmpp", steps=15),
        "solver=unipc, steps=15": replace(paper, solver="unipc", steps=15),
        "solver=unipc, steps=25": replace(paper, solver="unipc"),
        "**fast**": fast,
    }
    if tiny_decoder:
        found["decoder=tiny"] = replace(paper, decoder="tiny")
        found["fast, decoder=tiny"] = replace(fast, decoder="tiny")
    return found


def psnr(ours: NDArray[np.uint8], exact: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB over all frames; infinite where they are equal."""
    error = float(np.mean((ours.astype(np.float64) - exact) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def random_pipeline(size: str) -> XNeMoPipeline:
    """A pipeline whose new layers, which start at zero, take part as well."""
    pipeline = build_pipeline(animator_config(size))
    generator = torch.Generator().manual_seed(0)
    for net in (pipeline.unet, pipeline.reference_net):
        assert isinstance(net, nn.Module)
        for parameter in net.parameters():
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    return pipeline


def inputs(
    pipeline: XNeMoPipeline, portrait: str | None, driving: str | None, frames: int
) -> tuple[PortraitPictures, MotionClip]:
    """The files that were named; noise for those that were not."""
    side, face = pipeline.config.image_size, pipeline.motion_encoder.config.image_size
    drawn = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    if portrait is None:
        pictures = portrait_pictures(drawn[0], (side, side), face, reference_face=drawn[1])
    else:
        pictures = portrait_pictures(portrait, (side, side), face)
    if driving is None:
        latents = torch.randn(
            frames, pipeline.motion_encoder.config.latent_dim, generator=torch.Generator().manual_seed(0)
        )
        boxes = torch.tensor([[0.0, 0.0, 1.0]]).repeat(frames, 1)
        return pictures, MotionClip(latents, boxes, 25.0, pipeline.encoder_id)
    clip = MotionClip.load(driving) if driving.endswith(SUFFIX) else pipeline.encode_motion(driving)
    return pictures, clip[:frames]


def draw(
    pipeline: XNeMoPipeline, pictures: PortraitPictures, motion: MotionClip, sampler: SamplerConfig
) -> tuple[NDArray[np.uint8], float]:
    """Frames, and the seconds that they took."""
    start = time.perf_counter()
    frames = pipeline(pictures, motion, sampler=sampler).frames
    assert isinstance(frames, np.ndarray)  # on the CPU, so that the device is done
    return frames, time.perf_counter() - start


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", help="folder with weights; without, random ones")
    parser.add_argument("--size", default="tiny", choices=("tiny", "lite", "xnemo"), help="of random weights")
    parser.add_argument("--portrait", help="a picture with a face; without, noise")
    parser.add_argument("--driving", help="a video or a motion file; without, noise")
    parser.add_argument("--tiny-vae", help="folder with diffusers' AutoencoderTiny")
    parser.add_argument("--frames", type=int, default=64, help="so many at most")
    parser.add_argument("--window", type=int, default=24, help="frames denoised together")
    parser.add_argument("--overlap", type=int, default=4, help="frames that windows share")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.weights is None:
        pipeline = random_pipeline(given.size)
    else:
        pipeline = load_pipeline(RuntimeConfig(weights=given.weights, device=given.device, tiny_vae=given.tiny_vae))
    pipeline.set_progress_bar_config(disable=True)
    pictures, motion = inputs(pipeline, given.portrait, given.driving, given.frames)
    choices = settings(given.window, given.overlap, pipeline.tiny_vae is not None)
    exact = choices["exact (paper)"]
    draw(pipeline, pictures, motion, replace(exact, steps=2))  # warm-up
    what = f"weights {given.weights}" if given.weights else f"size {given.size}, RANDOM WEIGHTS: dB without meaning"
    print(f"{len(motion)} frames, {pipeline.device}, {pipeline.unet.dtype}, {what}\n")
    print("| sampler | PSNR against the exact path, dB | time, exact path = 1 |\n|---|---|---|")
    for name, sampler in choices.items():
        wanted, whole = draw(pipeline, pictures, motion, exact)
        frames, taken = draw(pipeline, pictures, motion, sampler)
        print(f"| {name} | {psnr(frames, wanted):.1f} | {taken / whole:.2f} |", flush=True)


if __name__ == "__main__":
    main()
