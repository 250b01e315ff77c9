"""The release's numbers, as measured on its code: noise schedule, timesteps, start, windows, chunks."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler

from animator.builders import animator_config, build_scheduler
from animator.models.autoencoder import default_chunk
from animator.sampler import load_sampler
from animator.sampling import blurred, count_predictions
from animator.solvers import build_ddim
from animator.windows import plan_closed_loop


def released(steps: int) -> DDIMScheduler:
    """The release's scheduler over weights that were trained with Stable Diffusion's."""
    weights = build_scheduler(animator_config("xnemo").scheduler)
    return build_ddim(weights, load_sampler("release").schedule, steps, torch.device("cpu"))


@pytest.mark.parametrize(
    ("level", "alpha_bar"),
    [(0, 0.99915), (250, 0.61530), (500, 0.16891), (750, 0.013841), (953, 5.636e-4), (999, 2.300e-4)],
)
def test_noise_levels(level: int, alpha_bar: float) -> None:
    assert float(released(35).alphas_cumprod[level]) == pytest.approx(alpha_bar, rel=2e-4)


def test_the_last_level_is_nearly_noise_but_not_rescaled_to_it() -> None:
    assert math.sqrt(released(35).alphas_cumprod[999]) == pytest.approx(0.0152, abs=5e-5)
    plain = build_scheduler(animator_config("xnemo").scheduler)
    assert math.sqrt(plain.alphas_cumprod[999]) == pytest.approx(0.0683, abs=5e-5)


@pytest.mark.parametrize(
    ("steps", "timesteps"),
    [
        (35, list(range(953, 0, -28))),
        (25, list(range(961, 0, -40))),
        (4, [751, 501, 251, 1]),
    ],
)
def test_timesteps(steps: int, timesteps: list[int]) -> None:
    assert released(steps).timesteps.tolist() == timesteps
    assert len(timesteps) == steps and timesteps[-1] == 1


def test_the_last_step_ends_without_noise() -> None:
    """alpha_bar before it is 1: what is left is the prediction of the clean latents."""
    scheduler = released(35)
    latents, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    a = scheduler.alphas_cumprod[1]
    clean = (latents - (1 - a).sqrt() * noise) / a.sqrt()
    torch.testing.assert_close(scheduler.step(noise, 1, latents).prev_sample, clean)


def test_one_ddim_step() -> None:
    scheduler = released(4)
    latents, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    a, before = scheduler.alphas_cumprod[751], scheduler.alphas_cumprod[501]
    clean = (latents - (1 - a).sqrt() * noise) / a.sqrt()
    expected = before.sqrt() * clean + (1 - before).sqrt() * noise
    torch.testing.assert_close(scheduler.step(noise, 751, latents, eta=0.0).prev_sample, expected)


def test_the_start_is_the_blurred_reference_under_the_noise_of_the_first_timestep() -> None:
    scheduler = released(35)
    reference, noise = torch.randn(1, 4, 16, 24), torch.randn(3, 4, 16, 24)
    a = scheduler.alphas_cumprod[953]
    line = torch.exp(-0.5 * (torch.linspace(-4, 4, 9) / 18) ** 2)
    kernel = torch.outer(line, line)
    padded = torch.nn.functional.pad(reference, (4, 4, 4, 4), mode="reflect")
    patches = padded.unfold(2, 9, 1).unfold(3, 9, 1)
    blur = (patches * kernel).sum((-1, -2)) / kernel.sum()
    torch.testing.assert_close(blurred(reference), blur, atol=1e-6, rtol=1e-5)
    started = scheduler.add_noise(blurred(reference).expand_as(noise), noise, scheduler.timesteps[:1])
    torch.testing.assert_close(started, a.sqrt() * blur + (1 - a).sqrt() * noise, atol=1e-6, rtol=1e-5)


def test_windows_of_24_that_overlap_by_4_and_go_round() -> None:
    """30 frames, offset 17: two windows, the first over the clip's end, the second nearly all repeated."""
    first, second = plan_closed_loop(30, 24, 4, 17)
    assert first == [*range(17, 30), *range(11)]
    assert second == [*range(7, 30), 0]
    assert plan_closed_loop(24, 24, 4, 17) == [list(range(24))]
    assert len(plan_closed_loop(25, 24, 4, 0)) == 2
    assert count_predictions(load_sampler("release"), 230) == 12 * 35


def test_chunks_of_25_frames() -> None:
    from animator.builders import build_autoencoder
    from animator.model_config import AutoencoderConfig

    assert load_sampler("release").decode_chunk == 25
    assert default_chunk(build_autoencoder(AutoencoderConfig(temporal=True, block_out_channels=[32]))) == 25
