"""Self- and cross-reenactment on a real clip: a perfect renderer scores perfectly, a copier as the baseline."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from animator.errors import XNeMoError
from animator.evaluation.baselines import COPY_DRIVER, copy_reference, driver_frames, paste_face, result_frames
from animator.evaluation.landmarks import FaceLandmarker, FaceMeasures
from animator.evaluation.networks import NetworkFiles, Networks
from animator.evaluation.observer import Observer
from animator.evaluation.protocols import (
    Driver,
    Subject,
    first_frame_pictures,
    measure,
    own_subject,
    portrait_subject,
    read_driver,
)
from animator.face import FaceDetector
from animator.pipeline import XNeMoPipeline
from animator.pixels import from_uint8
from animator.video import VideoReader
from tests.animator.media import make_video

FRAMES = 20  # more than one chunk


@pytest.fixture(scope="module")
def driver(pipeline: XNeMoPipeline, clip: Path, observer: Observer) -> Driver:
    return read_driver(pipeline, clip, observer, frames=FRAMES)


@pytest.fixture(scope="module")
def own(pipeline: XNeMoPipeline, driver: Driver, observer: Observer) -> Subject:
    return own_subject(pipeline, driver, observer)


@pytest.fixture(scope="module")
def other(pipeline: XNeMoPipeline, portrait: Path, observer: Observer) -> Subject:
    return portrait_subject(pipeline, portrait, observer)


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
        encoded = pipeline.motion_encoder.encode(from_uint8(pictures.face[None]))
    torch.testing.assert_close(encoded, driver.motion.latents[:1], atol=1e-5, rtol=1e-4)


def test_a_perfect_renderer_scores_0_1_0_and_follows(driver: Driver, own: Subject, observer: Observer) -> None:
    with VideoReader(driver.path) as reader:
        result = measure(driver, own, reader.chunks(7, stop=FRAMES), observer, own=True)
    assert result.errors is not None
    assert result.errors.means() == {"l1": 0, "ssim": 1, "lpips": 0}
    assert len(result.errors) == FRAMES - 1  # the first frame is given away
    assert (result.motion.aed, result.motion.apd, result.missing) == (0, 0, 0)
    assert result.following["mouth"].correlation == pytest.approx(1)
    assert result.flicker == pytest.approx(1) and result.jitter.result == result.jitter.driver
    np.testing.assert_array_equal(result.pictures, driver.pictures)
    np.testing.assert_array_equal(result.runs, driver.runs)


def test_frames_in_another_order_are_found_out(driver: Driver, own: Subject, observer: Observer) -> None:
    with VideoReader(driver.path) as reader:
        frames = next(reader.chunks(FRAMES, stop=FRAMES))
    result = measure(driver, own, [frames[::-1].copy()], observer, own=True)
    assert result.errors is not None and result.errors.means()["l1"] > 0
    assert result.motion.aed > 0 and result.following["mouth"].correlation < 0.9


def test_a_copier_keeps_the_portrait_and_does_not_follow(driver: Driver, other: Subject, observer: Observer) -> None:
    result = measure(driver, other, copy_reference(other.still, FRAMES), observer, own=False)
    assert result.errors is None
    assert {value.correlation for value in result.following.values()} <= {0.0}
    assert result.likeness.similarity == pytest.approx(1) and result.likeness.leakage < -0.05
    assert result.likeness.closer_to_portrait == 1 and result.likeness.frames == len(driver.sampled)
    assert result.flicker == 0


def test_copying_the_driver_is_perfect_motion_of_the_wrong_person(
    driver: Driver, other: Subject, observer: Observer
) -> None:
    result = measure(driver, other, driver_frames(driver.path, FRAMES), observer, own=False)
    assert (result.motion.aed, result.motion.apd) == (0, 0), COPY_DRIVER
    assert result.likeness.to_driver_similarity == pytest.approx(1) and result.likeness.leakage > 0.05
    assert result.likeness.closer_to_portrait == 0


def test_a_pasted_face_moves_as_the_driver_at_the_portraits_place(
    driver: Driver, other: Subject, observer: Observer
) -> None:
    pasted = np.concatenate(list(paste_face(driver.path, driver.seen.face, other.still, other.face)))
    assert pasted.shape == (FRAMES, 256, 256, 3)
    x0, y0, x1, y1 = other.face.boxes[0].round().astype(int)
    outside = np.ones((256, 256), bool)
    outside[y0 - 12 : y1 + 12, x0 - 12 : x1 + 12] = False
    assert (pasted[0][outside] == other.still[outside]).all()
    assert np.abs(pasted[0].astype(int) - other.still)[y0:y1, x0:x1].mean() > 10
    result = measure(driver, other, [pasted], observer, own=False)
    assert result.following["mouth"].correlation > 0.9
    copied = measure(driver, other, copy_reference(other.still, FRAMES), observer, own=False)
    assert result.likeness.leakage > copied.likeness.leakage


def test_a_result_without_a_face_is_counted_and_not_dropped(driver: Driver, other: Subject, observer: Observer) -> None:
    grey = np.full((FRAMES, 256, 256, 3), 90, np.uint8)
    result = measure(driver, other, [grey], observer, own=False)
    assert result.missing == FRAMES == result.motion.missing == result.motion.frames
    assert result.motion.aed > 0 and result.likeness.similarity == 0
    assert result.likeness.missing == len(driver.sampled)


@pytest.mark.parametrize("frames", [3, FRAMES + 1])
def test_a_renderer_that_loses_or_adds_frames_is_found_out(
    frames: int, driver: Driver, own: Subject, observer: Observer
) -> None:
    with pytest.raises(ValueError):
        measure(driver, own, copy_reference(own.still, frames), observer, own=True)


class CountingLandmarker(FaceLandmarker):
    """Counts the frames that it looks at."""

    looked_at = 0

    def measure(self, frames: Iterable[np.ndarray]) -> FaceMeasures:
        frames = list(frames)
        self.looked_at += len(frames)
        return super().measure(frames)


def test_the_same_frame_is_looked_at_once(network_files: NetworkFiles, talking: np.ndarray) -> None:
    with Networks(network_files) as networks, CountingLandmarker(network_files.landmarks.path) as counting:
        networks.landmarker = counting
        fresh = Observer(networks)
        seen = fresh.look(talking[[0, 1, 0, 0, 1]])
        assert counting.looked_at == 2
        again = fresh.look(talking[[1, 2]])
        assert counting.looked_at == 3
    np.testing.assert_array_equal(seen.face.blendshapes[[0, 1]], seen.face.blendshapes[[2, 4]])
    np.testing.assert_array_equal(again.face.points[0], seen.face.points[1])
    np.testing.assert_array_equal(seen.emotion[0], seen.emotion[3])


def test_a_real_pipeline_is_measured_and_shown(
    pipeline: XNeMoPipeline, driver: Driver, other: Subject, observer: Observer, tmp_path: Path
) -> None:
    video = tmp_path / "side_by_side.mp4"
    drawn = pipeline.stream_preview(other.pictures, driver.motion)
    result = measure(driver, other, drawn, observer, own=False, video=video)
    assert len(result.face) == FRAMES
    with VideoReader(video) as reader:
        assert (len(reader), reader.info.width, reader.info.height) == (FRAMES, 3 * 256, 256)


def test_videos_of_other_programs_must_fit(driver: Driver, tmp_path: Path, talking: np.ndarray) -> None:
    short = make_video(tmp_path / "short.mp4", talking[:5])
    with pytest.raises(XNeMoError, match=r"short.mp4: has 5 frames and its driver 20"):
        list(result_frames(short, FRAMES))
    wide = make_video(tmp_path / "wide.mp4", talking, size=(320, 256))
    with pytest.raises(XNeMoError, match=r"wide.mp4: is 320 x 256"):
        list(result_frames(wide, FRAMES))


def test_a_clip_of_one_frame_is_refused(pipeline: XNeMoPipeline, clip: Path, observer: Observer) -> None:
    with pytest.raises(XNeMoError, match="too few"):
        read_driver(pipeline, clip, observer, frames=1)
