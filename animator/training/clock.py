"""When a run logs, validates, keeps a checkpoint, and ends: by the clock or by the count of its steps."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Protocol, TypeVar

from animator.errors import XNeMoError
from animator.training.config import ScheduleConfig, StepScheduleConfig
from animator.training.ranks import Ranks
from animator.training.state import TrainingState

Batch = TypeVar("Batch")

# The figure of a validation that patience and best weights go by; small is good.
ERROR = "error"


class Clock(Protocol):
    """What the loop asks.

    Attributes:
        unit: what the progress of a run is counted in.
        total: how much of it there is to do, at most.
    """

    unit: str
    total: float

    def limit(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Hand out batches, counting the time, until the run is over."""
        ...

    def due(self, event: str) -> bool:
        """Whether it is time for "checkpoint" or "validate"."""
        ...

    def rate_factor(self) -> float:
        """Learning rate of the next step relative to its full value."""
        ...

    def progress(self) -> float:
        """How much is done, in units."""
        ...


def clock_of(schedule: ScheduleConfig | StepScheduleConfig, state: TrainingState, ranks: Ranks | None = None) -> Clock:
    """The clock that a schedule asks for; the main process's time is everybody's.

    Raises:
        XNeMoError: a schedule without an end, or one whose learning rate falls towards an end that is not there.
    """
    if isinstance(schedule, StepScheduleConfig):
        return _StepClock(schedule, state, ranks or Ranks())
    if schedule.max_minutes is None and schedule.max_steps is None:
        raise XNeMoError("schedule.max_minutes and schedule.max_steps are both null; a run needs an end")
    if schedule.decay_steps is not None and schedule.max_steps is None:
        raise XNeMoError("schedule.decay_steps counts back from schedule.max_steps, which is null; set it")
    return _MinuteClock(schedule, state, ranks or Ranks())


def best_validation(state: TrainingState) -> dict[str, float] | None:
    """The validation with the smallest error so far; None before the first."""
    judged = [figures for figures in state.history if ERROR in figures]
    return min(judged, key=lambda figures: figures[ERROR], default=None)


class _MinuteClock:
    """Counts training time over all runs of an output folder, and steps where the schedule limits them."""

    def __init__(self, schedule: ScheduleConfig, state: TrainingState, ranks: Ranks) -> None:
        self.schedule = schedule
        self.state = state
        self.ranks = ranks
        if schedule.max_minutes is None:
            self.unit, self.total = "step", float(schedule.max_steps or 0)
        else:
            self.unit, self.total = "min", schedule.max_minutes
        self.last = {"checkpoint": state.seconds, "validate": state.seconds}

    def limit(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        return _timed(batches, self.state, self._over, self.ranks)

    def _over(self) -> bool:
        minutes, steps = self.schedule.max_minutes, self.schedule.max_steps
        late = minutes is not None and self.state.seconds >= minutes * 60
        return late or (steps is not None and self.state.step >= steps)

    def due(self, event: str) -> bool:
        """Whether the interval of `event` has passed; if so it starts anew."""
        interval = {"checkpoint": self.schedule.checkpoint_minutes, "validate": self.schedule.validate_minutes}[event]
        if self.state.seconds - self.last[event] < interval * 60:
            return False
        self.last[event] = self.state.seconds
        return True

    def rate_factor(self) -> float:
        """Rising, constant, then falling to a tenth in the last steps or minutes."""
        schedule = self.schedule
        risen = min(1.0, (self.state.step + 1) / max(1, schedule.rise_steps))
        if schedule.decay_steps is not None:
            left, whole = float((schedule.max_steps or 0) - self.state.step), float(schedule.decay_steps)
        elif schedule.max_minutes is not None:
            left, whole = schedule.max_minutes - self.state.seconds / 60, schedule.decay_minutes
        else:
            return risen
        return risen if whole <= 0 else risen * (0.1 + 0.9 * min(1.0, max(0.0, left / whole)))

    def progress(self) -> float:
        return self.state.step if self.unit == "step" else round(self.state.seconds / 60, 2)


class _StepClock:
    """Counts steps, so that a run takes the same course on any machine, however often it was stopped."""

    unit = "step"

    def __init__(self, schedule: StepScheduleConfig, state: TrainingState, ranks: Ranks) -> None:
        self.schedule = schedule
        self.state = state
        self.ranks = ranks
        self.total = float(schedule.steps)
        self.last_checkpoint = state.seconds

    def limit(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        return _timed(batches, self.state, self._over, self.ranks)

    def _over(self) -> bool:
        return self.state.step >= self.schedule.steps or self._out_of_patience()

    def _out_of_patience(self) -> bool:
        best = best_validation(self.state)
        if best is None or self.schedule.patience == 0:
            return False
        latest = self.state.history[-1]["step"]
        return latest - best["step"] >= self.schedule.patience * self.schedule.validate_steps

    def due(self, event: str) -> bool:
        """Validations by the step, checkpoints by the clock: when one is written changes nothing of the run."""
        if event == "validate":
            return self.state.step % self.schedule.validate_steps == 0
        if self.state.seconds - self.last_checkpoint < self.schedule.checkpoint_minutes * 60:
            return False
        self.last_checkpoint = self.state.seconds
        return True

    def rate_factor(self) -> float:
        """Rising in a straight line, then falling along half a cosine to `final_rate`."""
        step, schedule = self.state.step, self.schedule
        risen = min(1.0, (step + 1) / max(1, schedule.warm_up_steps))
        done = (step - schedule.warm_up_steps) / max(1, schedule.steps - schedule.warm_up_steps)
        fallen = (1 + math.cos(math.pi * min(1.0, max(0.0, done)))) / 2
        return risen * (schedule.final_rate + (1 - schedule.final_rate) * fallen)

    def progress(self) -> float:
        return self.state.step


class _Over(Protocol):
    def __call__(self) -> bool: ...


def _timed(batches: Iterator[Batch], state: TrainingState, over: _Over, ranks: Ranks) -> Iterator[Batch]:
    now = time.monotonic()
    while not over():
        yield next(batches)
        before, now = now, time.monotonic()
        state.seconds = ranks.agree(state.seconds + now - before)
