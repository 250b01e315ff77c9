"""What control costs: one denoising step of both animators at the same size, timed in turns, and their arithmetic.

    python benchmarks/control_cost.py                          # lite against xportrait-lite, 8 frames
    python benchmarks/control_cost.py --sizes tiny xportrait-tiny --frames 4 --repeats 1
    python benchmarks/control_cost.py --sizes xnemo xportrait --count-only

Random weights. A step is both branches of guidance for one window; the reference net and the hints' networks are in it
where they run at every step. Arithmetic is counted on tensors without contents (2 FLOP a multiplication and addition).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from animator.builders import animator_config, build_animator
from animator.controls.control import Condition, PreparedControl, Step
from animator.controls.control_nets import ControlNets
from animator.controls.motion_attention import MotionTokens
from animator.guidance import GuidedDenoiser, PortraitConditions

TIMESTEP = 500


class Told(PreparedControl):
    """ControlNets with pictures that need not be read from a video."""

    def __init__(self, nets: ControlNets, face: Tensor, local: Tensor) -> None:
        self.nets, self.face, self.local = nets, face, local

    def condition(self, step: Step) -> Condition:
        return Condition(residuals=self.nets(step.latents, step.timestep, self.face, self.local))


def step_of(size: str, frames: int) -> Callable[[], Tensor]:
    """One guided step of an architecture with random weights, on torch's default device."""
    config = animator_config(size)
    models = build_animator(config)
    unet, reference_net, control = models.unet, models.reference_net, models.control
    side, pixels = config.unet.sample_size, config.image_size
    clean = torch.randn(1, config.unet.in_channels, side, side)
    latents = torch.randn(frames, config.unet.in_channels, side, side)
    if isinstance(control, ControlNets):
        prompt = control.prompt

        def reference(timestep: Tensor) -> object:
            return unet.project_reference(reference_net(clean, prompt, timestep))

        portrait = PortraitConditions(reference, prompt, prompt)  # type: ignore[arg-type]
        told: PreparedControl = Told(
            control, torch.rand(frames, 3, pixels, pixels), torch.rand(frames, 3, pixels, pixels)
        )
    else:
        token = torch.zeros(1, 1, config.unet.cross_attention_dim)
        portrait = PortraitConditions(unet.project_reference(reference_net(clean, token)), token, token)
        count, width = config.motion_encoder.motion_tokens, config.unet.motion_token_dim
        told = MotionTokens(torch.randn(frames, count, width), torch.randn(1, count, width))
    denoise, timestep = GuidedDenoiser(unet, portrait, told, 4.5), torch.tensor(TIMESTEP)
    return lambda: denoise(latents, timestep, range(frames))


def gigaflop(size: str, frames: int) -> float:
    """Arithmetic of such a step."""
    with torch.device("meta"):
        step = step_of(size, frames)
        with FlopCounterMode(display=False) as counted:
            step()
    return counted.get_total_flops() / 1e9


@torch.no_grad()
def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs=2, default=["lite", "xportrait-lite"], help="what is compared with what")
    parser.add_argument("--frames", type=int, default=8, help="frames of the window")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each, after one that warms up")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--device", default="cpu", help="where it is timed")
    parser.add_argument("--count-only", action="store_true", help="count the arithmetic and time nothing")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    counted = {size: gigaflop(size, given.frames) / given.frames for size in given.sizes}
    times: dict[str, list[float]] = {size: [] for size in given.sizes}
    if not given.count_only:
        with torch.device(given.device):
            steps = {size: step_of(size, given.frames) for size in given.sizes}
        for repeat in range(given.repeats + 1):
            for size, step in steps.items():
                begun = time.perf_counter()
                step().sum().item()  # waits for the device
                if repeat:
                    times[size].append((time.perf_counter() - begun) / given.frames)
    first = given.sizes[0]
    print("| architecture | GFLOP a frame and step | ratio | ms a frame and step | ratio |\n|---|---|---|---|---|")
    for size in given.sizes:
        row = f"| {size} | {counted[size]:.2f} | {counted[size] / counted[first]:.2f} |"
        if times[size]:
            # Of each round, so that a machine that is busy for a while is so for both.
            ratio = statistics.median(a / b for a, b in zip(times[size], times[first], strict=True))
            row += f" {1000 * statistics.median(times[size]):.1f} | {ratio:.2f} |"
        else:
            row += " - | - |"
        print(row)


if __name__ == "__main__":
    main()
