"""Control by driving pictures: landmarks lay them on the portrait, two ControlNets add what they show."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from animator import controls
from animator.alignment import Alignment, best_frame, bridged, patches
from animator.builders import animator_config, build_pipeline, check_architecture
from animator.controls import build_control
from animator.controls.control import Condition, PreparedControl, Setting, Step
from animator.controls.control_nets import ControlNets
from animator.driving_pictures import DrivingPictures, Hints, portrait_points
from animator.errors import XNeMoError
from animator.face import FaceDetector
from animator.guidance import GuidedDenoiser
from animator.motion_clip import MotionClip
from animator.pipeline import XNeMoPipeline
from animator.portrait import PortraitPictures, portrait_pictures
from animator.sampler import load_sampler
from animator.video import VideoReader
from tests.animator.tiny import shake

FACE = np.array([[20, 30], [44, 30], [32, 42], [32, 52], [10, 34], [54, 34]], np.float32)


@pytest.fixture(scope="module")
def detector() -> Iterator[FaceDetector]:
    with FaceDetector() as made:
        yield made


@pytest.fixture(scope="module")
def pipeline() -> XNeMoPipeline:
    pipe = build_pipeline(animator_config("xportrait-tiny"))
    for net in (pipe.unet, pipe.reference_net, pipe.control):
        shake(net)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def driving(pipeline: XNeMoPipeline, clip: Path, detector: FaceDetector) -> DrivingPictures:
    with VideoReader(clip) as reader:
        return pipeline.read_driving(reader.part(0, 12), detector=detector)


@pytest.fixture(scope="module")
def pictures(portrait: Path, detector: FaceDetector) -> PortraitPictures:
    return portrait_pictures(portrait, (64, 64), 64, detector=detector)


def test_the_box_of_the_driving_landmarks_comes_to_lie_on_the_portraits() -> None:
    driven = FACE * [2.0, 3.0] + [100, -20]
    alignment = Alignment.between(driven.astype(np.float32), FACE)
    assert np.allclose(alignment.moved(driven), FACE, atol=1e-3)
    frame = np.zeros((300, 300, 3), np.uint8)
    frame[100:130, 150:170] = 255  # of which the map makes a square of 10
    drawn = alignment.picture(frame, 64, 64)
    lit = np.argwhere(drawn[..., 0] > 127)
    assert lit.min(axis=0).tolist() == [40, 25] and lit.max(axis=0).tolist() == [49, 34]


def test_the_best_frame_has_the_portraits_pose_wherever_and_however_large_it_is() -> None:
    turned = FACE.copy()
    turned[2] += [9, 0]  # the nose, as in a head that looks aside
    clip = np.stack([turned, np.full_like(FACE, np.nan), FACE * 3 + 50, turned * 2])
    assert best_frame(clip, FACE) == 2
    assert best_frame(clip, turned + 7) in (0, 3)
    filled = bridged(clip)
    assert np.allclose(filled[1], (clip[0] + clip[2]) / 2)


def test_patches_show_eyes_and_mouth_in_place_and_nothing_else() -> None:
    picture = np.random.default_rng(0).integers(1, 255, (64, 64, 3), dtype=np.uint8)
    shown = patches(picture, FACE)
    seen = shown.any(axis=2)
    for x, y in ((20, 30), (44, 30), (32, 52)):
        assert seen[y - 8 : y + 8, x - 8 : x + 8].all()
    assert seen.sum() == 3 * 16 * 16
    assert np.array_equal(shown[seen], picture[seen])
    outside = FACE - np.array([100, 0])  # held inside the picture
    assert patches(picture, outside.astype(np.float32))[22:38, :16].any(axis=2).all()


def test_a_real_face_is_laid_on_a_real_portrait(
    driving: DrivingPictures, pictures: PortraitPictures, detector: FaceDetector, pipeline: XNeMoPipeline
) -> None:
    large = replace(pictures, image=np.kron(pictures.image, np.ones((4, 4, 1), np.uint8)))
    setting = Setting(large, 256, 256, load_sampler("xportrait"), detector, torch.device("cpu"), torch.float32)
    own = portrait_points(setting)
    hints = Hints(driving, setting)
    assert 0 <= hints.best < 12
    faces, local = hints.of([hints.best])
    found = np.array(detector.detect(faces[0])[0].points)
    assert np.abs(found[:4] - own[:4]).max() < 25  # eyes, nose and mouth, of a picture of 256
    assert 0 < local.any(axis=3).mean() <= 3 / 16
    named = Hints(replace(driving, best=3), setting)
    assert named.best == 3


@torch.no_grad()
def test_guidance_has_neither_reference_nor_control_in_its_negative_branch(pipeline: XNeMoPipeline) -> None:
    drawn = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    portrait = pipeline.portrait_conditions(PortraitPictures(drawn, drawn))
    generator = torch.Generator().manual_seed(0)
    face, local = torch.rand(2, 3, 3, 64, 64, generator=generator) * 2 - 1
    latents, t = torch.randn(3, 4, 16, 16, generator=generator), torch.tensor(400)
    control: ControlNets = pipeline.control

    class Told(PreparedControl):
        def condition(self, step: Step) -> Condition:
            return Condition(residuals=control(step.latents, step.timestep, face, local))

    guided = GuidedDenoiser(pipeline.unet, portrait, Told(), 5.0)(latents, t, range(3))
    sample, prompt = latents.transpose(0, 1)[None], control.prompt
    added = control(latents, t, face, local)
    reference = pipeline.unet.project_reference(pipeline.reference_net(portrait.latents, prompt, t))
    conditional = pipeline.unet(sample, t, prompt, None, reference, residuals=added)
    negative = pipeline.unet(sample, t, prompt, None, None)
    expected = (negative + 5 * (conditional - negative))[0].transpose(0, 1)
    torch.testing.assert_close(guided, expected, atol=1e-4, rtol=1e-4)
    at_rest = pipeline.unet.project_reference(pipeline.reference_net(portrait.latents, prompt))
    assert not torch.allclose(conditional, pipeline.unet(sample, t, prompt, None, at_rest, residuals=added), atol=1e-4)
    for left_out in ((None, local), (face, None)):
        other = pipeline.unet(sample, t, prompt, None, reference, residuals=control(latents, t, *left_out))
        assert not torch.allclose(conditional, other, atol=1e-4)


@torch.no_grad()
def test_frames_see_each_other_in_the_blocks_that_the_release_names(pipeline: XNeMoPipeline) -> None:
    """None in the middle; on the way up a level's last slot works after the upsampling."""
    unet, seen = pipeline.unet, {}
    slots = {name: slot for name, slot in unet.named_modules() if type(slot).__name__ == "MotionSlot"}
    assert set(slots) == {
        *("down_blocks.0.motion_modules.0", "down_blocks.1.motion_modules.0"),
        *(f"up_blocks.{level}.motion_modules.{layer}" for level in (0, 1) for layer in (0, 1)),
    }
    hooks = [
        slot.norm.register_forward_hook(lambda module, given, out, name=name: seen.update({name: out.shape[-1]}))
        for name, slot in slots.items()
    ]
    unet(torch.randn(1, 4, 2, 16, 16), 5, pipeline.control.prompt, None)
    for hook in hooks:
        hook.remove()
    assert [seen[f"up_blocks.0.motion_modules.{layer}"] for layer in (0, 1)] == [8, 16]
    assert [seen[f"up_blocks.1.motion_modules.{layer}"] for layer in (0, 1)] == [16, 16]


