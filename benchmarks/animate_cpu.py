"""What one denoising step costs, in units that are the same on any machine: forward passes of the plain SD UNet.

    python benchmarks/animate_cpu.py            # full size, float32; needs 12 GB of memory
    python benchmarks/animate_cpu.py --tiny     # the same at a width for trying out

The unit is diffusers' `UNet2DConditionModel` over 8 latents of 16 x 24 with one token of context. The step is a window
of 4 frames with guidance, so 8 latents as well: the denoiser with reference, motion and temporal attention, from motion
latents that are encoded once for the clip. Unit and step are timed in turns, so that other load meets both.

The authors' code took 3.1 units for the same step (2.2 for its denoiser, 0.95 for the motion encoder, which it runs
again at every step): measured once on 2 threads, and not run here. Random weights; time does not depend on them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict

import torch
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from animator.builders import animator_config
from animator.controls.motion_attention import MotionTokens
from animator.guidance import GuidedDenoiser, PortraitConditions
from animator.model_config import AnimatorConfig
from animator.models.attention import ReferenceFeatures
from animator.models.motion_encoder import MotionEncoder
from animator.models.motion_unet import MotionUNet
from animator.models.reference_net import ReferenceNet

FRAMES = 4
HEIGHT, WIDTH = 16, 24
STEPS = 25
OFFICIAL_UNITS = 3.1

UNIT = "plain UNet"
DENOISER = "denoiser"
REFERENCE = "reference net, once per portrait"
ENCODER = "motion encoder, 4 frames, once per clip"


def filled(build: Callable[[], nn.Module]) -> nn.Module:
    """A net with small random weights, without the time that its own initialisation takes."""
    with init_empty_weights():
        net = build()
    net.to_empty(device="cpu").eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.normal_(std=0.02)
    for buffer in net.buffers():
        buffer.fill_(1)
    return net


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def reference_pass(config: AnimatorConfig, portrait: Tensor, token: Tensor) -> tuple[ReferenceFeatures, float]:
    """The portrait's features and the seconds of making them; the net is gone afterwards."""
    net = filled(lambda: ReferenceNet(**asdict(config.reference_net)))
    net(portrait, token)  # warm-up
    start = time.perf_counter()
    features = net(portrait, token)
    return features, time.perf_counter() - start


def encoder_pass(config: AnimatorConfig) -> float:
    """Seconds of encoding the window's frames; the net is gone afterwards."""
    net = filled(lambda: MotionEncoder(**asdict(config.motion_encoder)))
    side = config.motion_encoder.image_size
    faces, rts = torch.randn(FRAMES, 3, side, side), torch.zeros(FRAMES, 3)
    net(faces, rts)  # warm-up
    return seconds(lambda: net(faces, rts))


@torch.no_grad()
def measure(config: AnimatorConfig, repeats: int) -> dict[str, float]:
    """Median seconds of the unit and of the parts of an animation."""
    torch.manual_seed(0)
    channels = config.unet.in_channels
    token = torch.randn(1, 1, config.unet.cross_attention_dim)
    features, reference_seconds = reference_pass(config, torch.randn(1, channels, HEIGHT, WIDTH), token)
    encoder_seconds = encoder_pass(config)

    plain = filled(lambda: UNet2DConditionModel(**asdict(config.reference_net)))
    unet = filled(lambda: MotionUNet(**asdict(config.unet)))
    tokens = torch.randn(FRAMES, config.motion_encoder.motion_tokens, config.unet.motion_token_dim)
    conditions = PortraitConditions(unet.project_reference(features), token, torch.zeros_like(token))
    denoise = GuidedDenoiser(unet, conditions, MotionTokens(tokens, tokens[:1]), guidance_scale=4.5)
    latents = torch.randn(FRAMES, channels, HEIGHT, WIDTH)
    batch, contexts = latents.repeat(2, 1, 1, 1), token.expand(2 * FRAMES, -1, -1)

    runs: dict[str, Callable[[], object]] = {
        UNIT: lambda: plain(batch, 500, contexts),
        DENOISER: lambda: denoise(latents, torch.tensor(500), range(FRAMES)),
    }
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            taken = seconds(run)
            if repeat:  # the first is the warm-up
                samples[name].append(taken)
    medians = {name: statistics.median(values) for name, values in samples.items()}
    return {REFERENCE: reference_seconds, ENCODER: encoder_seconds, **medians}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="another width, to try the script out")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs, after one that warms up")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    times = measure(animator_config("tiny" if arguments.tiny else "xnemo"), arguments.repeats)
    unit = times[UNIT]
    step = times[DENOISER] + times[ENCODER] / STEPS
    print(f"unit: plain UNet forward, 8 latents of {HEIGHT} x {WIDTH}: {unit:.2f} s\n")
    print("| | seconds | units |\n|---|---|---|")
    for name, value in times.items():
        if name != UNIT:
            print(f"| {name} | {value:.2f} | {value / unit:.2f} |")
    print(f"| **one step with guidance on 4 frames** | {step:.2f} | **{step / unit:.2f}** |")
    print(f"| the same, authors' code | | {OFFICIAL_UNITS} |\n")
    print(f"share of the authors' cost: {step / unit / OFFICIAL_UNITS:.2f}")


if __name__ == "__main__":
    main()
