"""The pipeline at the tiny size: real clip, real portrait, random weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from animator.builders import animator_config, build_animator, build_pipeline
from animator.conditions import own_motion
from animator.controls.motion_attention import MotionTokens
from animator.errors import XNeMoError
from animator.face import FaceDetector
from animator.guidance import GuidedDenoiser
from animator.image import read_image, write_image
from animator.models.identity import encoder_id
from animator.motion_clip import MotionClip
from animator.pipeline import XNeMoPipeline
from animator.portrait import PortraitPictures, portrait_pictures
from animator.windows import FrameNoise, plan_windows
from tests.animator.tiny import shake

STEPS = 3


@pytest.fixture(scope="module")
def pipeline() -> XNeMoPipeline:
    pipe = build_pipeline(animator_config("tiny"))
    for net in (pipe.unet, pipe.reference_net, pipe.gan_head):
        shake(net)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def detector() -> Iterator[FaceDetector]:
    with FaceDetector() as made:
        yield made


@pytest.fixture(scope="module")
def pictures() -> PortraitPictures:
    drawn = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    return portrait_pictures(drawn[0], (64, 64), 32, reference_face=drawn[1])


def motion_of(pipeline: XNeMoPipeline, frames: int) -> MotionClip:
    generator = torch.Generator().manual_seed(5)
    boxes = torch.tensor([[0.0, 0.0, 1.0]]) + 0.1 * torch.rand(frames, 3, generator=generator)
    return MotionClip(torch.randn(frames, 512, generator=generator), boxes, 25.0, pipeline.encoder_id)


def test_same_seed_same_frames_and_other_seed_others(pipeline: XNeMoPipeline, pictures: PortraitPictures) -> None:
    motion = motion_of(pipeline, 5)
    first, again, other = (
        pipeline(pictures, motion, num_inference_steps=STEPS, seed=seed).frames for seed in (7, 7, 8)
    )
    assert first.shape == (5, 64, 64, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_streamed_windows_equal_denoising_the_whole_clip_step_by_step(
    pipeline: XNeMoPipeline, pictures: PortraitPictures
) -> None:
    """The wavefront against a sweep written out with diffusers' scheduler."""
    motion = motion_of(pipeline, 20)
    streamed = pipeline(
        pictures, motion, num_inference_steps=STEPS, window=8, overlap=2, seed=1, output_type="latent"
    ).frames
    with torch.no_grad():
        tokens = pipeline.motion_encoder.fuse(motion.latents, motion.boxes)
        control = MotionTokens(tokens, own_motion(pipeline.motion_encoder, pictures.face, torch.device("cpu")))
        denoise = GuidedDenoiser(pipeline.unet, pipeline.portrait_conditions(pictures), control, 4.5)
        latents = FrameNoise(1, (4, 16, 16))(range(20))
        pipeline.scheduler.set_timesteps(STEPS)
        for timestep in pipeline.scheduler.timesteps:
            total, votes = torch.zeros_like(latents), torch.zeros(20, 1, 1, 1)
            for part in plan_windows(20, 8, 2):
                frames = slice(part.start, part.stop)
                total[frames] += denoise(latents[frames], timestep, part)
                votes[frames] += 1
            latents = pipeline.scheduler.step(total / votes, timestep, latents).prev_sample
    assert streamed.shape == (1, 20, 4, 16, 16)
    torch.testing.assert_close(streamed[0], latents, atol=1e-5, rtol=1e-5)


def test_streamed_decode_equals_full_decode(pipeline: XNeMoPipeline, pictures: PortraitPictures) -> None:
    motion = motion_of(pipeline, 20)
    options = {"num_inference_steps": 2, "window": 8, "overlap": 2}
    chunks = list(pipeline.stream(pictures, motion, decode_chunk=5, **options))
    assert [len(chunk) for chunk in chunks] == [5, 5, 5, 5]
    whole = pipeline(pictures, motion, **options).frames
    # Another batch size may round one level differently.
    assert np.abs(np.concatenate(chunks).astype(int) - whole).max() <= 1


def test_first_frames_leave_before_the_last_ones_are_begun(pipeline: XNeMoPipeline, pictures: PortraitPictures) -> None:
    seen: list[int] = []
    stream = pipeline.stream(
        pictures,
        motion_of(pipeline, 80),
        num_inference_steps=2,
        window=8,
        overlap=2,
        callback_on_step_end=lambda pipe, count, timestep, told: seen.append(told["frames"][1]),
    )
    next(stream)
    assert max(seen) < 40
    stream.close()


