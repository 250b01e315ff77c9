"""The loop that all recipes share: count the time, log, keep checkpoints, validate, stop, go on where it stopped."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from animator.errors import XNeMoError
from animator.training.config import ScheduleConfig
from animator.training.state import TrainingState

CHECKPOINT = "checkpoint.pt"
Batch = TypeVar("Batch")
Terms = dict[str, Tensor]


class NotFiniteError(Exception):
    """What the message names, loss terms or the gradient, is infinite or no number."""


@dataclass(frozen=True)
class Run:
    """One training run and the folder that it belongs to.

    Attributes:
        state: what is trained; continued from the folder's checkpoint by `resume`.
        schedule: when to stop, to log, to validate.
        output: folder for checkpoint, log and pictures.
    """

    state: TrainingState
    schedule: ScheduleConfig
    output: Path

    def resume(self) -> None:
        """Continue from the last checkpoint in the output folder, if there is one."""
        self.output.mkdir(parents=True, exist_ok=True)
        if (self.output / CHECKPOINT).exists():
            self.state.load(self.output / CHECKPOINT)

    def loop(
        self,
        batches: Iterator[Batch],
        step: Callable[[Batch, float], Terms],
        validate: Callable[[SummaryWriter], dict[str, float]],
    ) -> None:
        """Train until time or steps are used up; Ctrl-C keeps a checkpoint of the last whole step.

        Args:
            batches: an endless stream that starts at `state.step`.
            step: makes one update from a batch and the learning rate's factor, and returns the weighted loss terms.
            validate: returns the figures of this moment.
        Raises:
            XNeMoError: a loss or a gradient is not finite; nothing that came of it is kept.
        """
        state, schedule = self.state, self.schedule
        clock = _Clock(schedule, state)
        with SummaryWriter(self.output / "log", purge_step=state.step) as writer, _progress(schedule, state) as bar:
            try:
                with _interruption() as asked:
                    for batch in clock.limit(batches):
                        terms = step(batch, clock.rate_factor())
                        state.step += 1
                        if state.step % schedule.log_steps == 0:
                            _log(writer, bar, terms, state)
                        if clock.due("validate"):
                            state.history.append(validate(writer))
                        if clock.due("checkpoint"):
                            state.save(self.output / CHECKPOINT)
                        if asked.is_set():
                            self._stop()
                state.history.append(validate(writer))
            except NotFiniteError as error:
                raise XNeMoError(
                    f"{self.output}: {error} is not finite at step {state.step}; the last checkpoint is kept, try a "
                    "smaller learning_rate"
                ) from error
        state.save(self.output / CHECKPOINT)

    def _stop(self) -> None:
        """End between two steps, as Ctrl-C asked, with a checkpoint of all that was done."""
        self.state.save(self.output / CHECKPOINT)
        tqdm.write(f"stopped at step {self.state.step}; the same command goes on from {self.output / CHECKPOINT}")
        raise KeyboardInterrupt


@contextmanager
def _interruption() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event, so that no step is cut in two; a second one ends at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # only the main thread may set signal handlers
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(*_: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def update(optimizer: torch.optim.Optimizer, terms: Terms, rate: float, clip: float, accelerator: Accelerator) -> None:
    """One optimiser step on the sum of the terms at learning rate `rate`, the gradient's norm clipped to `clip`.

    Raises:
        NotFiniteError: a term or the gradient is not finite; no parameter was changed. (Going on is worse than useless:
            the gradient of `grid_sample` at positions that are no numbers ends the process.)
    """
    bad = [name for name, term in terms.items() if not torch.isfinite(term)]
    if bad:
        raise NotFiniteError(f"the loss {', '.join(bad)}")
    loss = torch.stack(list(terms.values())).sum()
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    for group in optimizer.param_groups:
        group["lr"] = rate
        norm = accelerator.clip_grad_norm_(group["params"], clip)
        # A finite loss may have an infinite slope (a root at zero), and clipping makes that a gradient of NaN.
        if not torch.isfinite(norm):
            raise NotFiniteError(f"the gradient of {', '.join(terms)}")
    optimizer.step()


def _progress(schedule: ScheduleConfig, state: TrainingState) -> tqdm:
    return tqdm(total=schedule.max_minutes, unit="min", initial=round(state.seconds / 60, 2), desc="training")


def _log(writer: SummaryWriter, bar: tqdm, terms: Terms, state: TrainingState) -> None:
    values = {name: term.item() for name, term in terms.items()}
    for name, value in values.items():
        writer.add_scalar(f"loss/{name}", value, state.step)
    bar.set_postfix({"step": state.step} | {name: f"{value:.4f}" for name, value in values.items()}, refresh=False)
    bar.n = round(state.seconds / 60, 2)
    bar.refresh()


class _Clock:
    """Counts training time over all runs of an output folder and says what is due."""

    def __init__(self, schedule: ScheduleConfig, state: TrainingState) -> None:
        self.schedule = schedule
        self.state = state
        self.last = {"checkpoint": state.seconds, "validate": state.seconds}

    def limit(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Hand out batches, counting the time, until time or steps are used up."""
        now = time.monotonic()
        while not self._over():
            yield next(batches)
            before, now = now, time.monotonic()
            self.state.seconds += now - before

    def _over(self) -> bool:
        steps = self.schedule.max_steps
        return self.state.seconds >= self.schedule.max_minutes * 60 or (steps is not None and self.state.step >= steps)

    def due(self, event: str) -> bool:
        """Whether the interval of `event` has passed; if so it starts anew."""
        interval = {"checkpoint": self.schedule.checkpoint_minutes, "validate": self.schedule.validate_minutes}[event]
        if self.state.seconds - self.last[event] < interval * 60:
            return False
        self.last[event] = self.state.seconds
        return True

    def rate_factor(self) -> float:
        """Learning rate relative to its full value: rising, constant, then falling to a tenth in the last minutes."""
        risen = min(1.0, (self.state.step + 1) / max(1, self.schedule.rise_steps))
        if self.schedule.decay_minutes <= 0:
            return risen
        left = self.schedule.max_minutes - self.state.seconds / 60
        return risen * (0.1 + 0.9 * min(1.0, max(0.0, left / self.schedule.decay_minutes)))