def test_windows_and_samplers_are_the_same_and_motion_shows(
    pipeline: XNeMoPipeline, driving: DrivingPictures, pictures: PortraitPictures, detector: FaceDetector
) -> None:
    options = {"sampler": "xportrait", "num_inference_steps": 2, "window": 8, "overlap": 2, "detector": detector}
    chunks = list(pipeline.stream(pictures, driving, decode_chunk=5, **options))
    assert [len(chunk) for chunk in chunks] == [5, 5, 2]
    # Another driving picture, and else the same: the frame changes.
    still = replace(driving, shown=np.zeros(12, np.int64), best=0)
    moving = replace(driving, best=0)
    a, b = (pipeline(pictures, clip, output_type="latent", **options).frames for clip in (still, moving))
    assert torch.allclose(a[0, 0], b[0, 0], atol=0.5) and not torch.allclose(a[0, 5], b[0, 5], atol=1e-4)
    assert len(driving.resample(50.0)) == 24


def test_what_does_not_belong_together_is_named(
    pipeline: XNeMoPipeline, driving: DrivingPictures, pictures: PortraitPictures
) -> None:
    motion = MotionClip(torch.zeros(2, 512), torch.tensor([[0.0, 0.0, 1.0]] * 2), 25.0, "0123456789abcdef", "a.mp4")
    with pytest.raises(XNeMoError, match=r"a\.mp4: these weights are driven by pictures"):
        pipeline(pictures, motion)
    with pytest.raises(XNeMoError, match="no motion latents"):
        pipeline.encode_motion_crops([pictures.face])
    with pytest.raises(XNeMoError, match=r"best_frame=40: .* has frames 0 to 11"):
        pipeline.read_driving(driving.reader, best_frame=40)
    latents = build_pipeline(animator_config("tiny"))
    with pytest.raises(XNeMoError, match="driven by motion latents"):
        latents(pictures, driving)
    with pytest.raises(XNeMoError, match=r"another architecture \(control, max_frames, motion_control"):
        check_architecture(latents, "xportrait-tiny")
    check_architecture(pipeline, "xportrait-tiny")
    with pytest.raises(XNeMoError, match="there are control_nets, motion_attention"):
        build_control(replace(animator_config("tiny"), control="telepathy"))