def test_two_streams_of_one_pipeline_do_not_disturb_each_other(
    pipeline: XNeMoPipeline, pictures: PortraitPictures
) -> None:
    motion = motion_of(pipeline, 30)
    options = {"window": 8, "overlap": 2}
    alone = torch.cat(list(pipeline.stream_latents(pictures, motion, num_inference_steps=4, **options)))
    first = pipeline.stream_latents(pictures, motion, num_inference_steps=4, **options)
    pieces = [next(first)]
    next(pipeline.stream_latents(pictures, motion, num_inference_steps=2, **options))
    assert torch.equal(torch.cat([*pieces, *first]), alone)


def test_output_types(pipeline: XNeMoPipeline, pictures: PortraitPictures) -> None:
    motion = motion_of(pipeline, 2)
    images = pipeline(pictures, motion, num_inference_steps=1, output_type="pil").frames
    assert [image.size for image in images] == [(64, 64)] * 2
    with pytest.raises(ValueError, match="output_type"):
        pipeline(pictures, motion, output_type="gif")


def test_ready_crops_may_have_any_shape_that_the_autoencoder_takes(
    pipeline: XNeMoPipeline, pictures: PortraitPictures
) -> None:
    frames = pipeline(
        Image.fromarray(pictures.image),
        motion_of(pipeline, 2),
        reference_face=pictures.face,
        num_inference_steps=1,
        height=48,
        width=64,
    ).frames
    assert frames.shape == (2, 48, 64, 3)


def test_reference_precision_is_an_option_that_shows(pipeline: XNeMoPipeline, pictures: PortraitPictures) -> None:
    motion = motion_of(pipeline, 2)
    exact, rounded = (
        pipeline(pictures, motion, num_inference_steps=2, reference_precision=precision, output_type="latent").frames
        for precision in (None, "float16")
    )
    assert 0 < (exact - rounded).norm() / exact.norm() < 1e-2
    with pytest.raises(ValueError, match="reference_precision"):
        pipeline(pictures, motion, reference_precision="int8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 62}, "multiples of 4"),
        ({"window": 40}, "at most 32"),
        ({"window": 8, "overlap": 8}, "overlap"),
    ],
)
def test_settings_the_model_cannot_take_are_named(
    pipeline: XNeMoPipeline, pictures: PortraitPictures, options: dict[str, int], message: str
) -> None:
    with pytest.raises(XNeMoError, match=message):
        pipeline(pictures, motion_of(pipeline, 2), **options)


def test_motion_of_another_encoder_is_refused(pipeline: XNeMoPipeline, pictures: PortraitPictures) -> None:
    foreign = replace(motion_of(pipeline, 2), encoder_id="0123456789abcdef")
    for render in (pipeline, pipeline.preview):
        with pytest.raises(XNeMoError, match=f"0123456789abcdef.*{pipeline.encoder_id}"):
            render(pictures, foreign)


def test_preview_draws_every_frame(pipeline: XNeMoPipeline, pictures: PortraitPictures) -> None:
    motion = motion_of(pipeline, 20)
    frames = pipeline.preview(pictures, motion).frames
    assert frames.shape == (20, 64, 64, 3)
    assert np.array_equal(frames, np.concatenate(list(pipeline.stream_preview(pictures, motion))))
    assert not np.array_equal(frames[0], frames[1])


def test_missing_renderers_are_named(pipeline: XNeMoPipeline, pictures: PortraitPictures) -> None:
    bare = XNeMoPipeline(motion_encoder=pipeline.motion_encoder, image_size=64)
    motion = motion_of(pipeline, 2)
    with pytest.raises(XNeMoError, match="no diffusion"):
        bare(pictures, motion)
    with pytest.raises(XNeMoError, match="no GAN head"):
        bare.preview(pictures, motion)


def test_real_clip_and_portrait(
    pipeline: XNeMoPipeline, clip: Path, portrait: Path, detector: FaceDetector, tmp_path: Path
) -> None:
    motion = pipeline.encode_motion(clip, detector=detector)
    assert len(motion) == 75
    assert motion.encoder_id == pipeline.encoder_id
    assert motion.source == clip.name
    torch.testing.assert_close(motion.boxes[0], torch.tensor([0.0, 0.0, 1.0]), atol=1e-5, rtol=0)
    assert motion.latents.std(0).max() > 0
    motion.save(tmp_path / "a.motion.safetensors")
    loaded = MotionClip.load(tmp_path / "a.motion.safetensors", encoder_id=pipeline.encoder_id)
    preview = pipeline.preview(portrait, loaded, detector=detector).frames
    assert preview.shape == (75, 64, 64, 3)
    frames = pipeline(
        read_image(portrait), loaded[:3], num_inference_steps=1, guidance_scale=1.0, detector=detector
    ).frames
    assert frames.shape == (3, 64, 64, 3)


