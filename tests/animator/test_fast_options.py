"""What a sampler may leave out or reuse: each option against the same thing written out, and off by default."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor, nn

from animator.builders import animator_config, build_pipeline
from animator.conditions import own_motion
from animator.controls.motion_attention import MotionTokens
from animator.errors import XNeMoError
from animator.guidance import GuidedDenoiser
from animator.models.deep_cache import DeepCache, DeepFeatures
from animator.motion_clip import MotionClip
from animator.pipeline import XNeMoPipeline
from animator.portrait import PortraitPictures
from animator.sampler import choose_sampler, guided_steps, load_sampler
from animator.sampling import Denoising
from animator.solvers import build_solver
from animator.windows import FrameNoise, plan_windows
from tests.animator.tiny import shake

FRAMES = 20
WINDOWS = {"window": 8, "overlap": 2}


@pytest.fixture(scope="module")
def pipeline() -> XNeMoPipeline:
    """In float64, as random weights multiply the last digits of float32."""
    pipe = build_pipeline(animator_config("tiny"))
    for net in (pipe.unet, pipe.reference_net):
        shake(net)
    pipe.to(torch.float64).set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pictures() -> PortraitPictures:
    drawn = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    return PortraitPictures(drawn[0], drawn[1][:32, :32])


@pytest.fixture(scope="module")
def motion(pipeline: XNeMoPipeline) -> MotionClip:
    latents = torch.randn(FRAMES, 512, generator=torch.Generator().manual_seed(5))
    return MotionClip(latents, torch.tensor([[0.1, 0.0, 1.1]]).repeat(FRAMES, 1), 25.0, pipeline.encoder_id)


def sample(pipe: XNeMoPipeline, pictures: PortraitPictures, motion: MotionClip, steps: int = 4, **keys: Any) -> Tensor:
    sampler = replace(load_sampler("paper"), steps=steps, **WINDOWS | keys)
    frames = pipe(pictures, motion, sampler=sampler, output_type="latent").frames
    assert isinstance(frames, Tensor)
    return frames[0]


class Sweep:
    """Every window at one step before any at the next, with diffusers' scheduler over the whole clip."""

    def __init__(self, pipe: XNeMoPipeline, pictures: PortraitPictures, motion: MotionClip) -> None:
        self.tokens = pipe.motion_encoder.fuse(motion.latents.double(), motion.boxes.double())
        self.own = own_motion(pipe.motion_encoder, pictures.face, torch.device("cpu")).double()
        control = MotionTokens(self.tokens, self.own)
        self.denoise = GuidedDenoiser(pipe.unet, pipe.portrait_conditions(pictures), control, 4.5)
        self.noise = FrameNoise(0, (4, 16, 16))(range(FRAMES)).double()

    def run(self, scheduler: Any, predict: Any) -> Tensor:
        """`predict` is given (latents, timestep, tokens, frames, step) of a window."""
        latents = self.noise
        for step, timestep in enumerate(scheduler.timesteps):
            total, votes = torch.zeros_like(latents), torch.zeros(FRAMES, 1, 1, 1, dtype=torch.float64)
            for part in plan_windows(FRAMES, 8, 2):
                frames = slice(part.start, part.stop)
                total[frames] += predict(latents[frames], timestep, self.tokens[frames], frames, step)
                votes[frames] += 1
            latents = scheduler.step(total / votes, timestep, latents).prev_sample
        return latents


def ddim(pipe: XNeMoPipeline, steps: int = 4) -> Any:
    scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    scheduler.set_timesteps(steps)
    return scheduler


@torch.no_grad()
def test_guidance_in_an_interval_is_the_conditional_branch_alone_outside_it(
    pipeline: XNeMoPipeline, pictures: PortraitPictures, motion: MotionClip
) -> None:
    sweep = Sweep(pipeline, pictures, motion)
    plain = replace(sweep.denoise, guidance_scale=1.0)

    def predict(latents: Tensor, timestep: Tensor, tokens: Tensor, frames: slice, step: int) -> Tensor:
        return (sweep.denoise if step in (1, 2) else plain)(latents, timestep, range(FRAMES)[frames])

    ours = sample(pipeline, pictures, motion, guidance_from=0.25, guidance_until=0.75)
    torch.testing.assert_close(ours, sweep.run(ddim(pipeline), predict), atol=1e-7, rtol=1e-7)
    assert not torch.allclose(ours, sample(pipeline, pictures, motion), atol=1e-3)


