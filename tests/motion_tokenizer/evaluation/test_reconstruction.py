"""The figures of reconstruction, on cases whose answers are known."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch

from motion_tokenizer.evaluation.reconstruction import errors, reconstruction_report
from motion_tokenizer.features import FEATURES


def clips(generator: torch.Generator) -> list[torch.Tensor]:
    return [torch.randn(frames, 6, generator=generator) + frames for frames in (9, 20)]


def test_what_is_perfect_has_no_error(generator: torch.Generator) -> None:
    true = clips(generator)
    assert errors(true, true) == {"mse": 0, "r2": 1, "r2_within_clips": 1, "velocity_nmse": 0, "acceleration_nmse": 0}


def test_the_mean_explains_nothing_and_a_clips_mean_nothing_within(generator: torch.Generator) -> None:
    true = clips(generator)
    mean = torch.cat(true).mean(dim=0)
    assert errors(true, [mean.expand_as(clip) for clip in true])["r2"] == pytest.approx(0, abs=1e-6)
    own = errors(true, [clip.mean(dim=0).expand_as(clip) for clip in true])
    assert own["r2_within_clips"] == pytest.approx(0, abs=1e-6) and own["r2"] > 0.8
    assert own["velocity_nmse"] == own["acceleration_nmse"] == 1


def test_errors_are_sums_over_all_frames() -> None:
    true = [torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [1.0], [4.0]])]
    ours = [torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [1.0], [2.0]])]
    found = errors(true, ours)
    assert found["mse"] == pytest.approx(5 / 5)
    assert found["r2"] == pytest.approx(1 - 5 / 9.2)  # squares about the mean 1.6 add up to 9.2
    assert found["r2_within_clips"] == pytest.approx(1 - 5 / (2 + 6))
    assert found["velocity_nmse"] == pytest.approx((1 + 4) / (4 + 9))
    assert found["acceleration_nmse"] == pytest.approx(4 / 9)


def test_a_report_tells_latents_from_boxes_and_normalised_from_raw(generator: torch.Generator) -> None:
    true = [torch.randn(30, FEATURES, generator=generator) for _ in range(2)]
    deviation = torch.full((FEATURES,), 2.0)
    ours = [clip.clone() for clip in true]
    for clip in ours:
        clip[:, :512] += 2.0
    report = cast(dict[str, Any], reconstruction_report(true, ours, torch.zeros(FEATURES), deviation, ["happy", None]))
    assert report["normalised"]["latents"]["mse"] == pytest.approx(1.0)
    assert report["raw"]["latents"]["mse"] == pytest.approx(4.0)
    assert report["normalised"]["boxes"]["mse"] == report["raw"]["boxes"]["mse"] == 0
    assert {name: row["clips"] for name, row in report["r2_by_emotion"].items()} == {"happy": 1, "unlabelled": 1}


def test_raw_boxes_have_sizes_not_logarithms() -> None:
    true, ours = torch.zeros(1, 3, FEATURES), torch.zeros(1, 3, FEATURES)
    ours[..., 514] = torch.log(torch.tensor(3.0))
    report = cast(
        dict[str, Any],
        reconstruction_report(list(true), list(ours), torch.zeros(FEATURES), torch.ones(FEATURES), [None]),
    )
    assert report["raw"]["boxes"]["mse"] == pytest.approx((3 - 1) ** 2 / 3)


def test_dimensions_that_never_move_are_left_out(generator: torch.Generator) -> None:
    true = [torch.randn(30, FEATURES, generator=generator)]
    deviation = torch.ones(FEATURES)
    deviation[7] = 0
    ours = [true[0].clone()]
    ours[0][:, 7] += 100
    report = cast(dict[str, Any], reconstruction_report(true, ours, torch.zeros(FEATURES), deviation, [None]))
    assert report["normalised"]["latents"]["mse"] == 0