def test_every_kind_of_portrait_gives_the_same_pictures(portrait: Path, detector: FaceDetector) -> None:
    image = read_image(portrait)
    kinds = (portrait, str(portrait), image, Image.fromarray(image), Image.fromarray(image).convert("RGBA"))
    made = [portrait_pictures(kind, (64, 64), 32, detector=detector) for kind in kinds]
    for other in made[1:]:
        assert np.array_equal(made[0].image, other.image)
        assert np.array_equal(made[0].face, other.face)


def test_a_portrait_without_a_face_is_named(tmp_path: Path, detector: FaceDetector) -> None:
    path = tmp_path / "wall.png"
    write_image(path, np.full((64, 64, 3), 90, dtype=np.uint8))
    with pytest.raises(XNeMoError, match=r"wall\.png: no face found"):
        portrait_pictures(path, (64, 64), 32, detector=detector)


def test_a_saved_pipeline_comes_back_in_a_fresh_process(
    pipeline: XNeMoPipeline, pictures: PortraitPictures, tmp_path: Path
) -> None:
    folder = tmp_path / "weights"
    pipeline.save_pretrained(folder)
    motion_of(pipeline, 3).save(tmp_path / "m.motion.safetensors")
    np.savez(tmp_path / "pictures.npz", **asdict(pictures))
    code = f"""
import numpy as np
from animator.motion_clip import MotionClip
from animator.pipeline import XNeMoPipeline
from animator.portrait import PortraitPictures
pipeline = XNeMoPipeline.from_pretrained({str(folder)!r})
assert pipeline.config.default_renderer == "diffusion" and pipeline.config.image_size == 64
motion = MotionClip.load({str(tmp_path / "m.motion.safetensors")!r}, encoder_id=pipeline.encoder_id)
pictures = PortraitPictures(**np.load({str(tmp_path / "pictures.npz")!r}))
np.save({str(tmp_path / "frames.npy")!r}, pipeline(pictures, motion, num_inference_steps=2, seed=3).frames)
"""
    done = subprocess.run([sys.executable, "-W", "error::FutureWarning", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "not expected" not in done.stderr
    ours = pipeline(pictures, motion_of(pipeline, 3), num_inference_steps=2, seed=3).frames
    assert np.abs(np.load(tmp_path / "frames.npy").astype(int) - ours).max() <= 1


def test_schedulers_that_remember_steps_are_refused(pipeline: XNeMoPipeline, pictures: PortraitPictures) -> None:
    remembering = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    other = XNeMoPipeline(**pipeline.components | {"scheduler": remembering}, image_size=64)
    with pytest.raises(XNeMoError, match="DPMSolverMultistepScheduler"):
        other(pictures, motion_of(pipeline, 2))


def test_an_image_encoder_gives_the_portraits_token(pipeline: XNeMoPipeline, pictures: PortraitPictures) -> None:
    config = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
        projection_dim=8,
    )
    torch.manual_seed(0)
    encoder = CLIPVisionModelWithProjection(config).eval()
    extractor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    parts = pipeline.components | {"image_encoder": encoder, "feature_extractor": extractor}
    with_token = XNeMoPipeline(**parts, image_size=64)
    with_token.set_progress_bar_config(disable=True)
    motion = motion_of(pipeline, 2)
    options = {"num_inference_steps": 1, "output_type": "latent"}
    assert not torch.equal(with_token(pictures, motion, **options).frames, pipeline(pictures, motion, **options).frames)


def test_half_precision_stays_close(pictures: PortraitPictures, pipeline: XNeMoPipeline) -> None:
    half = build_pipeline(animator_config("tiny"))
    for name, net in half.components.items():
        if isinstance(net, torch.nn.Module):
            net.load_state_dict(getattr(pipeline, name).state_dict())
    half.to(torch.bfloat16).set_progress_bar_config(disable=True)
    motion = motion_of(pipeline, 2)
    # Without guidance, which multiplies the small difference of two random predictions, rounding included.
    options = {"num_inference_steps": 2, "guidance_scale": 1.0, "output_type": "latent"}
    exact, close = (pipe(pictures, motion, **options).frames for pipe in (pipeline, half))
    assert close.dtype == torch.bfloat16
    assert (close.float() - exact).norm() / exact.norm() < 0.02
    assert half.preview(pictures, motion).frames.shape == (2, 64, 64, 3)


def test_the_encoder_id_follows_the_weights_and_not_the_number_format(pipeline: XNeMoPipeline) -> None:
    encoder = build_animator(animator_config("tiny")).motion_encoder
    assert encoder_id(encoder) == pipeline.encoder_id
    assert encoder_id(encoder.to(torch.bfloat16)) == pipeline.encoder_id
    with torch.no_grad():
        next(encoder.parameters()).mul_(1.1)
    assert encoder_id(encoder) != pipeline.encoder_id
