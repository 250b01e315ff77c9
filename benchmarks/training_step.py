"""Where the time of a training step goes: data, autoencoder, networks, backward pass, optimiser.

    OMP_NUM_THREADS=1 python benchmarks/training_step.py train=image animator=lite
    OMP_NUM_THREADS=1 python benchmarks/training_step.py train=image animator=lite cached_latents=true

Words of the form key=value are settings of `xnemo train animator`. Weights and pictures are random, so that neither
data nor weights are needed. Data are prepared beside the step before (in a thread), so their row only counts where it
is longer than all others together, or where one core does both. The share of a network in the forward pass is that of
its own forward; what is left is losses, noise and the motion encoder. Of each part the fastest of all repeats counts,
for others may be at work on the machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

import animator.training.config  # noqa: F401  (makes the types known to the loader)
from animator.builders import build_animator, resolve_device
from animator.config_loader import load_config
from animator.models.autoencoder import downsampling
from animator.training.config import TrainAnimatorConfig
from animator.training.crops import FaceCrops
from animator.training.image_token import ImageTokens
from animator.training.optimisers import build_optimizer
from animator.training.perceptual import PerceptualNetworks
from animator.training.plan import LABELS, plan_run
from animator.training.randomness import WHOLE
from animator.training.ranks import Ranks
from animator.training.stages import STAGES
from animator.training.stages.stage import Given
from animator.training.state import AveragedWeights

CLIPS, FRAMES = 4, 32  # of noise
FORWARD = "rest of the forward pass"


class Watch:
    """Adds up seconds by name; work on a GPU is waited for."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self.fastest: dict[str, float] = {}

    def finish(self) -> None:
        """Keep what was faster than ever before, and begin anew."""
        for name, took in self.seconds.items():
            self.fastest[name] = min(took, self.fastest.get(name, took))
        self.seconds.clear()

    def now(self) -> float:
        """Seconds, when all that was asked for is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def of(self, name: str, work: Callable[[], Any]) -> Any:
        """Do some work and count its time."""
        before = self.now()
        found = work()
        self.seconds[name] = self.seconds.get(name, 0.0) + self.now() - before
        return found

    def follow(self, name: str, module: nn.Module) -> None:
        """Count a module's forward passes for `name`, and no longer for the forward pass as a whole."""
        began: list[float] = []
        module.register_forward_pre_hook(lambda *_: began.append(self.now()))

        def done(*_: Any) -> None:
            took = self.now() - began.pop()
            self.seconds[name] = self.seconds.get(name, 0.0) + took
            self.seconds[FORWARD] = self.seconds.get(FORWARD, 0.0) - took

        module.register_forward_hook(done)


def noise_crops(config: TrainAnimatorConfig, side: int, latents: tuple[int, ...] | None) -> FaceCrops:
    """Clips of noise with labels of noise, half a face wide."""
    generator, count = np.random.default_rng(0), CLIPS * FRAMES
    rows = torch.arange(count)
    clips = [
        {"name": str(clip), "identity": str(clip), "split": "train", "frames": FRAMES, "first": clip * FRAMES}
        for clip in range(CLIPS)
    ]
    return FaceCrops(
        frames=generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8),
        clip=rows // FRAMES,
        frame=rows % FRAMES,
        centre=torch.full((count, 2), 0.5),
        size=torch.full((count,), 0.5),
        crop_side=torch.full((count,), 0.6),
        landmarks=torch.from_numpy(generator.random((count, 478, 2), dtype=np.float32)),
        blendshapes=torch.from_numpy(generator.random((count, 52), dtype=np.float32)),
        rotation=torch.eye(3).repeat(count, 1, 1),
        clips=clips,
        blendshape_names=[f"shape {number}" for number in range(52)],
        latents=None if latents is None else generator.standard_normal((count, 2, *latents)).astype(np.float16),
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=4, help="steps that are measured")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    parser.add_argument("--stored", type=int, help="side of the stored pictures; default: that of the training")
    parser.add_argument("settings", nargs="*", metavar="key=value")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = load_config("train_animator", options.settings)
    assert isinstance(config, TrainAnimatorConfig)
    device = resolve_device(options.device)
    models = build_animator(config.animator, config.seed)
    given = Given(
        ImageTokens(config.animator.unet.cross_attention_dim), PerceptualNetworks.load(config), torch.ones(LABELS)
    )
    stage = STAGES[config.stage](config, models, given)
    for module in (*stage.modules.values(), models.vae, models.reference_net, models.unet, models.motion_encoder):
        if module is not None:
            module.to(device)
    latents = None
    if config.cached_latents and models.vae is not None:
        cells = config.picture_size // downsampling(models.vae)
        latents = (int(models.vae.config.latent_channels), cells, cells)
    crops = noise_crops(config, options.stored or config.picture_size, latents)
    optimizer = build_optimizer(config, stage.modules.values())
    averages = [(AveragedWeights(module, config.ema_decay), module) for module in stage.modules.values()]
    watch = Watch(device)
    if models.vae is not None:
        watch.follow("autoencoder", models.vae.encoder)
    watch.follow("reference net", models.reference_net)
    watch.follow("denoiser", models.unet)
    watch.follow("GAN head", models.gan_head)
    # Past every warm-up and R1 step, where all terms are on.
    first = config.schedule.label_warm_up_steps + config.schedule.head_steps + 1
    for repeat in range(options.repeats):
        stream = stage.stream(crops, first + repeat, [WHOLE])
        (batch,) = watch.of("data and augmentation (beside)", lambda stream=stream: next(stream))
        stream.close()  # type: ignore[attr-defined]
        batch = batch.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.mixed_precision == "bf16"):
            losses = watch.of(FORWARD, lambda batch=batch: stage.losses(batch, first))
            loss = torch.stack(list(losses.terms.values())).sum()
        watch.of("backward pass", loss.backward)

        def descend() -> None:
            nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            for average, module in averages:
                average.update(module, 1)

        watch.of("optimiser and averages", descend)
        watch.finish()
    seconds = watch.fastest
    step = sum(took for name, took in seconds.items() if not name.startswith("data"))
    samples = config.clips * config.frames if config.stage.endswith("temporal") else 2 * config.pairs
    print("| part | ms | of the step |\n|---|---|---|")
    for name, took in seconds.items():
        print(f"| {name} | {1000 * took:.0f} | {100 * took / step:.0f} % |")
    plan = plan_run(config, Ranks(), device)
    print(
        f"| **step**, {samples} samples: {samples / step:.1f} a second, {plan.operations / step / 1e9:.0f} "
        f"giga-operations a second | {1000 * step:.0f} | |"
    )


if __name__ == "__main__":
    main()
