"""Boxes and crops of the published code, worked out by hand, and its limits as errors that name the way out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter1d
from skimage import img_as_ubyte
from skimage.transform import resize

from animator.builders import animator_config, build_pipeline
from animator.errors import XNeMoError
from animator.face import FaceDetector, face_crops, track_faces
from animator.image import read_image
from animator.portrait import portrait_pictures
from animator.release_preprocessing import (
    ReleaseTrack,
    portrait_box,
    reference_face_box,
    release_box,
    release_portrait,
    release_track,
    scaled_box,
)
from animator.video import VideoReader, VideoWriter


@pytest.fixture(scope="module")
def detector() -> Iterator[FaceDetector]:
    with FaceDetector() as opened:
        yield opened


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    import skimage.data

    return skimage.data.astronaut()


def video(path: Path, frames: list[np.ndarray], fps: float = 25) -> Path:
    with VideoWriter(path, fps) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def track_of(boxes: list[tuple[int, int, int, int]], width: int, height: int) -> ReleaseTrack:
    return ReleaseTrack(np.array(boxes, np.float32), width, height)


def test_the_face_box_grows_by_a_tenth_and_is_cut_off_to_whole_pixels() -> None:
    box = (100, 60, 180, 150)  # longer side 90, centre (140, 105): 99 about it
    np.testing.assert_allclose(scaled_box(box, 640, 360), (90.5, 55.5, 189.5, 154.5))
    assert reference_face_box(box, 640, 360) == (90, 55, 189, 154)


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((0, 60, 80, 150), (640, 360)),  # over the left edge
        ((100, 2, 180, 92), (640, 360)),  # over the upper edge
        ((100, 60, 180, 150), (190, 360)),  # ends at 189.5, in the last column, which counts as outside
        ((100, 60, 180, 150), (640, 155)),
    ],
)
def test_a_square_that_leaves_the_picture_falls_back_to_the_oblong_box(
    box: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    assert scaled_box(box, *size) == box
    assert reference_face_box(box, *size) == box


def test_a_fallback_box_ends_with_the_picture() -> None:
    assert reference_face_box((100, 60, 205, 150), 200, 360) == (100, 60, 200, 150)


def test_the_crops_size_is_made_even_by_taking_one_away() -> None:
    assert track_of([(100, 60, 180, 150)], 640, 360).crop_size == (98, 98)  # 99.0 -> 99 -> 98
    assert track_of([(0, 60, 81, 151)], 640, 360).crop_size == (80, 90)  # bare box, 81 x 91


def test_crops_are_placed_about_the_smoothed_centre_and_shifted_inside() -> None:
    assert track_of([(100, 60, 180, 150)], 640, 360).crop_boxes.tolist() == [[91, 56, 189, 154]]
    # Moved to the corner: 98 x 98 that end at 639 and 359, one short of the picture.
    boxes = [(100, 60, 180, 150)] + [(555, 265, 635, 355)] * 200
    last = track_of(boxes, 640, 360).crop_boxes[-1]
    assert last.tolist() == [541, 261, 639, 359]


def test_centres_are_smoothed_as_scipy_does_by_default() -> None:
    rng = np.random.default_rng(0)
    corners = rng.integers(40, 60, (50, 2))
    boxes = [(int(x), int(y), int(x) + 80, int(y) + 90) for x, y in corners]
    track = track_of(boxes, 640, 360)
    centres = np.array([((a + c) * 0.5, (b + d) * 0.5) for a, b, c, d in boxes], dtype=np.float32)
    smooth = gaussian_filter1d(centres, sigma=5.0, axis=0)
    np.testing.assert_array_equal(track.centres, smooth)
    assert track.crop_boxes[30].tolist() == [int(v) for v in (*(smooth[30] - 49), *(smooth[30] + 49))]


def test_a_crop_that_fits_nowhere_is_an_error_that_names_the_way_out() -> None:
    with pytest.raises(XNeMoError, match="face=default"):
        _ = track_of([(0, 0, 100, 130)], 90, 120).crop_boxes


def test_the_portrait_is_twice_the_face() -> None:
    assert portrait_box((100, 60, 180, 150), 640, 360) == (50, 15, 230, 195)
    # 49 - (27 / 42) * 42 is 22 - 4e-15 in floating point, and is cut off.
    assert portrait_box((49, 60, 91, 108), 640, 360)[0] == 21


def test_the_portrait_is_shifted_along_one_axis_or_not_at_all() -> None:
    assert portrait_box((10, 60, 90, 150), 640, 360) == (0, 15, 180, 195)
    assert portrait_box((100, 260, 180, 350), 640, 360) == (50, 180, 230, 360)
    assert portrait_box((10, 5, 90, 95), 640, 360) == (-40, -40, 140, 140)  # a corner
    assert portrait_box((20, 20, 80, 110), 100, 360) == (-40, -25, 140, 155)  # too wide


def test_the_portrait_is_resized_smoothly_and_black_beyond_the_picture(astronaut: np.ndarray) -> None:
    crop = release_portrait(astronaut, (177, 82, 272, 177))
    assert crop.window == (129, 34, 319, 224)
    np.testing.assert_array_equal(
        crop.image, img_as_ubyte(resize(astronaut[34:224, 129:319], (512, 512), anti_aliasing=True))
    )
    corner = release_portrait(np.full((360, 640, 3), 200, np.uint8), (10, 5, 90, 95)).image
    assert (corner[:110] == 0).all() and (corner[:, :110] == 0).all()
    assert (corner[118:, 118:] == 200).all()


def test_the_box_is_the_detectors_own(detector: FaceDetector, astronaut: np.ndarray) -> None:
    (face,) = detector.look(astronaut)
    box = release_box(detector, astronaut)
    assert box is not None and all(isinstance(value, int) for value in box)
    assert box == face.box
    # Cut through the face: the detector's box goes on beyond the edge, and here it may.
    half = np.ascontiguousarray(astronaut[:, :245])
    over = release_box(detector, half)
    assert over is not None and over[2] > 245
    assert release_box(detector, np.full((200, 200, 3), 90, np.uint8)) is None


def test_two_sure_faces_are_refused(detector: FaceDetector, astronaut: np.ndarray) -> None:
    face = astronaut[:256, 96:352]
    with pytest.raises(XNeMoError, match="2 faces.*face=default"):
        release_box(detector, np.concatenate([face, face], axis=1))


def test_portrait_and_face_of_a_real_picture(detector: FaceDetector, astronaut: np.ndarray) -> None:
    pictures = portrait_pictures(astronaut, (64, 64), 32, detector=detector, preprocessing="release")
    box = release_box(detector, astronaut)
    assert box is not None
    assert pictures.image.shape == (512, 512, 3)
    assert pictures.face.shape == (32, 32, 3)
    np.testing.assert_array_equal(pictures.image, release_portrait(astronaut, box).image)
    x, y, side = pictures.box
    assert abs(x) < 0.05 and abs(y) < 0.05 and abs(side - 1) < 0.05
    with pytest.raises(XNeMoError, match=r"face\.select=1"):
        portrait_pictures(astronaut, (64, 64), 32, select=1, detector=detector, preprocessing="release")


def test_neither_size_nor_transparency_of_a_portrait_is_touched(
    detector: FaceDetector, astronaut: np.ndarray, tmp_path: Path
) -> None:
    wide = np.zeros((2048, 4224, 4), np.uint8)
    wide[:, :2048, :3] = astronaut[:256, 96:352].repeat(8, axis=0).repeat(8, axis=1)
    wide[:1024, :, 3] = 255  # the lower half is transparent, with colours that nobody is meant to see
    Image.fromarray(wide).save(tmp_path / "wide.png", compress_level=1)
    expected = portrait_pictures(wide[..., :3].copy(), (64, 64), 32, detector=detector, preprocessing="release")
    for kind in (tmp_path / "wide.png", Image.fromarray(wide)):
        found = portrait_pictures(kind, (64, 64), 32, detector=detector, preprocessing="release")
        np.testing.assert_array_equal(found.image, expected.image)
        np.testing.assert_array_equal(found.face, expected.face)
    assert read_image(tmp_path / "wide.png").shape[1] == 4096


def test_a_driving_clip_is_cropped_as_published(detector: FaceDetector, clip: Path, tmp_path: Path) -> None:
    with VideoReader(clip) as reader:
        frames = next(reader.chunks(14))
    wide = [np.concatenate([frame, np.full((256, 200, 3), 90, np.uint8)], axis=1) for frame in frames]
    path = video(tmp_path / "wide.mp4", wide)
    pipeline = build_pipeline(animator_config("tiny"))
    pipeline.set_progress_bar_config(disable=True)
    motion = pipeline.encode_motion(path, detector=detector, preprocessing="release", max_gap=0)
    with VideoReader(path) as reader:
        shown = next(reader.chunks(14))
        track = release_track(reader, detector)
        crops = np.concatenate(list(face_crops(reader, track, 32)))
    assert (track.width, track.height) == (256, 256)
    for frame, box in zip(shown, track.boxes, strict=True):
        assert tuple(box) == release_box(detector, np.ascontiguousarray(frame[:, :256]))
    cut = [frame[y0:y1, x0:x1] for frame, (x0, y0, x1, y1) in zip(shown, track.crop_boxes, strict=True)]
    assert len({picture.shape for picture in cut}) == 1
    np.testing.assert_allclose(pipeline.encode_motion_crops(cut).latents, motion.latents, atol=1e-5)
    np.testing.assert_allclose(pipeline.encode_motion_crops(crops).latents, motion.latents, atol=1e-5)
    assert len(motion) == 14 and motion.source == "wide.mp4"


def test_a_face_on_the_right_is_not_seen_and_the_error_says_so(
    detector: FaceDetector, clip: Path, tmp_path: Path
) -> None:
    with VideoReader(clip) as reader:
        frame = reader.frame(0)
    right = np.concatenate([np.full((256, 400, 3), 90, np.uint8), frame], axis=1)
    with VideoReader(video(tmp_path / "right.mp4", [right] * 3)) as reader:
        with pytest.raises(XNeMoError, match=r"right\.mp4: no face found in the left square.*face=default"):
            release_track(reader, detector)
        with pytest.raises(XNeMoError, match=r"face\.select=0"):
            release_track(reader, detector, select=0)


def test_smoothing_is_five_frames_wide_at_any_rate(
    detector: FaceDetector, astronaut: np.ndarray, tmp_path: Path
) -> None:
    with VideoReader(video(tmp_path / "fast.mp4", [astronaut[:256, 96:352]] * 3, fps=60)) as reader:
        assert release_track(reader, detector).sigma == 5
        assert track_faces(reader, detector).sigma == 12


@pytest.mark.slow
def test_a_clip_ends_after_500_frames(detector: FaceDetector, astronaut: np.ndarray, tmp_path: Path) -> None:
    path = video(tmp_path / "long.mp4", [astronaut[:256:2, 96:352:2]] * 503)
    with VideoReader(path) as reader:
        track = release_track(reader, detector)
        assert len(track) == 500
        assert sum(len(crops) for crops in face_crops(reader, track, 32, stop=500)) == 500
