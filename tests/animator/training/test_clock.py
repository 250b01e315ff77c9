"""A schedule counted in steps: its learning rate, its validations, and when it ends."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from animator.errors import XNeMoError
from animator.training.clock import best_validation, clock_of
from animator.training.config import ScheduleConfig, StepScheduleConfig
from animator.training.loop import Run
from animator.training.state import TrainingState


def run(folder: Path, schedule: StepScheduleConfig, errors: list[float]) -> TrainingState:
    """Train nothing; validations give the `errors` in turn, by step, so that a resumed run sees the same ones."""
    state = TrainingState({"layer": torch.nn.Linear(1, 1)}, {}, {}, {})
    training = Run(state, schedule, folder)
    training.resume()

    def step(batch: int, rate: float) -> dict[str, Tensor]:
        assert batch == state.step
        return {"loss": torch.zeros(())}

    def validate(writer: SummaryWriter) -> dict[str, float]:
        return {"step": float(state.step), "error": errors[state.step // schedule.validate_steps - 1]}

    training.loop(itertools.count(state.step), step, validate)
    return state


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    state = TrainingState({}, {}, {}, {})
    clock = clock_of(StepScheduleConfig(steps=110, warm_up_steps=10, final_rate=0.1), state)
    rates = []
    for state.step in range(111):
        rates.append(clock.rate_factor())
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.55)
    assert rates[110] == pytest.approx(0.1)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))


def test_a_rate_that_falls_by_steps_knows_nothing_of_the_clock() -> None:
    state = TrainingState({}, {}, {}, {})
    clock = clock_of(ScheduleConfig(max_minutes=None, max_steps=100, rise_steps=4, decay_steps=10), state)
    rates = []
    for state.step in range(100):
        state.seconds += 7.0 * state.step
        rates.append(clock.rate_factor())
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0]) and rates[4:90] == [1.0] * 86
    assert rates[90:] == pytest.approx([0.1 + 0.09 * left for left in range(10, 0, -1)])
    assert clock.unit == "step" and clock.total == 100


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (ScheduleConfig(max_minutes=None), "a run needs an end"),
        (ScheduleConfig(decay_steps=5), "decay_steps counts back from schedule.max_steps"),
    ],
)
def test_a_schedule_without_an_end_is_refused(schedule: ScheduleConfig, message: str) -> None:
    with pytest.raises(XNeMoError, match=message):
        clock_of(schedule, TrainingState({}, {}, {}, {}))


def test_a_run_stops_when_the_error_has_not_fallen_for_so_many_validations(tmp_path: Path) -> None:
    schedule = StepScheduleConfig(steps=100, validate_steps=2, patience=3)
    state = run(tmp_path, schedule, [5, 3, 4, 3.5, 3.2, 1, 1])
    assert state.step == 10
    assert [figures["error"] for figures in state.history] == [5, 3, 4, 3.5, 3.2]
    best = best_validation(state)
    assert best is not None and best["step"] == 4


def test_patience_is_remembered_over_a_stop(tmp_path: Path) -> None:
    errors = [5.0, 3.0, 4.0, 3.5, 3.2, 1.0, 1.0]
    run(tmp_path, StepScheduleConfig(steps=7, validate_steps=2, patience=3), errors)
    state = run(tmp_path, StepScheduleConfig(steps=100, validate_steps=2, patience=3), errors)
    assert state.step == 10


def test_a_run_that_is_over_validates_no_second_time(tmp_path: Path) -> None:
    schedule = StepScheduleConfig(steps=4, validate_steps=2, patience=0)
    first = run(tmp_path, schedule, [5, 3, 0])
    assert [figures["step"] for figures in first.history] == [2, 4]
    assert run(tmp_path, schedule, [5, 3, 0]).history == first.history
