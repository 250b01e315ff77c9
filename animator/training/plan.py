"""What a run will take, before it begins: parameters, memory and time, counted on networks without content.

One step of the stage is run on torch's device "meta", where tensors have sizes and nothing else. What the step keeps
for the backward pass, and how many operations it makes, is counted on the way, so that any architecture and any
setting is told as it is; only how fast the machine is has to be measured.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPVisionModelWithProjection

from animator.builders import build_animator
from animator.errors import XNeMoError
from animator.training.config import TrainAnimatorConfig
from animator.training.image_token import ImageTokens
from animator.training.perceptual import PerceptualNetworks
from animator.training.ranks import Ranks
from animator.training.stages import STAGES, Stage
from animator.training.stages.stage import Given, networks_of
from animator.training.weights import NETWORKS

GIBIBYTE = 2**30
LABELS = 58
# Of what the matrix products of a measurement reach, so much is left in a whole step; seen on a CPU.
EFFICIENCY = 0.5
# What a batch in bfloat16 keeps of what it keeps in float32: normalisations and losses stay in float32.
HALVED = 0.6


@dataclass(frozen=True)
class Plan:
    """What one process will need.

    Attributes:
        trained: parameters that are trained, by module.
        parameters: all parameters of each module, trained or not; networks that only help come last.
        weights: bytes of all weights.
        optimizers: bytes of gradients, moments and averages.
        activations: bytes that a part of a step keeps for its backward pass.
        operations: multiplications and additions of a step of one process.
        seconds: of a step, on this machine.
        available: bytes that are free on the device.
    """

    trained: dict[str, int]
    parameters: dict[str, int]
    weights: float
    optimizers: float
    activations: float
    operations: float
    seconds: float
    available: float

    @property
    def total(self) -> float:
        """Bytes at the peak of a step."""
        return self.weights + self.optimizers + self.activations

    def table(self) -> str:
        """For people: parameters of each module, then memory and time."""
        lines = [f"{'module':<16}{'parameters':>16}{'trained':>16}"]
        for name, count in self.parameters.items():
            lines.append(f"{name:<16}{count:>16,}{self.trained.get(name, 0):>16,}")
        lines.append(f"{'together':<16}{sum(self.parameters.values()):>16,}{sum(self.trained.values()):>16,}")
        lines.append(
            f"memory, counted: {_gib(self.total)} GiB (weights {_gib(self.weights)}, gradients, moments and averages "
            f"{_gib(self.optimizers)}, kept for the backward pass {_gib(self.activations)}); free: "
            f"{_gib(self.available)} GiB"
        )
        lines.append(
            f"a step, estimated: {self.operations / 1e12:.3g} tera-operations, "
            f"{_duration(self.seconds)} on this machine"
        )
        return "\n".join(lines)


def plan_run(
    config: TrainAnimatorConfig,
    ranks: Ranks,
    device: torch.device,
    image_encoder: CLIPVisionModelWithProjection | None = None,
) -> Plan:
    """Count what a run takes, without building it.

    Args:
        config: of the run.
        ranks: among which the batch, and with sharding the weights, are divided.
        device: on which it will run.
        image_encoder: CLIP's vision tower, where there is one; only its sizes are read.
    """
    with torch.device("meta"):
        models = build_animator(config.animator)
        encoder = None if image_encoder is None else CLIPVisionModelWithProjection(image_encoder.config)
    networks = copy.deepcopy(PerceptualNetworks.load(config)).to("meta")
    given = Given(ImageTokens(config.animator.unet.cross_attention_dim, encoder), networks, torch.ones(LABELS))
    stage = STAGES[config.stage](config, models, given)
    for module in stage.modules.values():
        module.to("meta")
    if config.gradient_checkpointing:
        models.unet.enable_gradient_checkpointing()
        models.reference_net.enable_gradient_checkpointing()
    modules = dict(stage.modules)
    if stage.adversary is not None:
        modules["discriminator"] = stage.adversary
    trained = {name: _size(module, trained=True) for name, module in modules.items()}
    kept, operations = _count_step(config, stage, ranks)

    helping = {
        name: part for name, part in networks_of(models).items() if name not in modules and name != "discriminator"
    }
    helping |= {name: part for name, part in vars(networks).items() if part is not None}
    if encoder is not None:
        helping["image_encoder"] = encoder
    divided = sum(_size(module) for module in stage.modules.values())
    parameters = {name: _size(module) for name, module in (modules | helping).items()}

    # A gradient and two moments for each trained parameter, and the average of what is kept.
    moments = 2 if config.optimizer == "adamw8bit" else 8
    averages = 4 * sum(count for name, count in trained.items() if name in NETWORKS)
    shared = ranks.count if ranks.sharded else 1
    halved = HALVED if config.mixed_precision == "bf16" else 1.0
    return Plan(
        trained=trained,
        parameters=parameters,
        weights=4 * (sum(parameters.values()) - divided + divided / shared),
        optimizers=(sum(trained.values()) * (4 + moments) + averages) / shared,
        activations=kept * halved,
        operations=operations,
        seconds=operations / (_speed(device, config.mixed_precision) * EFFICIENCY),
        available=_available(device),
    )


def check_plan(plan: Plan, config: TrainAnimatorConfig) -> None:
    """Refuse a run that does not fit.

    Raises:
        XNeMoError: more memory is needed than is free; the message says what would take less.
    """
    if plan.total <= plan.available:
        return
    ways = [f"accumulate={2 * config.accumulate}"]
    if not config.gradient_checkpointing:
        ways.insert(0, "gradient_checkpointing=true")
    if config.optimizer == "adamw":
        ways.append("optimizer=adamw8bit")
    if config.mixed_precision == "no":
        ways.append("mixed_precision=bf16")
    raise XNeMoError(
        f"a step needs about {_gib(plan.total)} GiB, and {_gib(plan.available)} GiB are free; try {', '.join(ways)}, "
        "fewer pairs, several processes that share the weights (docs/training.md), or plan=false"
    )


def _count_step(config: TrainAnimatorConfig, stage: Stage, ranks: Ranks) -> tuple[float, float]:
    """Bytes kept by one part of a step, and operations of the whole step, of one process.

    Operations are those of the forward pass, three times: the way back is twice as long. Where layers are computed
    twice it is four times.
    """
    batch = stage.example(ranks.shares(config.accumulate)[0])
    # The phase that does most: behind the warm-up, and with the diffusion model where that comes second.
    step = config.schedule.label_warm_up_steps if config.end_to_end else config.schedule.head_steps
    with FlopCounterMode(display=False) as counter, _kept_bytes(stage) as kept, _FusedAttention():
        stage.losses(batch, step)
    operations = counter.get_total_flops() * (4 if config.gradient_checkpointing else 3)
    return float(sum(kept.values())), float(operations * config.accumulate)


class _FusedAttention(TorchFunctionMode):
    """Let attention be the kernel that GPUs have; without content torch would take one that keeps every score."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is functional.scaled_dot_product_attention:
            query, key, value = args[:3]
            return torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, None, True)[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def _kept_bytes(stage: Stage) -> Iterator[dict[int, int]]:
    """Count the storages that are kept for a backward pass, but for those of weights."""
    parts = [*networks_of(stage.models).values(), *stage.modules.values()]
    parts += [part for part in vars(stage.given.networks).values() if part is not None]
    weights = {x.untyped_storage()._cdata for part in parts for x in (*part.parameters(), *part.buffers())}
    kept: dict[int, int] = {}
    # A storage that is freed may have its place taken by the next, so all are held; without content they are nothing.
    held: list[torch.UntypedStorage] = []

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in weights and storage._cdata not in kept:
            kept[storage._cdata] = storage.nbytes()
            held.append(storage)
        return x

    with saved_tensors_hooks(keep, lambda x: x):
        yield kept


def _size(module: nn.Module, trained: bool = False) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)


def _speed(device: torch.device, precision: str) -> float:
    """Operations a second of matrix products on this machine, measured in a moment."""
    side = 4096 if device.type == "cuda" else 512
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a = torch.ones(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(4):
        before = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - before)
    return 2 * side**3 / best


def _available(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available)


def _gib(size: float) -> str:
    return f"{size / GIBIBYTE:.3g}"


def _duration(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds / 60:.3g} min"
