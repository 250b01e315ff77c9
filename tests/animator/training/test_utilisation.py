"""Utilisation of a device: counted operations over time and peak."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from animator.training import validation
from animator.training.recipe import train_animator
from animator.training.utilisation import Utilisation, device_peak, peak_of
from tests.animator.training.runs import logged, settings


def test_a_share_of_the_peak_is_operations_over_time() -> None:
    meter = Utilisation(operations=2e12, peak=100e12)
    assert meter.figures(10, 5.0) == {}
    # 20 steps in 4 seconds: 5 a second, 10 of 100 tera-operations
    assert meter.figures(30, 9.0) == {"speed/steps": 5, "speed/teraflops": 10, "speed/mfu": pytest.approx(0.1)}
    assert "speed/mfu" not in (unknown := Utilisation(1.0, None)).figures(1, 1.0) | unknown.figures(2, 2.0)


def test_peaks_are_known_by_name_or_told() -> None:
    assert peak_of("NVIDIA H200", "bf16") == peak_of("NVIDIA H100 80GB HBM3", "bf16") == 989e12
    assert peak_of("NVIDIA H100 PCIe", "no") == 51e12
    assert peak_of("Some other GPU", "bf16") is None
    cpu = torch.device("cpu")
    assert device_peak(cpu, "no", None) is None and device_peak(cpu, "no", 0.5) == 5e11


def test_a_run_logs_it(crops_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PAIRS": 2, "SHOWN": 1, "DDIM_STEPS": 1}.items():
        monkeypatch.setattr(validation, name, value)
    words = ["plan=true", "train_diffusion=false", "schedule.log_steps=1", "device_teraflops=1"]
    train_animator(settings("motion", crops_folder, tmp_path, 3, *words))
    found = logged(tmp_path)
    assert set(found["speed/mfu"]) == {2, 3}
    assert all(0 < found["speed/mfu"][step] == pytest.approx(found["speed/teraflops"][step]) for step in (2, 3))
