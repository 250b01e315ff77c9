"""Seams, stillness, repetition and drift, on motion in which they are known."""

from __future__ import annotations

import pytest
import torch

from motion_gpt.evaluation.cases import cut_cases
from motion_gpt.evaluation.distances import frechet
from motion_gpt.evaluation.dynamics import (
    SeamReference,
    drift_figures,
    longest_still,
    repeated_grams,
    seam_figures,
    self_transitions,
    speeds,
)
from motion_gpt.evaluation.features import ChangeFeatures, MotionSpace, StretchFeatures, stretches_of
from tests.motion_tokenizer.tiny import features

CLIPS = list(features(6, 200))


def test_cases_are_windows_of_the_clips_and_name_where_they_are() -> None:
    cases = cut_cases(CLIPS[:2], ["a", "b"], 50, 100, 25, 25.0)
    assert [case.name for case in cases[:3]] == ["a at 2.0 s", "a at 3.0 s", "a at 4.0 s"]
    assert [case.clip for case in cases] == [0, 0, 0, 1, 1, 1]
    assert torch.equal(torch.cat([cases[1].prefix, cases[1].truth]), CLIPS[0][25:175])


def test_a_true_continuation_has_an_ordinary_seam_and_a_jump_has_not() -> None:
    cases = cut_cases(CLIPS, [str(n) for n in range(6)], 50, 100, 7, 25.0)
    reference = SeamReference.of(CLIPS)
    true = torch.stack([case.truth for case in cases])
    figures = seam_figures(cases, true, reference)
    assert figures["seam_jerk"] == pytest.approx(float(reference.jerk.median()), rel=0.2)
    assert figures["seam_jerk_high"] < 0.2
    assert figures["seam_jump"] == pytest.approx(float(reference.jump.median()), rel=0.3)
    other = seam_figures(cases, true.roll(1, dims=0), reference)
    assert other["seam_jerk"] > reference.limits()[0]
    assert other["seam_jerk_high"] > 0.5
    assert other["seam_jump"] > reference.limits()[1]


def test_the_longest_still_run_is_found() -> None:
    clip = torch.zeros(1, 50, 515)
    clip[0, :, 0] = torch.cat([torch.arange(10), torch.full((30,), 9), torch.arange(10, 20)]).float()
    # Frames 9 to 39 are equal: 30 steps without movement.
    assert longest_still(clip, 0.5, 25.0) == pytest.approx(30 / 25)
    assert float(speeds(clip)[0].sum()) == pytest.approx(19)


def test_repetitions_are_counted_in_pieces_of_equal_length() -> None:
    loop = (torch.arange(64) % 8)[:, None]
    fresh = torch.arange(64)[:, None]
    assert repeated_grams([loop], 32) == pytest.approx(17 / 25)
    assert repeated_grams([fresh], 32) == 0
    assert repeated_grams([loop, fresh], 32) == pytest.approx(17 / 50)
    assert repeated_grams([fresh[:31]], 32) is None
    assert self_transitions([torch.tensor([[1], [1], [2], [2], [2]])]) == pytest.approx(3 / 4)
    assert self_transitions([torch.tensor([[1, 1], [1, 2]])]) == 0


def test_drift_shows_freezing_and_running_away() -> None:
    space = MotionSpace.fit(CLIPS, 4)
    stretch = StretchFeatures.fit(space, stretches_of(CLIPS, 50, 10))
    steady = torch.stack(CLIPS)[:, :200]
    fade = torch.linspace(1, 0, 200)[:, None]
    mean = steady.mean(dim=1, keepdim=True)
    frozen = drift_figures(mean + (steady - mean) * fade, CLIPS, stretch, 50)
    wild = drift_figures(mean + (steady - mean) * (4 - 3 * fade), CLIPS, stretch, 50)
    same = drift_figures(steady, CLIPS, stretch, 50)
    assert len(frozen) == 4
    assert frozen[-1]["variance"] < 0.3 < 0.5 < same[-1]["variance"] < 2 < wild[-1]["variance"]
    assert frozen[-1]["speed"] < 0.5 and wild[-1]["speed"] > 2
    assert min(frozen[-1]["frechet"], wild[-1]["frechet"]) > same[-1]["frechet"]


def test_the_space_of_motion_gives_back_what_it_holds() -> None:
    space = MotionSpace.fit(CLIPS, 12, columns=slice(0, 515))
    clip = CLIPS[0]
    components = space.project(clip)
    assert components.shape == (200, 12)
    restored = space.restore(components, clip[-1])
    assert torch.allclose(space.project(restored), components, atol=1e-3)
    # Twelve factors make all of this motion but the boxes' exponential: nearly nothing is lost.
    assert float((restored - clip).norm() / clip.norm()) < 0.1
    assert torch.allclose(space.restore(components[-1:], clip[-1])[0], clip[-1], atol=1e-5)


def test_stretches_longer_than_a_clip_are_none() -> None:
    assert stretches_of(CLIPS, 300, 10).shape == (0, 300, 515)
    assert stretches_of(CLIPS, 200, 10).shape == (6, 200, 515)


def test_means_over_tokens_leave_jitter_out() -> None:
    space = MotionSpace.fit(CLIPS, 4)
    clips = torch.stack(CLIPS)
    jittery = clips + 0.3 * torch.randn(clips.shape, generator=torch.Generator().manual_seed(0))
    differences = []
    for together in (1, 4):
        stretch = StretchFeatures.fit(space, clips, together)
        differences.append(float((stretch(jittery) - stretch(clips))[:, 8:].norm()))
    assert differences[1] < 0.5 * differences[0]


def test_change_knows_a_replay_from_a_continuation() -> None:
    space = MotionSpace.fit(CLIPS, 2)
    stretches = stretches_of(list(features(60, 150)), 150, 150)
    change = ChangeFeatures.fit(StretchFeatures.fit(space, stretches[:, 50:], 4), stretches, 50)
    prefix, true = stretches[:, :50], stretches[:, 50:]
    replay = torch.cat([prefix.flip(1), prefix], dim=1)
    a, b = slice(0, 30), slice(30, 60)
    real = change(prefix, true)
    assert frechet(real[a], real[b]) < 0.5 * frechet(real[a], change(prefix, replay)[b])
