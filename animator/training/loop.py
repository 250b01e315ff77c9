"""The loop that all recipes share: count the time, log, keep checkpoints, validate, stop, go on where it stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from animator.errors import XNeMoError
from animator.training.clock import Clock, clock_of
from animator.training.config import ScheduleConfig, StepScheduleConfig
from animator.training.pieces import load_pieces, remove_pieces, save_pieces
from animator.training.ranks import Ranks, Terms
from animator.training.state import TrainingState
from animator.training.tracking import open_log
from animator.training.utilisation import Utilisation

CHECKPOINT = "checkpoint.pt"
Batch = TypeVar("Batch")


class NotFiniteError(Exception):
    """What the message names, loss terms or the gradient, is infinite or no number."""


@dataclass(frozen=True)
class Run:
    """One training run and the folder that it belongs to.

    Attributes:
        state: what is trained; continued from the folder's checkpoint by `resume`.
        schedule: when to stop, to log, to validate.
        output: folder for checkpoint, log and pictures.
        ranks: the processes that train together; the main one writes.
        trackers: where figures go beside TensorBoard.
        utilisation: of the device, logged with the losses; None: nobody has counted.
    """

    state: TrainingState
    schedule: ScheduleConfig | StepScheduleConfig
    output: Path
    ranks: Ranks = field(default_factory=Ranks)
    trackers: Sequence[GeneralTracker] = ()
    utilisation: Utilisation | None = None

    def resume(self) -> None:
        """Continue from the last checkpoint in the output folder, if there is one."""
        if self.ranks.main:
            self.output.mkdir(parents=True, exist_ok=True)
        self.ranks.wait()
        if not (self.output / CHECKPOINT).exists():
            return
        pieces = self.state.load(self.output / CHECKPOINT, self._apart())
        if pieces is not None:
            load_pieces(self.output / pieces, self.state, self.ranks)

    def save(self) -> None:
        """Write the checkpoint; where the weights lie in pieces, these first, and the file that names them last."""
        pieces = None
        if self.ranks.sharded:
            pieces = save_pieces(self.output, self.state, self.ranks)
        if self.ranks.main:
            self.state.save(self.output / CHECKPOINT, pieces, self._apart())
            remove_pieces(self.output, keep=pieces)

    def _apart(self) -> set[str]:
        """What no process has all of: everything but the discriminator, which nobody divides."""
        if not self.ranks.sharded:
            return set()
        return {*self.state.modules, *self.state.optimizers, *self.state.averages} - {"discriminator"}

    def loop(
        self,
        batches: Iterator[Batch],
        step: Callable[[Batch, float], Terms],
        validate: Callable[[SummaryWriter], dict[str, float]],
    ) -> None:
        """Train until the schedule says that it is over; Ctrl-C keeps a checkpoint of the last whole step.

        Args:
            batches: an endless stream that starts at `state.step`.
            step: makes one update from a batch and the learning rate's factor, and returns the weighted loss terms;
                a name with a slash is a figure of another kind, logged as it is.
            validate: returns the figures of this moment.
        Raises:
            XNeMoError: a loss or a gradient is not finite; nothing that came of it is kept.
        """
        state = self.state
        clock = clock_of(self.schedule, state, self.ranks)
        with (
            open_log(self.output / "log", state.step, self.ranks, self.trackers) as writer,
            _progress(clock, self.ranks) as bar,
        ):
            try:
                with _interruption() as asked:
                    for batch in clock.limit(batches):
                        terms = step(batch, clock.rate_factor())
                        state.step += 1
                        if state.step % self.schedule.log_steps == 0:
                            _log(writer, bar, terms, self._speed(), state, clock)
                        if clock.due("validate"):
                            state.history.append(validate(writer))
                        if clock.due("checkpoint"):
                            self.save()
                        if self.ranks.any(asked.is_set()):
                            self._stop()
                if not (state.history and state.history[-1].get("step") == state.step):
                    state.history.append(validate(writer))
            except NotFiniteError as error:
                raise XNeMoError(
                    f"{self.output}: {error} is not finite at step {state.step}; the last checkpoint is kept, try a "
                    "smaller learning_rate"
                ) from error
        self.save()

    def _speed(self) -> dict[str, float]:
        return {} if self.utilisation is None else self.utilisation.figures(self.state.step, self.state.seconds)

    def _stop(self) -> None:
        """End between two steps, as Ctrl-C asked, with a checkpoint of all that was done."""
        self.save()
        if self.ranks.main:
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
    refuse_not_finite(terms)
    loss = torch.stack(list(terms.values())).sum()
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    for group in optimizer.param_groups:
        group["lr"] = rate
        norm = accelerator.clip_grad_norm_(group["params"], clip)
        refuse_bad_gradient(norm, terms)
    optimizer.step()


def refuse_not_finite(terms: Terms, ranks: Ranks | None = None) -> None:
    """Raise NotFiniteError if a term is infinite or no number, here or in another process."""
    bad = [name for name, term in terms.items() if not torch.isfinite(term)]
    if bad or (ranks is not None and ranks.any(bool(bad))):
        raise NotFiniteError(f"the loss {', '.join(bad) or 'in another process'}")


def refuse_bad_gradient(norm: Tensor, terms: Iterable[str]) -> None:
    """Raise NotFiniteError if a gradient's norm is infinite or no number.

    A finite loss may have an infinite slope (a root at zero), and clipping makes that a gradient of NaN.
    """
    if not torch.isfinite(norm):
        raise NotFiniteError(f"the gradient of {', '.join(terms)}")


def _progress(clock: Clock, ranks: Ranks) -> tqdm:
    return tqdm(total=clock.total, unit=clock.unit, initial=clock.progress(), desc="training", disable=not ranks.main)


def _log(
    writer: SummaryWriter, bar: tqdm, terms: Terms, speed: dict[str, float], state: TrainingState, clock: Clock
) -> None:
    values = {name: term.item() for name, term in terms.items()} | speed
    for name, value in values.items():
        writer.add_scalar(name if "/" in name else f"loss/{name}", value, state.step)
    values = {name: value for name, value in values.items() if "/" not in name}
    shown = {name: f"{value:.4f}" for name, value in values.items()}
    if "speed/mfu" in speed:
        shown["MFU"] = f"{100 * speed['speed/mfu']:.1f} %"
    bar.set_postfix({"step": str(state.step)} | shown, refresh=False)
    bar.n = clock.progress()
    bar.refresh()
