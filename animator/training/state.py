"""Everything that a run must remember to go on exactly where it stopped, in one file of tensors and plain values."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from animator.errors import XNeMoError
from animator.files import atomic_path

CHECKPOINT_SCHEMA = 2  # 1 had another label head and another flow in the GAN head


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Keep a module in evaluation mode for the length of a with block."""
    before = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(before)


class AveragedWeights:
    """Exponential moving average of a module's parameters and buffers (EMA); frozen parameters have none.

    Args:
        module: the module that is trained.
        decay: share of the old average kept at each step; early steps use less, so that the start is forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        frozen = {key for key, parameter in module.named_parameters() if not parameter.requires_grad}
        state = module.state_dict()
        self.values = {key: value.detach().clone() for key, value in state.items() if key not in frozen}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the module's state after step number `step`, counted from 0."""
        keep = min(self.decay, (1 + step) / (10 + step))
        state = module.state_dict()
        for key, average in self.values.items():
            if average.is_floating_point():
                average.lerp_(state[key], 1 - keep)
            else:
                average.copy_(state[key])

    def store_in(self, module: nn.Module) -> None:
        """Give the average to the module, for good."""
        module.load_state_dict(self.values, strict=False)

    def load(self, values: dict[str, Tensor]) -> None:
        """Take over an average that was kept, on whatever device it lies."""
        for key, value in self.values.items():
            value.copy_(values[key])

    @contextmanager
    def applied_to(self, module: nn.Module) -> Iterator[None]:
        """Let the module work with its average, in evaluation mode, for the length of a with block.

        The two change places tensor by tensor and back again, bit for bit, so that no further copy is held.
        """
        with evaluating(module):
            self._exchange(module)
            try:
                yield
            finally:
                self._exchange(module)

    @torch.no_grad()
    def _exchange(self, module: nn.Module) -> None:
        state = module.state_dict()
        for key, average in self.values.items():
            before = state[key].clone()
            state[key].copy_(average)
            average.copy_(before)


@dataclass
class TrainingState:
    """Modules, optimisers and counters of one run.

    Attributes:
        modules: what is trained, by name.
        optimizers: by name.
        averages: EMA of the modules that are kept, by name.
        generators: the run's sources of randomness, by name.
        step: steps done.
        seconds: training time so far, over all runs on this output.
        history: figures of each validation, in order.
        sums: what a recipe adds up between two validations, by name.
    """

    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    averages: dict[str, AveragedWeights]
    generators: dict[str, torch.Generator]
    step: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)

    def save(self, path: Path, pieces: str | None = None, apart: Collection[str] = ()) -> None:
        """Write the checkpoint; an interrupted write leaves the previous one untouched.

        Args:
            path: of the file.
            pieces: name of a folder beside it that holds what is not in it, if there is one.
            apart: names of the modules, optimisers and averages that are there.
        Raises:
            XNeMoError: it cannot be written.
        """

        def whole(kept: dict[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in kept.items() if name not in apart}

        content: dict[str, Any] = {
            "schema": CHECKPOINT_SCHEMA,
            "pieces": pieces,
            "modules": {name: module.state_dict() for name, module in whole(self.modules).items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in whole(self.optimizers).items()},
            "averages": {name: average.values for name, average in whole(self.averages).items()},
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "sums": self.sums,
        }
        with atomic_path(path) as temporary:
            try:
                torch.save(content, temporary)
            except RuntimeError as error:
                # What torch makes of a full disk; its own words ("unexpected pos 1024 vs 918") help nobody.
                raise XNeMoError(f"{path}: cannot be written whole; is the disk full?") from error

    def load(self, path: Path, apart: Collection[str] = ()) -> str | None:
        """Continue from a checkpoint.

        Args:
            path: of the file.
            apart: as for `save`; these are left as they are.
        Returns:
            Name of the folder that holds the rest; None if there is no rest.
        Raises:
            XNeMoError: the file is not a checkpoint of these modules.
        """
        try:
            # Everything comes to the CPU first and goes from there to where the weights are.
            content = torch.load(path, map_location="cpu", weights_only=True)
            if content["schema"] != CHECKPOINT_SCHEMA:
                raise ValueError(f"it is of schema {content['schema']}, this version writes {CHECKPOINT_SCHEMA}")
            if bool(content.get("pieces")) != bool(apart):
                raise ValueError("it was written with another way of sharing the weights among processes")
            for name, module in self.modules.items():
                if name not in apart:
                    module.load_state_dict(content["modules"][name])
            for name, optimizer in self.optimizers.items():
                if name not in apart:
                    optimizer.load_state_dict(content["optimizers"][name])
            for name, average in self.averages.items():
                if name not in apart:
                    average.load(content["averages"][name])
            for name, generator in self.generators.items():
                generator.set_state(content["generators"][name])
        except (OSError, RuntimeError, KeyError, ValueError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise XNeMoError(
                f"{path}: cannot continue from this checkpoint ({reason}); use the settings it was made with, "
                "or another output="
            ) from error
        self.step = content["step"]
        self.seconds = content["seconds"]
        self.history = content["history"]
        self.sums = content.get("sums", {})
        return content.get("pieces")
