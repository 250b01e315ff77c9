"""What streams is what comes offline: tokens, seam, continuation and pictures, in memory that does not grow."""

from __future__ import annotations

import gc
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import cpu_offload_with_hook
from torch import nn

from animator.builders import animator_config, build_pipeline
from animator.errors import XNeMoError
from animator.face import FaceDetector
from animator.live_face import LiveFace
from animator.motion_clip import MotionClip
from animator.pipeline import XNeMoPipeline
from animator.video import VideoReader
from motion_gpt.live import LiveLoop, LiveMotion
from motion_gpt.outpainting import continue_motion
from motion_gpt.settings import Sampling
from motion_tokenizer.tokenizer import MotionTokenizer
from tests.motion_gpt.talking import speaker_of, speakers
from tests.motion_tokenizer import tiny


def heard(live: LiveMotion, clip: MotionClip) -> LiveMotion:
    for frame in range(len(clip)):
        live.push(clip.latents[frame : frame + 1], clip.boxes[frame : frame + 1])
    return live


@pytest.mark.parametrize(
    "overrides", [(), ("tokenizer.search=4", "tokenizer.search_paths=3", "tokenizer.search_delay=2")]
)
@pytest.mark.parametrize("frames", [4, 41, 42, 43, 44, 203])
def test_a_live_continuation_is_the_offline_one(frames: int, overrides: tuple[str, ...]) -> None:
    """Whatever frame the driving stops at, and for longer than the generator sees (29 tokens are 116 frames)."""
    tokenizer, generator = speakers(*overrides)
    clip = tiny.motion(frames)
    live = heard(LiveMotion(generator, tokenizer, Sampling(seed=4)), clip)
    pieces = list(islice(live.go_on(), 12))
    (offline,) = continue_motion(generator, tokenizer, clip, 48, Sampling(seed=4))
    torch.testing.assert_close(
        torch.cat([latents for latents, _ in pieces]), offline.latents[frames:], rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(torch.cat([boxes for _, boxes in pieces]), offline.boxes[frames:], rtol=1e-4, atol=1e-4)


def test_memory_does_not_grow_with_the_driving() -> None:
    tokenizer, generator = speakers()
    live = LiveMotion(generator, tokenizer, Sampling())

    def held() -> int:
        gc.collect()
        return sum(thing.nbytes for thing in gc.get_objects() if type(thing) is torch.Tensor)

    heard(live, tiny.motion(300))  # 250 frames are remembered, 29 tokens of each grid
    early = held()
    heard(live, tiny.motion(56, seed=1))  # a whole number of slides: the windows hold as many tokens as before
    assert held() == early


def test_a_driving_shorter_than_a_token_cannot_be_continued() -> None:
    tokenizer, generator = speakers()
    with pytest.raises(XNeMoError, match="stopped after 3 frames, but a token stands for 4"):
        next(heard(LiveMotion(generator, tokenizer, Sampling()), tiny.motion(3)).go_on())


@pytest.fixture(scope="module")
def pipeline() -> XNeMoPipeline:
    made = build_pipeline(animator_config("tiny"), seed=0)
    made.set_progress_bar_config(disable=True)
    return made


def test_pictures_in_pictures_out_without_a_jump(pipeline: XNeMoPipeline, clip: Path, portrait: Path) -> None:
    """A real clip drives a portrait picture by picture, stops, and goes on: the same pictures as in one go."""
    tokenizer = MotionTokenizer(tiny.model(), pipeline.encoder_id)
    generator = speaker_of(tokenizer)
    preview = pipeline.preview_of(portrait)
    frames, more = 30, 16
    with VideoReader(clip) as reader, FaceDetector() as detector:
        pictures = next(reader.chunks(frames))
        loop = LiveLoop(preview, LiveMotion(generator, tokenizer, Sampling()), LiveFace(pipeline, detector))
        shown = [loop.drive(picture) for picture in pictures]
        following = list(islice(loop.go_on(), more // 4))
        face = LiveFace(pipeline, detector)
        seen = [motion for motion in map(face.see, pictures) if motion is not None]
    assert len(seen) == frames and all(picture is not None for picture in shown)
    driving = MotionClip(
        torch.cat([latent for latent, _ in seen]), torch.cat([box for _, box in seen]), 25.0, pipeline.encoder_id
    )
    assert driving.boxes[0].tolist() == [0.0, 0.0, 1.0]
    (offline,) = continue_motion(generator, tokenizer, driving, more, Sampling())
    whole = preview.draw(offline.latents, offline.boxes).astype(int)
    live = np.concatenate([np.stack([picture for picture in shown if picture is not None]), *following]).astype(int)
    assert live.shape == whole.shape == (frames + more, 64, 64, 3)
    assert np.abs(live - whole).max() <= 1


def test_live_motion_is_close_to_that_of_the_whole_clip(pipeline: XNeMoPipeline, clip: Path) -> None:
    """Smoothing from the past alone lags, but does not wander off."""
    with VideoReader(clip) as reader, FaceDetector() as detector:
        part = reader.part(0, 40)
        offline = pipeline.encode_motion(part, detector=detector)
        face = LiveFace(pipeline, detector)
        boxes = torch.cat([seen[1] for picture in next(part.chunks(40)) if (seen := face.see(picture)) is not None])
    assert (boxes - offline.boxes).abs().max() < 0.06
    assert face.see(np.zeros_like(pipeline_picture(clip))) is None


def test_pictures_go_where_an_offloaded_pipeline_computes(clip: Path) -> None:
    """Its weights rest on the CPU; on `meta`, where they are sent, nothing has a value that could be brought back."""
    offloaded = build_pipeline(animator_config("tiny"), seed=0)
    for part in offloaded.components.values():
        if isinstance(part, nn.Module):
            cpu_offload_with_hook(part, torch.device("meta"))
    assert (offloaded.device.type, offloaded.execution_device.type) == ("cpu", "meta")
    with FaceDetector() as detector, pytest.raises(NotImplementedError, match="meta tensor"):
        LiveFace(offloaded, detector).see(pipeline_picture(clip))


def pipeline_picture(clip: Path) -> np.ndarray:
    with VideoReader(clip) as reader:
        return reader.frame(0)


def test_pictures_need_a_face_reader(pipeline: XNeMoPipeline, portrait: Path) -> None:
    tokenizer, generator = speakers()
    loop = LiveLoop(pipeline.preview_of(portrait), LiveMotion(generator, tokenizer, Sampling()))
    with pytest.raises(ValueError, match="LiveFace"):
        loop.drive(np.zeros((64, 64, 3), np.uint8))