def test_a_saved_pipeline_comes_back(pipeline: XNeMoPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "weights")
    # Another process has not imported the control, which diffusers does not do either.
    load = f"from animator.pipeline import XNeMoPipeline; XNeMoPipeline.from_pretrained({str(tmp_path / 'weights')!r})"
    done = subprocess.run([sys.executable, "-c", load], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = XNeMoPipeline.from_pretrained(tmp_path / "weights")
    assert again.motion_encoder is None and again.gan_head is None
    for name in ("control", "unet", "reference_net"):
        ours, theirs = getattr(pipeline, name).state_dict(), getattr(again, name).state_dict()
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert again.unet.config.slots_after_upsampling and not again.unet.config.middle_slot


THIRD = '''
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from animator.controls.control import Condition, Control, PreparedControl
from animator.motion_clip import MotionClip


class Brightness(ModelMixin, ConfigMixin, Control):
    """Tokens that say nothing but how far the clip has come."""

    @register_to_config
    def __init__(self, tokens: int = 2, width: int = 16):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(tokens, width))

    def read(self, reader, how):
        raise NotImplementedError

    def check(self, driving):
        return driving

    def prepare(self, driving, setting):
        return Prepared(self.weight)


class Prepared(PreparedControl):
    def __init__(self, weight):
        self.weight = weight

    def condition(self, step):
        frames = torch.tensor(step.frames)[:, None, None] * self.weight
        return Condition(tokens=frames[None].expand(2 if step.guided else 1, -1, -1, -1))


def build(config):
    return Brightness(width=config.unet.motion_token_dim)
'''


def test_a_third_control_is_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: PortraitPictures
) -> None:
    (tmp_path / "brightness.py").write_text(THIRD)
    monkeypatch.setattr(controls, "__path__", [*controls.__path__, str(tmp_path)])
    build_pipeline(replace(animator_config("tiny"), control="brightness")).save_pretrained(tmp_path / "weights")
    pipe = XNeMoPipeline.from_pretrained(tmp_path / "weights")
    shake(pipe.unet)
    assert type(pipe.control).__name__ == "Brightness" and pipe.motion_encoder is None
    motion = MotionClip(torch.zeros(3, 512), torch.tensor([[0.0, 0.0, 1.0]] * 3), 25.0, "0123456789abcdef")
    frames = pipe(pictures, motion, num_inference_steps=1).frames
    assert frames.shape == (3, 64, 64, 3) and not np.array_equal(frames[0], frames[2])
