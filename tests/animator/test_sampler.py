"""Samplers have names; what a caller leaves out is the sampler's, and what a sampler leaves out is the weights'."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler

from animator.config_loader import describe, load_config
from animator.errors import XNeMoError
from animator.sampler import NoiseScheduleConfig, SamplerConfig, choose_sampler, load_sampler
from animator.solvers import build_ddim


def test_the_paper_is_the_default_everywhere() -> None:
    assert load_sampler("paper") == SamplerConfig() == load_config("animate").sampler == load_config("demo").sampler
    paper = load_sampler("paper")
    assert (paper.steps, paper.guidance_scale, paper.initial, paper.f_rts) == (25, 4.5, "noise", "driving")
    assert (paper.window, paper.overlap, paper.loop) == (24, 4, False)


def test_the_release_is_what_its_code_does_and_not_what_its_command_line_says() -> None:
    release = load_config("animate", ["sampler=release"]).sampler
    assert release == load_sampler("release")
    assert (release.steps, release.guidance_scale) == (35, 2.5)
    assert (release.initial, release.f_rts, release.pixels) == ("blurred_reference", "reference", "truncate")
    assert (release.window, release.overlap, release.loop) == (24, 4, True)
    assert (release.decode_chunk, release.decode_overlap) == (25, 0)
    assert release.reference_precision is None


def test_a_loaded_sampler_is_the_callers_own() -> None:
    load_sampler("paper").steps = 3
    assert load_sampler("paper").steps == 25


def test_what_is_left_out_is_the_samplers() -> None:
    chosen = choose_sampler("release", steps=4, window=None)
    assert (chosen.steps, chosen.window, chosen.guidance_scale) == (4, 24, 2.5)
    own = replace(load_sampler("paper"), loop=True)
    assert choose_sampler(own, overlap=0) == replace(own, overlap=0)
    assert own.overlap == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps=0: must be at least 1"),
        ({"overlap": -1}, "overlap=-1"),
        ({"initial": "zeros"}, "initial=zeros: not one of noise, reference, blurred_reference"),
        ({"guidance_scale": float("nan")}, "finite"),
        ({"schedule": NoiseScheduleConfig(beta_end=2.0)}, "schedule.beta_end=2"),
    ],
)
def test_values_that_no_sampler_has_are_refused_in_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(XNeMoError, match=message):
        choose_sampler("paper", **changes)


def test_an_unknown_sampler_is_named_beside_those_there_are() -> None:
    with pytest.raises(XNeMoError, match=r"sampler=relase: no such option; sampler may be .*paper.*release"):
        load_sampler("relase")


def test_every_key_of_a_sampler_can_be_set_and_says_guidance_in_the_papers_terms() -> None:
    keys = {info.name: info for info in describe("animate")}
    assert "w = guidance_scale - 1" in keys["sampler.guidance_scale"].help
    settings = load_config("animate", ["sampler=release", "sampler.loop=false", "sampler.schedule.beta_end=0.012"])
    assert (settings.sampler.loop, settings.sampler.schedule.beta_end, settings.sampler.steps) == (False, 0.012, 35)


@pytest.fixture
def trained() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.001,
        beta_end=0.03,
        beta_schedule="linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
    )


def test_the_paper_keeps_the_schedule_that_the_weights_were_trained_with(trained: DDIMScheduler) -> None:
    ours = build_ddim(trained, load_sampler("paper").schedule, 25, torch.device("cpu"))
    trained.set_timesteps(25)
    assert torch.equal(ours.alphas_cumprod, trained.alphas_cumprod)
    assert torch.equal(ours.timesteps, trained.timesteps)
    assert ours.config.prediction_type == "v_prediction"


def test_the_release_wins_over_the_folder_but_not_over_what_the_network_predicts(trained: DDIMScheduler) -> None:
    ours = build_ddim(trained, load_sampler("release").schedule, 35, torch.device("cpu"))
    published = DDIMScheduler(beta_start=0.00085, beta_end=0.02, beta_schedule="scaled_linear")
    assert torch.equal(ours.alphas_cumprod, published.alphas_cumprod)
    assert ours.timesteps[0] == 953
    assert ours.config.prediction_type == "v_prediction"


def test_a_table_of_betas_does_not_win_over_a_stated_formula() -> None:
    weights = DDIMScheduler(num_train_timesteps=1000, trained_betas=[0.01] * 1000)
    ours = build_ddim(weights, load_sampler("release").schedule, 4, torch.device("cpu"))
    assert ours.alphas_cumprod[999] == pytest.approx(2.3e-4, rel=1e-3)


def test_more_steps_than_levels_are_refused(trained: DDIMScheduler) -> None:
    with pytest.raises(XNeMoError, match="steps=30: there are only 20 noise levels"):
        build_ddim(trained, NoiseScheduleConfig(num_train_timesteps=20), 30, torch.device("cpu"))
    # "leading" spacing with an offset of 1 puts the first of 20 steps at level 20 of 0 to 19.
    with pytest.raises(XNeMoError, match="steps=20: too many for 20 noise levels"):
        build_ddim(
            trained,
            NoiseScheduleConfig(num_train_timesteps=20, steps_offset=1, timestep_spacing="leading"),
            20,
            torch.device("cpu"),
        )
