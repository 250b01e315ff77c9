"""Self- and cross-reenactment on a real clip: a perfect renderer scores perfectly, a copier as the baseline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from animator.builders import animator_config, build_pipeline
from animator.errors import XNeMoError
from animator.evaluation.identity import FaceIdentity
from animator.evaluation.landmarks import FaceLandmarker
from animator.evaluation.metrics import PictureMetrics
from animator.evaluation.protocols import (
    Driver,
    cross_reenactment,
    first_frame_pictures,
    read_driver,
    self_reenactment,
)
from animator.evaluation.report import CrossEntry, SelfEntry, cross_report, markdown, self_report
from animator.face import FaceDetector
from animator.motion_clip import MotionClip
from animator.pipeline import XNeMoPipeline
from animator.pixels import from_uint8
from animator.portrait import PortraitPictures, portrait_pictures
from animator.video import VideoReader
from animator.visuals import Row, contact_sheet

FRAMES = 20  # more than one chunk


@pytest.fixture(scope="module")
def pipeline() -> XNeMoPipeline:
    made = build_pipeline(animator_config("tiny"))
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def driver(pipeline: XNeMoPipeline, clip: Path, landmarker: FaceLandmarker) -> Driver:
    return read_driver(pipeline, clip, landmarker, frames=FRAMES)


@pytest.fixture(scope="module")
def metrics(models: Path) -> PictureMetrics:
    return PictureMetrics(models / "lpips_alexnet.safetensors")


@pytest.fixture(scope="module")
def identity(models: Path) -> FaceIdentity:
    return FaceIdentity(models / "dlib_face_resnet_fp16.safetensors")


def test_the_whole_first_frame_is_the_portrait_and_its_motion_the_clips_first(
    pipeline: XNeMoPipeline, driver: Driver
) -> None:
    pictures = first_frame_pictures(pipeline, driver)
    side = pipeline.config.image_size
    assert pictures.image.shape == (side, side, 3)
    assert driver.motion.boxes[0].tolist() == [0, 0, 1]
    # The box that the head moves is the face's own, wherever in the picture it is.
    seen = FaceDetector().detect(driver.first)[0].box
    unit = 2 / driver.first.shape[1]
    middle = ((seen[0] + seen[2]) / 2 * unit - 1, (seen[1] + seen[3]) / 2 * unit - 1)
    assert pictures.box == pytest.approx((*middle, max(seen[2] - seen[0], seen[3] - seen[1]) * unit), abs=0.06)
    with torch.no_grad():
        own = pipeline.motion_encoder.encode(from_uint8(pictures.face[None]))
    torch.testing.assert_close(own, driver.motion.latents[:1], atol=1e-5, rtol=1e-4)


def test_a_perfect_renderer_scores_0_1_0_and_follows(
    pipeline: XNeMoPipeline, driver: Driver, metrics: PictureMetrics, landmarker: FaceLandmarker
) -> None:
    def perfect(pictures: PortraitPictures, motion: MotionClip) -> Iterator[np.ndarray]:
        with VideoReader(driver.path) as reader:
            yield from reader.chunks(7, stop=len(motion))

    result = self_reenactment(pipeline, driver, perfect, metrics, landmarker)
    assert result.errors.means() == {"l1": 0, "ssim": 1, "lpips": 0}
    assert len(result.errors) == len(result.copying) == FRAMES - 1  # the first frame is given away
    assert result.following["mouth"].correlation == pytest.approx(1) and result.missing == 0
    assert result.copying.means()["l1"] > 0 and result.copying.means()["ssim"] < 1
    np.testing.assert_array_equal(result.pictures, driver.pictures)


def test_a_copier_scores_as_the_baseline_and_does_not_follow(
    pipeline: XNeMoPipeline, driver: Driver, metrics: PictureMetrics, landmarker: FaceLandmarker
) -> None:
    def copier(pictures: PortraitPictures, motion: MotionClip) -> Iterator[np.ndarray]:
        yield np.repeat(driver.first[None], len(motion), axis=0)

    result = self_reenactment(pipeline, driver, copier, metrics, landmarker)
    assert result.errors.means() == result.copying.means()
    assert {value.correlation for value in result.following.values()} <= {0.0}


def test_a_renderer_that_loses_frames_is_found_out(
    pipeline: XNeMoPipeline, driver: Driver, metrics: PictureMetrics, landmarker: FaceLandmarker
) -> None:
    def short(pictures: PortraitPictures, motion: MotionClip) -> Iterator[np.ndarray]:
        yield np.repeat(driver.first[None], 3, axis=0)

    with pytest.raises(ValueError):
        self_reenactment(pipeline, driver, short, metrics, landmarker)


def test_cross_reenactment_tells_the_portrait_from_the_driver(
    driver: Driver, landmarker: FaceLandmarker, identity: FaceIdentity, portrait_face: np.ndarray
) -> None:
    still = portrait_pictures(portrait_face, (256, 256), 32, reference_face=portrait_face)

    def keeps(pictures: PortraitPictures, motion: MotionClip) -> Iterator[np.ndarray]:
        yield np.repeat(pictures.image[None], len(motion), axis=0)

    def leaks(pictures: PortraitPictures, motion: MotionClip) -> Iterator[np.ndarray]:
        with VideoReader(driver.path) as reader:
            yield from reader.chunks(stop=len(motion))

    kept, leaked = (cross_reenactment(driver, still, draw, landmarker, identity) for draw in (keeps, leaks))
    assert kept.likeness.closer_to_portrait == 1 and kept.likeness.to_portrait == pytest.approx(0, abs=1e-4)
    assert leaked.likeness.closer_to_portrait == 0 and leaked.likeness.to_driver == pytest.approx(0, abs=1e-4)
    assert kept.following["mouth"].correlation == 0 and leaked.following["mouth"].correlation == pytest.approx(1)
    assert kept.portrait_found and kept.likeness.frames == len(driver.sampled)


def test_a_real_pipeline_is_measured_and_reported(
    pipeline: XNeMoPipeline,
    driver: Driver,
    metrics: PictureMetrics,
    landmarker: FaceLandmarker,
    identity: FaceIdentity,
    portrait_face: np.ndarray,
) -> None:
    still = portrait_pictures(portrait_face, (64, 64), 32, reference_face=portrait_face)
    own = SelfEntry(driver, self_reenactment(pipeline, driver, pipeline.stream_preview, metrics, landmarker))
    result = cross_reenactment(driver, still, pipeline.stream_preview, landmarker, identity)
    report = {
        "about": {"weights": "tiny"},
        "self": self_report([own]),
        "cross": cross_report([CrossEntry(driver, "astronaut.png", "photo", result)]),
        "skipped": {},
    }
    again = json.loads(json.dumps(report, allow_nan=False))
    assert again == report
    assert again["self"]["mean"]["l1"] == pytest.approx(own.result.errors.means()["l1"])
    text = markdown(report)
    assert driver.path.name in text and f"{own.result.errors.means()['lpips']:.3f}" in text and "astronaut.png" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| " + driver.path.name)}
    assert len(widths) == 2  # one table for each experiment
    sheet = contact_sheet([Row("driver", driver.pictures), Row("result", result.pictures)], side=32)
    assert sheet.shape[1] > 16 * 32


def test_a_clip_of_one_frame_is_refused(pipeline: XNeMoPipeline, clip: Path, landmarker: FaceLandmarker) -> None:
    with pytest.raises(XNeMoError, match="too few"):
        read_driver(pipeline, clip, landmarker, frames=1)