def test_steps_without_guidance_compute_half(
    pipeline: XNeMoPipeline, pictures: PortraitPictures, motion: MotionClip
) -> None:
    batches: list[int] = []
    handle = pipeline.unet.register_forward_pre_hook(lambda net, args: batches.append(len(args[0])))
    sample(pipeline, pictures, motion[:8], steps=5, guidance_until=0.6)
    handle.remove()
    assert batches == [2, 2, 2, 1, 1]


@pytest.mark.parametrize(
    ("steps", "begin", "end", "guided"),
    [(25, 0, 1, range(25)), (25, 0, 0.6, range(15)), (15, 0.2, 0.7, range(3, 11)), (1, 0, 0.1, range(1))],
)
def test_shares_of_the_steps_are_rounded_up(steps: int, begin: float, end: float, guided: range) -> None:
    sampler = replace(load_sampler("paper"), steps=steps, guidance_from=begin, guidance_until=end)
    assert guided_steps(sampler) == guided
    assert guided_steps(replace(sampler, guidance_scale=1.0)) == range(0)


def count_calls(module: nn.Module, calls: list[int]) -> Any:
    return module.register_forward_hook(lambda net, args, out: calls.append(1))


@torch.no_grad()
@pytest.mark.parametrize("keys", [{}, {"guidance_until": 0.5}, {"guidance_from": 0.5}, {"guidance_scale": 1.0}])
def test_a_cache_that_is_renewed_at_every_step_changes_nothing(
    pipeline: XNeMoPipeline,
    pictures: PortraitPictures,
    motion: MotionClip,
    keys: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact = sample(pipeline, pictures, motion, **keys)
    monkeypatch.setattr(pipeline, "_deep_cache", lambda sampler: DeepCache(levels=1, every=1))
    assert torch.equal(sample(pipeline, pictures, motion, **keys), exact)


@torch.no_grad()
def test_reused_deep_features_are_those_of_the_same_window_and_branch(
    pipeline: XNeMoPipeline, pictures: PortraitPictures, motion: MotionClip
) -> None:
    """Against branches one by one, each with features kept in a plain table; guidance ends between two renewals."""
    sweep = Sweep(pipeline, pictures, motion)
    portrait, unet = sweep.denoise.portrait, pipeline.unet
    table: dict[tuple[int, bool], DeepFeatures] = {}

    def branch(latents: Tensor, t: Tensor, tokens: Tensor, first: int, conditional: bool, step: int) -> Tensor:
        key = (first, conditional)
        if step % 2 == 0:
            table[key] = DeepFeatures(1)
        embeds, driven, reference = torch.zeros_like(portrait.image_embeds), sweep.own[:, None], None
        if conditional:
            embeds, driven, reference = portrait.image_embeds, tokens[None], portrait.reference
        seen = latents.transpose(0, 1)[None]
        return unet(seen, t, embeds, driven.expand_as(tokens[None]), reference, deep=table[key])[0].transpose(0, 1)

    def predict(latents: Tensor, t: Tensor, tokens: Tensor, frames: slice, step: int) -> Tensor:
        conditional = branch(latents, t, tokens, frames.start, True, step)
        if step >= 3:
            return conditional
        return 4.5 * conditional - 3.5 * branch(latents, t, tokens, frames.start, False, step)

    ours = sample(pipeline, pictures, motion, guidance_until=0.75, deep_cache_every=2)
    torch.testing.assert_close(ours, sweep.run(ddim(pipeline), predict), atol=1e-7, rtol=1e-7)
    assert not torch.allclose(ours, sample(pipeline, pictures, motion, guidance_until=0.75), atol=1e-3)


def test_deep_blocks_run_at_every_second_step_only(
    pipeline: XNeMoPipeline, pictures: PortraitPictures, motion: MotionClip
) -> None:
    fine, middle, coarse = [], [], []
    handles = [
        count_calls(pipeline.unet.down_blocks[0], fine),
        count_calls(pipeline.unet.mid_block, middle),
        count_calls(pipeline.unet.up_blocks[0], coarse),
    ]
    sample(pipeline, pictures, motion[:8], steps=5, deep_cache_every=2)
    for handle in handles:
        handle.remove()
    assert (len(fine), len(middle), len(coarse)) == (5, 3, 3)


def test_entries_of_the_cache_are_freed(
    pipeline: XNeMoPipeline, pictures: PortraitPictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def most_entries(frames: int) -> int:
        cache = DeepCache(levels=1, every=2)
        monkeypatch.setattr(pipeline, "_deep_cache", lambda sampler: cache)
        motion = MotionClip(
            torch.randn(frames, 512), torch.tensor([[0.0, 0.0, 1.0]]).repeat(frames, 1), 25.0, pipeline.encoder_id
        )
        seen: list[int] = []
        options = {"num_inference_steps": 3, **WINDOWS, "output_type": "latent"}
        pipeline(pictures, motion, callback_on_step_end=lambda *told: seen.append(len(cache.entries)), **options)
        assert not cache.entries
        return max(seen)

    assert most_entries(40) == most_entries(80) <= 3


def test_a_branch_that_is_no_longer_computed_is_dropped_and_holds_no_memory_of_the_other() -> None:
    cache = DeepCache(levels=1, every=4)
    features = cache.recall("w", (False, True), 0)
    assert features.kept is None
    features.kept = torch.arange(8.0)
    cache.keep("w", (False, True), features)
    assert torch.equal(cache.recall("w", (False, True), 1).kept, torch.arange(8.0))
    assert torch.equal(cache.recall("w", (True,), 2).kept, torch.arange(4.0, 8.0))
    kept = cache.entries["w"]
    assert kept.keys() == {True} and kept[True].untyped_storage().nbytes() == 4 * 4
    assert cache.recall("w", (False, True), 3).kept is None
    assert not cache.entries


@torch.no_grad()
def test_odd_sizes_reuse_deep_features_too(pipeline: XNeMoPipeline) -> None:
    unet = pipeline.unet
    deep, shape = DeepFeatures(1), (1, 4, 2, 15, 13)
    x, tokens = torch.randn(shape, dtype=torch.float64), torch.randn(1, 2, 32, 16, dtype=torch.float64)
    embeds = torch.zeros(1, 1, 8, dtype=torch.float64)
    first = unet(x, 300, embeds, tokens, deep=deep)
    assert torch.equal(first, unet(x, 300, embeds, tokens))
    assert torch.equal(first, unet(x, 300, embeds, tokens, deep=deep))
    with pytest.raises(ValueError, match="2 finest levels of 2"):
        unet(x, 300, embeds, tokens, deep=DeepFeatures(2))


@torch.no_grad()
@pytest.mark.parametrize("solver", ["dpmpp", "unipc"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_multistep_solvers_are_diffusers_over_the_whole_clip(
    pipeline: XNeMoPipeline, pictures: PortraitPictures, motion: MotionClip, solver: str, spacing: str
) -> None:
    kind = {"dpmpp": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}[solver]
    own = pipeline.scheduler.config
    theirs = kind(
        beta_start=own.beta_start,
        beta_end=own.beta_end,
        beta_schedule=own.beta_schedule,
        prediction_type=own.prediction_type,
        steps_offset=own.steps_offset,
        timestep_spacing=spacing,
        final_sigmas_type="zero",
    )
    theirs.set_timesteps(4)
    sweep = Sweep(pipeline, pictures, motion)
    swept = sweep.run(theirs, lambda latents, t, tokens, frames, step: sweep.denoise(latents, t, range(FRAMES)[frames]))
    schedule = replace(load_sampler("paper").schedule, timestep_spacing=spacing)
    ours = sample(pipeline, pictures, motion, solver=solver, schedule=schedule)
    # diffusers' solvers compute a step in float32.
    torch.testing.assert_close(ours, swept, atol=2e-4, rtol=2e-4)
    assert not torch.allclose(ours, sample(pipeline, pictures, motion, schedule=schedule), atol=1e-2)


def test_a_solver_ends_where_ddim_would(pipeline: XNeMoPipeline) -> None:
    fast = replace(load_sampler("fast"), solver="dpmpp")
    for whole, last in ((True, 0.0), (False, None)):
        schedule = replace(fast.schedule, set_alpha_to_one=whole)
        solver = build_solver(pipeline.scheduler, replace(fast, schedule=schedule), torch.device("cpu"))
        first = pipeline.scheduler.alphas_cumprod[0]
        assert solver.sigmas[-1] == pytest.approx(float(((1 - first) / first).sqrt()) if last is None else last)


def test_histories_of_a_solver_are_freed(
    pipeline: XNeMoPipeline, pictures: PortraitPictures, motion: MotionClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Denoising] = []
    run = Denoising.run
    monkeypatch.setattr(Denoising, "run", lambda self, *args: (made.append(self), run(self, *args))[1])
    sample(pipeline, pictures, motion, steps=3, solver="unipc")
    assert made and not made[0].solvers.under_way


@pytest.mark.parametrize("more", [{}, {"deep_cache_every": 2, "solver": "unipc"}])
def test_fast_streams_what_it_gives_as_a_whole(
    pipeline: XNeMoPipeline, pictures: PortraitPictures, motion: MotionClip, more: dict[str, Any]
) -> None:
    options: dict[str, Any] = {"sampler": replace(load_sampler("fast"), **more), "num_inference_steps": 5, **WINDOWS}
    pieces = list(pipeline.stream_latents(pictures, motion, **options))
    whole = pipeline(pictures, motion, output_type="latent", **options).frames
    assert len(pieces) > 1
    assert torch.equal(torch.cat(pieces), whole[0])


def test_the_tiny_decoder_makes_the_pictures_where_it_is_asked_for(
    pipeline: XNeMoPipeline, pictures: PortraitPictures, motion: MotionClip
) -> None:
    torch.manual_seed(0)
    widths = (8, 8, 8)
    tiny = AutoencoderTiny(
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(1, 1, 1),
    ).to(torch.float64)
    pipe = XNeMoPipeline(**pipeline.components | {"tiny_vae": tiny}, image_size=64)
    pipe.set_progress_bar_config(disable=True)
    options: dict[str, Any] = {"num_inference_steps": 1}
    sampler = replace(load_sampler("paper"), decoder="tiny")
    latents = pipe(pictures, motion[:3], output_type="latent", **options).frames[0]
    frames = pipe(pictures, motion[:3], sampler=sampler, **options).frames
    with torch.no_grad():
        levels = ((tiny.decode(latents).sample.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1)
    assert np.array_equal(frames, levels.numpy().astype(np.uint8))
    assert not np.array_equal(frames, pipe(pictures, motion[:3], **options).frames)
    wrong = XNeMoPipeline(**pipeline.components | {"tiny_vae": AutoencoderTiny()}, image_size=64)
    with pytest.raises(XNeMoError, match="tiny decoder is for latents of 4 channels and 8 pixels"):
        wrong(pictures, motion[:3], sampler=sampler, **options)
    with pytest.raises(XNeMoError, match="there is no tiny decoder.*tiny_vae=FOLDER"):
        pipeline(pictures, motion[:3], sampler=sampler, **options)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("release", {"deep_cache_every": 2}, "deep_cache_every=2: the windows of a closed loop"),
        ("paper", {"guidance_from": 0.6, "guidance_until": 0.4}, "none of the 25 steps is guided"),
        ("fast", {"solver": "euler"}, "solver=euler: not one of ddim, dpmpp, unipc"),
        ("fast", {"guidance_until": 1.5}, "guidance_until=1.5"),
    ],
)
def test_options_that_make_no_sense_are_refused(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(XNeMoError, match=message):
        choose_sampler(name, **changes)


def test_options_that_the_weights_cannot_have_are_refused(
    pipeline: XNeMoPipeline, pictures: PortraitPictures, motion: MotionClip
) -> None:
    with pytest.raises(XNeMoError, match="deep_cache_levels=2: this denoiser has 2 levels"):
        sample(pipeline, pictures, motion, deep_cache_every=2, deep_cache_levels=2)
    clipping = replace(load_sampler("paper").schedule, clip_sample=True)
    with pytest.raises(XNeMoError, match="solver=unipc.*clipped"):
        sample(pipeline, pictures, motion, solver="unipc", schedule=clipping)
    crowded = replace(load_sampler("paper").schedule, steps_offset=0)
    with pytest.raises(XNeMoError, match="fewer than 1000 steps"):
        sample(pipeline, pictures, motion, steps=1000, solver="dpmpp", schedule=crowded)
