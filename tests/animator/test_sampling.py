"""The release's sampler against itself written out frame by frame, and every argument for reproduction."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from animator.builders import animator_config, build_autoencoder, build_pipeline
from animator.conditions import image_token
from animator.errors import XNeMoError
from animator.model_config import AutoencoderConfig
from animator.models.autoencoder import encode_images
from animator.motion_clip import MotionClip
from animator.pipeline import XNeMoPipeline
from animator.pixels import from_uint8, to_uint8
from animator.portrait import PortraitPictures
from animator.sampler import load_sampler
from animator.sampling import blurred
from tests.animator.tiny import shake

FRAMES = 8
STEPS = 3
OFFSETS = [3, 0, 5]


@pytest.fixture(scope="module")
def pipeline() -> XNeMoPipeline:
    pipe = build_pipeline(animator_config("tiny"))
    for net in (pipe.unet, pipe.reference_net):
        shake(net)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def exact(pipeline: XNeMoPipeline) -> XNeMoPipeline:
    """The same in float64: random weights multiply the last digits of float32 by some thousand."""
    pipe = build_pipeline(animator_config("tiny"))
    for name in ("unet", "reference_net"):
        getattr(pipe, name).load_state_dict(getattr(pipeline, name).state_dict())
    pipe.to(torch.float64).set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    """A portrait and a face; no detector would find one in them."""
    return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def motion(pipeline: XNeMoPipeline) -> MotionClip:
    crops = np.random.default_rng(1).integers(0, 256, (FRAMES, 40, 30, 3), dtype=np.uint8)
    return pipeline.encode_motion_crops(crops)


@pytest.fixture(scope="module")
def noise() -> Tensor:
    return torch.randn(1, FRAMES, 4, 16, 16, generator=torch.Generator().manual_seed(9))


def sample(pipeline: XNeMoPipeline, drawn: np.ndarray, motion: MotionClip, **options: Any) -> Tensor:
    given = {"sampler": "release", "num_inference_steps": STEPS, "output_type": "latent"} | options
    frames = pipeline(Image.fromarray(drawn[0]), motion, reference_face=Image.fromarray(drawn[1]), **given).frames
    assert isinstance(frames, Tensor)
    return frames


@torch.no_grad()
def written_out(
    pipeline: XNeMoPipeline,
    drawn: np.ndarray,
    motion: MotionClip,
    noise: Tensor,
    offsets: list[int],
    window: int,
    overlap: int,
    scale: float = 2.5,
    half: bool = False,
) -> Tensor:
    """The facts about the published code, one after the other, with frames in lists and no helper of the sampler."""
    betas = torch.linspace(0.00085**0.5, 0.02**0.5, 1000) ** 2
    alpha_bar = torch.cumprod(1 - betas, 0)  # float32 as published, and so are the roots below
    stride = 1000 // STEPS
    times = [1 + stride * i for i in reversed(range(STEPS))]

    clean = encode_images(pipeline.vae, from_uint8(drawn[:1]))
    blur = np.stack([gaussian_filter(plane, 18, radius=4, mode="mirror") for plane in clean[0].double().numpy()])
    a = alpha_bar[times[0]].double()
    start = a.sqrt() * torch.from_numpy(blur) + (1 - a).sqrt() * noise[0].double()
    latents = list(start)

    still = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    embeds = torch.zeros(1, 1, 8, dtype=torch.float64)
    face = np.array(Image.fromarray(drawn[1]).resize((32, 32), Image.Resampling.LANCZOS))
    own = pipeline.motion_encoder(from_uint8(face[None]).double(), still)
    tokens = [pipeline.motion_encoder.fuse(latent[None].double(), still) for latent in motion.latents]
    bank = pipeline.reference_net(clean, embeds)
    if half:
        bank = replace(bank, layers={name: x.half().double() for name, x in bank.layers.items()})

    count = len(latents)
    for step, t in enumerate(times):
        if count <= window:
            windows = [list(range(count))]
        else:
            starts = [offsets[step] + i * (window - overlap) for i in range(math.ceil(count / (window - overlap)))]
            windows = [[(first + i) % count for i in range(window)] for first in starts]
        without: list[list[Tensor]] = [[] for _ in range(count)]
        given: list[list[Tensor]] = [[] for _ in range(count)]
        for frames in windows:
            seen = torch.stack([latents[i] for i in frames], dim=1)[None]
            still_face = own[:, None].expand(-1, len(frames), -1, -1)
            driven = torch.stack([tokens[i][0] for i in frames])[None]
            negative = pipeline.unet(seen, t, torch.zeros_like(embeds), still_face, None)
            positive = pipeline.unet(seen, t, embeds, driven, bank)
            for place, i in enumerate(frames):
                without[i].append(negative[0, :, place])
                given[i].append(positive[0, :, place])
        a, before = alpha_bar[t], alpha_bar[t - stride] if t >= stride else torch.tensor(1.0)
        for i in range(count):
            u, c = (sum(votes) / len(votes) for votes in (without[i], given[i]))
            eps = u + scale * (c - u)
            x0 = (latents[i] - (1 - a).sqrt() * eps) / a.sqrt()
            latents[i] = before.sqrt() * x0 + (1 - before).sqrt() * eps
    return torch.stack(latents)[None]


@pytest.mark.parametrize(("window", "overlap"), [(24, 4), (8, 2), (6, 2), (5, 0)])
def test_the_release_sampler_is_the_published_one_written_out(
    exact: XNeMoPipeline, drawn: np.ndarray, motion: MotionClip, noise: Tensor, window: int, overlap: int
) -> None:
    ours = sample(exact, drawn, motion, noise=noise, window_offsets=OFFSETS, window=window, overlap=overlap)
    theirs = written_out(exact, drawn, motion, noise, OFFSETS, window, overlap)
    assert ours.shape == (1, FRAMES, 4, 16, 16)
    assert (ours - theirs).norm() / theirs.norm() < 1e-6


def test_rounded_reference_features_are_the_published_ones(
    exact: XNeMoPipeline, drawn: np.ndarray, motion: MotionClip, noise: Tensor
) -> None:
    options = {"noise": noise, "window_offsets": OFFSETS, "window": 6, "overlap": 2}
    plain, rounded = (sample(exact, drawn, motion, reference_precision=p, **options) for p in (None, "float16"))
    theirs = written_out(exact, drawn, motion, noise, OFFSETS, 6, 2, half=True)
    assert (rounded - theirs).norm() / theirs.norm() < 1e-6
    assert (plain - theirs).norm() / theirs.norm() > 1e-5


def test_every_argument_of_a_reproduction_takes_effect(
    pipeline: XNeMoPipeline, drawn: np.ndarray, motion: MotionClip, noise: Tensor
) -> None:
    base: dict[str, Any] = {
        "num_inference_steps": 1,
        "noise": noise,
        "window_offsets": [3],
        "window": 6,
        "overlap": 2,
    }
    plain = sample(pipeline, drawn, motion, **base)
    assert torch.equal(plain, sample(pipeline, drawn, motion, **base))
    for change in (
        {"sampler": replace(load_sampler("release"), initial="noise")},
        {"num_inference_steps": 2, "window_offsets": [3, 1]},
        {"guidance_scale": 3.0},
        {"window": 7},
        {"overlap": 3},
        {"noise": noise.roll(1, dims=1)},
        {"window_offsets": [4]},
    ):
        assert not torch.equal(plain, sample(pipeline, drawn, motion, **base | change)), change
    assert not torch.equal(plain, sample(pipeline, drawn[::-1], motion, **base))
    assert sample(pipeline, drawn, motion, **base | {"noise": noise[..., :12, :]}, height=48).shape[-2:] == (12, 16)


def test_without_guidance_the_published_start_and_windows_stay(
    exact: XNeMoPipeline, drawn: np.ndarray, motion: MotionClip, noise: Tensor
) -> None:
    options = {"noise": noise, "window_offsets": OFFSETS, "window": 6, "overlap": 2}
    ours = sample(exact, drawn, motion, guidance_scale=1.0, **options)
    theirs = written_out(exact, drawn, motion, noise, OFFSETS, 6, 2, scale=1.0)
    assert (ours - theirs).norm() / theirs.norm() < 1e-6


def test_the_release_sampler_is_seeded_here(pipeline: XNeMoPipeline, drawn: np.ndarray, motion: MotionClip) -> None:
    options = {"window": 6, "overlap": 2}
    default, same, other = (
        sample(pipeline, drawn, motion, **seed, **options) for seed in ({}, {"seed": 0}, {"seed": 1})
    )
    assert torch.equal(default, same)
    assert not torch.equal(default, other)


def test_offsets_are_drawn_from_the_seed_and_differ_from_step_to_step(
    pipeline: XNeMoPipeline, drawn: np.ndarray, motion: MotionClip, noise: Tensor
) -> None:
    firsts: dict[int, list[int]] = {}
    for seed in (0, 1):
        seen: dict[int, int] = {}
        sample(
            pipeline,
            drawn,
            motion,
            noise=noise,
            seed=seed,
            window=6,
            overlap=2,
            num_inference_steps=6,
            guidance_scale=1.0,
            callback_on_step_end=lambda pipe, n, t, told, seen=seen: seen.setdefault(told["step"], told["frames"][0]),
        )
        firsts[seed] = [seen[step] for step in range(6)]
        assert len(set(firsts[seed])) > 2
    assert firsts[0] != firsts[1]


def test_f_rts_is_fused_by_the_paper_and_left_in_place_by_the_release(
    pipeline: XNeMoPipeline, drawn: np.ndarray, motion: MotionClip
) -> None:
    moved = replace(motion, boxes=motion.boxes + torch.tensor([0.3, -0.2, 0.4]))
    assert torch.equal(sample(pipeline, drawn, motion), sample(pipeline, drawn, moved))
    here, there = (sample(pipeline, drawn, clip, sampler="paper") for clip in (motion, moved))
    assert not torch.equal(here, there)


def test_given_noise_is_where_the_paper_starts(
    pipeline: XNeMoPipeline, drawn: np.ndarray, motion: MotionClip, noise: Tensor
) -> None:
    seen: list[Tensor] = []
    handle = pipeline.unet.register_forward_pre_hook(lambda net, args: seen.append(args[0]))
    sample(pipeline, drawn, motion, sampler="paper", noise=noise, num_inference_steps=1)
    handle.remove()
    torch.testing.assert_close(seen[0][0], noise[0].transpose(0, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "paper", "window_offsets": OFFSETS}, "window_offsets: only windows in a closed loop"),
        ({"window_offsets": [1, 2]}, r"window_offsets: must be 3 whole numbers .* not \[1, 2\]"),
        ({"window_offsets": [1, 2, -3]}, "window_offsets"),
        ({"noise": torch.zeros(1, 7, 4, 16, 16)}, r"noise: is \(1, 7, 4, 16, 16\), must be \(1, 8, 4, 16, 16\)"),
        ({"height": 16}, "too small for a blurred start"),
        ({"height": 0}, "multiples of 4"),
        ({"window": 4, "overlap": 4}, "overlap"),
        ({"num_inference_steps": 0}, "steps=0"),
        ({"sampler": "official"}, "sampler may be"),
        ({"select": 1}, "no choice of faces"),
        ({"decode_chunk": 5}, "latents are not decoded"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    pipeline: XNeMoPipeline, drawn: np.ndarray, motion: MotionClip, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(XNeMoError, match=message):
        sample(pipeline, drawn, motion, **options)


def test_a_portrait_with_a_face_takes_no_second_one(
    pipeline: XNeMoPipeline, drawn: np.ndarray, motion: MotionClip
) -> None:
    with pytest.raises(XNeMoError, match="reference_face"):
        pipeline(PortraitPictures(drawn[0], drawn[1]), motion, reference_face=drawn[1])


def test_ready_crops_become_latents_as_the_release_makes_them(pipeline: XNeMoPipeline) -> None:
    crops = np.random.default_rng(2).integers(0, 256, (20, 50, 36, 3), dtype=np.uint8)
    motion = pipeline.encode_motion_crops(crops)
    squeezed = [np.array(Image.fromarray(crop).resize((32, 32), Image.Resampling.LANCZOS)) for crop in crops]
    with torch.no_grad():
        expected = pipeline.motion_encoder.encode(torch.tensor(np.stack(squeezed)).permute(0, 3, 1, 2) / 127.5 - 1)
    torch.testing.assert_close(motion.latents, expected, atol=1e-5, rtol=1e-5)
    assert motion.boxes.tolist() == [[0, 0, 1]] * 20
    assert (motion.fps, motion.encoder_id) == (25.0, pipeline.encoder_id)
    listed = pipeline.encode_motion_crops([Image.fromarray(crop) for crop in crops], fps=30)
    assert torch.equal(listed.latents, motion.latents) and listed.fps == 30
    with pytest.raises(XNeMoError, match="no face crops"):
        pipeline.encode_motion_crops([])


def test_the_blur_is_nearly_flat_and_mirrored() -> None:
    latents = torch.randn(2, 4, 9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    planes = [[gaussian_filter(plane, 18, radius=4, mode="mirror") for plane in item] for item in latents.numpy()]
    torch.testing.assert_close(blurred(latents), torch.tensor(np.array(planes)), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(blurred(torch.ones(1, 4, 5, 5)), torch.ones(1, 4, 5, 5))


def test_the_image_token_shows_the_whole_ready_crop_whatever_the_results_size() -> None:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
        projection_dim=8,
    )
    encoder = CLIPVisionModelWithProjection(config).eval()
    extractor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    picture = np.random.default_rng(3).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    squeezed = np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BICUBIC)) / 255.0
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    pixels = torch.tensor((squeezed - mean) / std).float().permute(2, 0, 1)[None]
    parts = build_pipeline(animator_config("tiny")).components
    pipe = XNeMoPipeline(**parts | {"image_encoder": encoder, "feature_extractor": extractor}, image_size=64)
    pictures = PortraitPictures(picture, picture[:32, :32])
    with torch.no_grad():
        expected = encoder(pixels).image_embeds[:, None]
        ours = image_token(encoder, extractor, picture, torch.device("cpu"))
        token = pipe.portrait_conditions(pictures, size=(48, 32)).image_embeds
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(token, ours)


def test_release_frames_are_decoded_in_chunks_of_25_and_cut_off_to_levels(
    pipeline: XNeMoPipeline, drawn: np.ndarray
) -> None:
    temporal = build_autoencoder(
        AutoencoderConfig(temporal=True, block_out_channels=[32, 32, 32], layers_per_block=1, scaling_factor=0.18215)
    )
    torch.manual_seed(3)
    shake(temporal)
    pipe = XNeMoPipeline(**pipeline.components | {"vae": temporal}, image_size=32)
    pipe.set_progress_bar_config(disable=True)
    crops = np.random.default_rng(4).integers(0, 256, (27, 32, 32, 3), dtype=np.uint8)
    options: dict[str, Any] = {
        "sampler": "release",
        "num_inference_steps": 1,
        "guidance_scale": 1.0,
        "reference_face": drawn[1],
    }
    motion = pipe.encode_motion_crops(crops)
    latents = pipe(drawn[0], motion, output_type="latent", **options).frames[0]
    frames = pipe(drawn[0], motion, **options).frames
    with torch.no_grad():
        parts = [temporal.decode(part / 0.18215, num_frames=len(part)).sample for part in latents.split(25)]
    levels = ((torch.cat(parts) / 2 + 0.5).clamp(0, 1) * 255).numpy().astype(np.uint8).transpose(0, 2, 3, 1)
    assert np.array_equal(frames, levels)
    assert not np.array_equal(frames, to_uint8(torch.cat(parts)))
