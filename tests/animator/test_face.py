"""Faces: found anywhere in the picture, the right one followed, crops and triplets as documented."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from animator.assets import asset_path
from animator.errors import XNeMoError
from animator.face import (
    Face,
    FaceDetector,
    FaceTrack,
    bridge_gaps,
    crop_face,
    crop_portrait,
    face_box_square,
    face_crops,
    select_face,
    track_faces,
)
from animator.image import read_image, resize
from animator.video import VideoInfo, VideoReader, VideoWriter

GREY = 110


@pytest.fixture(scope="module")
def detector() -> Iterator[FaceDetector]:
    with FaceDetector() as opened:
        yield opened


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    """A real photograph, 512 x 512, of one face at about (225, 130), 95 pixels wide."""
    import skimage.data

    return skimage.data.astronaut()


@pytest.fixture(scope="module")
def second_person() -> np.ndarray:
    """Another real face, about 200 pixels wide, in a 562 x 572 photograph."""
    return read_image(_media("single-face"))


def _media(name: str) -> Path:
    try:
        return asset_path(name)
    except XNeMoError as error:
        pytest.skip(str(error))


def _video(path: Path, frames: list[np.ndarray], fps: float = 25) -> Path:
    with VideoWriter(path, fps) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def _paste(picture: np.ndarray, canvas: tuple[int, int], x: int, y: int) -> np.ndarray:
    """A picture on a grey canvas (width, height) with its corner at (x, y)."""
    frame = np.full((canvas[1], canvas[0], 3), GREY, np.uint8)
    frame[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return frame


def _centre(box: np.ndarray | tuple[float, ...]) -> np.ndarray:
    return np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])


def _track(path: Path, detector: FaceDetector, **options: object) -> FaceTrack:
    with VideoReader(path) as reader:
        return track_faces(reader, detector, **options)  # type: ignore[arg-type]


# Detection


def test_fetched_model_finds_the_same_boxes_as_the_official_one(detector: FaceDetector, shared_data: Path) -> None:
    clips = sorted((shared_data / "clips").glob("*.mp4"))[::20]
    assert len(clips) >= 5
    with FaceDetector(shared_data / "models" / "blaze_face_short_range.tflite") as official:
        for clip in clips:
            with VideoReader(clip) as reader:
                for index in np.linspace(0, reader.info.frames - 1, 4).astype(int):
                    frame = reader.frame(int(index))
                    faces = detector.look(frame)
                    assert faces
                    assert faces == official.look(frame)


def test_model_in_the_cache_folder_wins(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    official = shared_data / "models" / "blaze_face_short_range.tflite"
    by_hand = tmp_path / official.name
    by_hand.write_bytes(official.read_bytes())
    monkeypatch.setenv("XNEMO_HOME", str(tmp_path))
    with FaceDetector() as detector:
        assert detector.model_path == by_hand


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), (b"", "not a TFLite"), (b"0123TFL3" * 9, "not a")]
)
def test_bad_model_file_is_one_clear_line(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "model.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(XNeMoError, match=rf"model\.tflite: .*{reason}"):
        FaceDetector(path)


def test_detector_writes_nothing_to_the_terminal(portrait: Path) -> None:
    script = (
        "import sys, numpy as np\n"
        "from animator.face import FaceDetector\n"
        "from animator.image import read_image\n"
        "picture = read_image(sys.argv[1])\n"
        "first = FaceDetector(); assert len(first.detect(picture)) == 1; del first\n"
        "with FaceDetector() as second: second.detect(picture[:200])\n"
        "left_open = FaceDetector(); left_open.detect(picture[::2, ::2])\n"
        "print('visible', file=sys.stderr)\n"
    )
    folder = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", script, str(portrait)], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "visible\n")


def test_several_faces_come_from_left_to_right(detector: FaceDetector) -> None:
    faces = detector.detect(read_image(_media("several-faces")))
    assert len(faces) == 5
    assert [face.box[0] for face in faces] == sorted(face.box[0] for face in faces)


def test_small_face_beside_a_large_one_is_found_when_asked_for(
    detector: FaceDetector, astronaut: np.ndarray, second_person: np.ndarray
) -> None:
    frame = _paste(resize(astronaut[:260, 90:350], (160, 160)), (1000, 562), 0, 0)
    frame[:, 428:] = second_person[:562]
    assert len(detector.detect(frame)) == 1
    small, large = detector.detect(frame, everyone=True)
    assert small.area < 0.2 * large.area
    assert small.box[2] < 160


@pytest.mark.parametrize("corner", [(0, 0), (1500, 0), (0, 700), (1500, 700), (800, 300)])
def test_small_face_anywhere_in_a_wide_frame_is_found(
    detector: FaceDetector, astronaut: np.ndarray, corner: tuple[int, int]
) -> None:
    frame = _paste(astronaut[:380, :420], (1920, 1080), *corner)
    assert detector.look(frame) == []
    (face,) = detector.detect(frame)
    assert np.abs(_centre(face.box) - corner - (225, 130)).max() < 15
    assert 80 < face.box[2] - face.box[0] < 125


def test_boxes_stay_inside_the_picture(detector: FaceDetector, astronaut: np.ndarray) -> None:
    height, width = 150, 260  # cuts the chin and the right cheek
    for face in detector.detect(astronaut[:height, :width]):
        x0, y0, x1, y1 = face.box
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height


@pytest.mark.parametrize("size", [(2, 2), (1, 500), (500, 1), (300, 700)])
def test_picture_without_a_face_gives_none(detector: FaceDetector, size: tuple[int, int]) -> None:
    assert detector.detect(np.full((*size, 3), GREY, np.uint8)) == []


# Choice


def test_select_face_by_size_and_by_place() -> None:
    small, large = Face((0, 0, 10, 10), 0.9), Face((20, 0, 50, 30), 0.8)
    assert select_face([small, large]) is large
    assert select_face([small, large], 0) is small
    assert select_face([small, large], "1") is large
    with pytest.raises(XNeMoError, match=r"face\.select=2, but at most 2 faces"):
        select_face([small, large], 2)
    for nonsense in ("smallest", -1, True, "-1", ""):
        with pytest.raises(XNeMoError, match=r"face\.select must be"):
            select_face([small, large], nonsense)
    with pytest.raises(XNeMoError, match="no face found"):
        select_face([])


@pytest.fixture(scope="module")
def two_people(astronaut: np.ndarray, second_person: np.ndarray) -> list[np.ndarray]:
    """40 frames, 720 x 300: a smaller face on the left that drifts down, a larger one on the right that drifts left."""
    left, right = resize(astronaut[:260, 90:350], (200, 200)), resize(second_person, (300, 300))
    frames = []
    for t in range(40):
        frame = _paste(left, (720, 300), 10, t)
        frame[:, 410 - t : 710 - t] = right
        frames.append(frame)
    return frames


def test_two_people_each_can_be_chosen(detector: FaceDetector, two_people: list[np.ndarray], tmp_path: Path) -> None:
    path = _video(tmp_path / "two.mp4", two_people)
    tracks = {select: _track(path, detector, select=select) for select in ("largest", 0, 1)}
    assert all(track.bridged == () for track in tracks.values())
    np.testing.assert_allclose(tracks["largest"].boxes, tracks[1].boxes, atol=5)
    assert (tracks[0].boxes[:, 2] < 300).all()
    assert (tracks[1].boxes[:, 0] > 350).all()
    drift = [_centre(track.boxes[-1]) - _centre(track.boxes[0]) for track in (tracks[0], tracks[1])]
    np.testing.assert_allclose(drift, [(0, 39), (-39, 0)], atol=5)
    with pytest.raises(XNeMoError, match=r"^two\.mp4: face\.select=2, but at most 2 faces are shown"):
        _track(path, detector, select=2)


# Following


def test_hidden_face_is_bridged_and_never_mistaken_for_the_other(
    detector: FaceDetector, two_people: list[np.ndarray], tmp_path: Path
) -> None:
    whole = _track(_video(tmp_path / "whole.mp4", two_people), detector)
    hidden = [frame.copy() for frame in two_people]
    for frame in hidden[10:20]:
        frame[:, 360:] = GREY
    track = _track(_video(tmp_path / "hidden.mp4", hidden), detector)
    assert track.bridged == tuple(range(10, 20))
    assert np.abs(track.boxes - whole.boxes).max() < 12
    line = np.linspace(track.boxes[9], track.boxes[20], 12)[1:-1]
    np.testing.assert_allclose(track.boxes[10:20], line, rtol=1e-5)


def test_other_person_nearby_is_not_taken_for_the_hidden_one(
    detector: FaceDetector, astronaut: np.ndarray, tmp_path: Path
) -> None:
    face = astronaut[40:240, 140:310]  # 170 wide: the two heads are 1.8 face widths apart
    both = _paste(face, (500, 240), 30, 20)
    both[20:220, 200:370] = face
    only_right = both.copy()
    only_right[:, :200] = GREY
    path = _video(tmp_path / "near.mp4", [both] * 5 + [only_right] * 11 + [both] * 5)
    track = _track(path, detector, select=0)
    assert track.bridged == tuple(range(5, 16))
    assert (track.boxes[:, 2] < 220).all()


def test_long_gap_is_an_error_that_names_frames_and_time(
    detector: FaceDetector, astronaut: np.ndarray, tmp_path: Path
) -> None:
    face, empty = astronaut[:256, 96:352], np.full((256, 256, 3), GREY, np.uint8)
    path = _video(tmp_path / "driving.mp4", [face] * 80 + [empty] * 14 + [face] * 6 + [empty] * 3 + [face] * 7)
    with pytest.raises(
        XNeMoError, match=r"^driving\.mp4: no face found in 14 of 110 frames \(first at 0:03\.2, "
    ) as info:
        _track(path, detector)
    assert "frames 80-93)" in str(info.value)
    assert "trim the clip" in str(info.value)
    assert _track(path, detector, max_gap=14).bridged == (*range(80, 94), *range(100, 103))


def test_gaps_at_the_ends_take_the_nearest_box(detector: FaceDetector, astronaut: np.ndarray, tmp_path: Path) -> None:
    face, empty = astronaut[:256, 96:352], np.full((256, 256, 3), GREY, np.uint8)
    track = _track(_video(tmp_path / "ends.mp4", [empty] * 4 + [face] * 4 + [empty] * 4), detector)
    assert track.bridged == (0, 1, 2, 3, 8, 9, 10, 11)
    assert (track.boxes[:5] == track.boxes[4]).all()
    assert (track.boxes[7:] == track.boxes[7]).all()


def test_video_without_a_face_is_an_error(detector: FaceDetector, tmp_path: Path) -> None:
    path = _video(tmp_path / "empty.mp4", [np.full((256, 256, 3), GREY, np.uint8)] * 3)
    with pytest.raises(XNeMoError, match=r"^empty\.mp4: no face found in any of its 3 frames"):
        _track(path, detector)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-face-video", r"^no_face\.mp4: no face found in"),
        ("face-then-none", r"^face_noface\.mov: no face found in \d+ of 168 frames \(first at 0:02\.\d, frames 6\d-"),
        ("none-then-face", r"^noface_face\.mov: no face found in \d+ of 168 frames \(first at 0:00\.0, frames 0-"),
    ],
)
def test_real_clips_without_a_face_for_long_are_errors(detector: FaceDetector, name: str, message: str) -> None:
    with pytest.raises(XNeMoError, match=message):
        _track(_media(name), detector)


def test_face_on_the_right_of_a_wide_clip_is_tracked(detector: FaceDetector, clip: Path, tmp_path: Path) -> None:
    """The released code looks only at the left square."""
    with VideoReader(clip) as reader:
        frames = next(reader.chunks(12))
    plain = _track(_video(tmp_path / "plain.mp4", list(frames)), detector)
    wide = _track(_video(tmp_path / "wide.mp4", [_paste(f, (900, 256), 640, 0) for f in frames]), detector)
    assert len(wide) == 12
    assert (wide.width, wide.height) == (900, 256)
    np.testing.assert_allclose(wide.centres - (640, 0), plain.centres, atol=10)


def test_track_agrees_with_the_face_labels(detector: FaceDetector, clip: Path, shared_data: Path) -> None:
    labels = np.load(shared_data / "labels" / f"{clip.stem}.npz")
    track = _track(clip, detector)
    boxes = labels["face_box"].astype(float) * track.width
    assert len(track) == len(boxes)
    assert track.bridged == ()
    distance = np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - track.centres, axis=1)
    assert distance.max() < 0.2 * track.sides.mean()


def test_one_frame_is_a_track(detector: FaceDetector, astronaut: np.ndarray, tmp_path: Path) -> None:
    track = _track(_video(tmp_path / "one.mp4", [astronaut]), detector)
    assert len(track) == 1
    np.testing.assert_allclose(track.rts(), [[0, 0, 1]], atol=1e-6)


# Smoothing and crops


def _steady(frames: int, box: tuple[float, ...] = (100, 60, 180, 150), size: tuple[int, int] = (640, 360)) -> FaceTrack:
    return FaceTrack(np.tile(np.array(box, np.float32), (frames, 1)), *size)


def test_centres_are_smoothed_by_a_gaussian_of_five_frames() -> None:
    rng = np.random.default_rng(0)
    boxes = _steady(60).boxes + rng.normal(0, 6, (60, 1)).astype(np.float32)
    track = FaceTrack(boxes, 640, 360)
    raw = (boxes[:, 0] + boxes[:, 2]).astype(np.float64) / 2
    offsets = np.arange(-20, 21)
    kernel = np.exp(-0.5 * (offsets / 5) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(raw, 20, mode="symmetric")  # scipy's "reflect" repeats the edge sample
    expected = np.convolve(padded, kernel, mode="valid")
    np.testing.assert_allclose(track.centres[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(("fps", "sigma"), [(25, 5), (50, 10), (12.5, 2.5), (30000 / 1001, 5.994)])
def test_a_track_is_smoothed_over_the_same_time_at_any_rate(
    detector: FaceDetector, astronaut: np.ndarray, tmp_path: Path, fps: float, sigma: float
) -> None:
    track = _track(_video(tmp_path / "clip.mp4", [astronaut] * 3, fps), detector)
    assert track.sigma == pytest.approx(sigma, abs=1e-3)
    assert (track.sigma == 5) == (fps == 25)


def test_twice_the_rate_gives_the_same_path() -> None:
    sway = 20 * np.sin(np.arange(60) / 4)[:, None].astype(np.float32)
    boxes = _steady(60).boxes + sway
    between = (boxes + np.concatenate([boxes[1:], boxes[-1:]])) / 2
    slow = FaceTrack(boxes, 640, 360)
    fast = FaceTrack(np.stack([boxes, between], axis=1).reshape(120, 4), 640, 360, sigma=10)
    moved = np.ptp(slow.centres[:, 0])
    assert moved > 10
    np.testing.assert_allclose(fast.centres[::2], slow.centres, atol=0.05 * moved)


@pytest.mark.parametrize(("fps", "longest"), [(25, 12), (50, 24), (60, 29), (24, 12), (10, 5)])
def test_gaps_are_bridged_by_their_time(fps: int, longest: int) -> None:
    def bridge(gap: int) -> tuple[int, ...]:
        boxes = [(0.0, 0.0, 9.0, 9.0), *[None] * gap, (0.0, 0.0, 9.0, 9.0)]
        info = VideoInfo(Path("x.mp4"), len(boxes), fps, Fraction(fps), 64, 64, False, len(boxes) / fps, 0, False)
        return bridge_gaps(boxes, info, max_gap=12)[1]

    assert bridge(longest) == tuple(range(1, longest + 1))
    with pytest.raises(XNeMoError, match=r"face\.max_gap \(now 12, in frames at 25 a second\)"):
        bridge(longest + 1)


def test_crop_has_one_even_size_and_stays_inside_the_picture() -> None:
    boxes = _steady(90).boxes.copy()
    boxes += np.linspace(-140, 520, 90, dtype=np.float32)[:, None] * np.array([1, 0.5, 1, 0.5], np.float32)
    boxes[0] = (0, 0, 81, 91)  # 91 x 1.1 = 100.1, even: 100
    track = FaceTrack(boxes.clip(0, 640), 640, 360)
    crops = track.crop_boxes
    assert track.crop_size == (100, 100)
    assert crops.dtype.kind == "i"
    assert (crops[:, 2:] - crops[:, :2] == 100).all()
    assert crops.min() >= 0
    assert (crops[:, [0, 2]] <= 640).all()
    assert (crops[:, [1, 3]] <= 360).all()


def test_rts_is_relative_to_frame_0_in_head_sizes() -> None:
    boxes = _steady(200).boxes.copy()
    boxes[100:] = (190, 15, 370, 195)  # one face height (90) is the unit: centre (140, 105) -> (280, 105), size 180
    triplets = FaceTrack(boxes, 640, 360).rts()
    assert triplets.dtype == np.float32
    np.testing.assert_allclose(triplets[0], (0, 0, 1), atol=1e-6)
    np.testing.assert_allclose(triplets[-1], (140 / 90, 0, 2), atol=1e-4)


def test_rts_can_refer_to_another_face() -> None:
    triplets = _steady(3).rts(reference_box=(0, 0, 45, 40))
    np.testing.assert_allclose(triplets, [((140 - 22.5) / 45, (105 - 20) / 45, 2)] * 3, rtol=1e-5)


def test_crop_larger_than_the_picture_repeats_the_edge() -> None:
    track = _steady(1, (0, 0, 60, 100), (60, 100))
    crop_box = track.crop_boxes[0]
    assert track.crop_size == (110, 110)
    picture = np.zeros((100, 60, 3), np.uint8)
    picture[:, -1] = 200
    crop = crop_face(picture, crop_box, 110)
    assert crop.shape == (110, 110, 3)
    right = 60 - crop_box[0]
    assert (crop[:, right + 2 :] > 190).all()
    assert (crop[:, : right - 4] < 10).all()


def test_still_and_video_are_cropped_alike() -> None:
    box = (500.0, 10.0, 630.0, 150.0)
    assert face_box_square(box, 640, 360) == tuple(_steady(1, box).crop_boxes[0])


def test_crops_of_a_video_show_the_face_in_every_frame(detector: FaceDetector, clip: Path) -> None:
    seen: list[int] = []
    with VideoReader(clip) as reader:
        track = track_faces(reader, detector, progress=seen.append)
        chunks = list(face_crops(reader, track, 224, chunk=20))
    assert sum(seen) == len(track) == sum(map(len, chunks))
    assert all(chunk.shape[1:] == (224, 224, 3) and len(chunk) <= 20 for chunk in chunks)
    for crop in np.concatenate(chunks)[::15]:
        (face,) = detector.look(crop)
        assert np.abs(_centre(face.box) - 112).max() < 35


def test_crops_of_another_video_are_refused(detector: FaceDetector, clip: Path) -> None:
    with VideoReader(clip) as reader, pytest.raises(XNeMoError, match="gave 75 frames, its face track has 70"):
        list(face_crops(reader, _steady(70, size=(256, 256)), 64))


def test_portrait_has_half_a_face_on_each_side(astronaut: np.ndarray) -> None:
    box = (177.0, 82.0, 272.0, 177.0)
    portrait = crop_portrait(astronaut, box, 256)
    assert portrait.image.shape == (256, 256, 3)
    assert portrait.window == (129, 34, 319, 224)
    x0, y0, x1, y1 = portrait.window
    np.testing.assert_array_equal(portrait.image, resize(astronaut[y0:y1, x0:x1], (256, 256)))
    np.testing.assert_allclose(portrait.box, (64, 64, 192, 192), atol=1)


def test_portrait_at_the_edge_is_shifted_inside(astronaut: np.ndarray) -> None:
    portrait = crop_portrait(astronaut, (400, 5, 500, 105), 256)
    assert portrait.window == (312, 0, 512, 200)
    scale = 256 / 200
    np.testing.assert_allclose(portrait.box, (88 * scale, 5 * scale, 188 * scale, 105 * scale), rtol=1e-6)


def test_portrait_in_a_small_picture_has_a_smaller_margin() -> None:
    portrait = crop_portrait(np.full((180, 200, 3), 255, np.uint8), (60, 40, 160, 140), 90)
    assert portrait.window == (20, 0, 200, 180)
    assert (portrait.image == 255).all()
    np.testing.assert_allclose(portrait.box, (20, 20, 70, 70))


def test_portrait_that_is_all_face_is_padded_with_black() -> None:
    portrait = crop_portrait(np.full((120, 200, 3), 255, np.uint8), (60, 10, 160, 110), 300)
    x0, y0, x1, y1 = portrait.window
    assert x1 - x0 == y1 - y0 == 150
    assert (y0, y1) == (-15, 135)
    assert (portrait.image[: 2 * -y0 - 6] == 0).all()
    assert (portrait.image[2 * -y0 + 6 : 2 * (120 - y0) - 6] == 255).all()
    assert (portrait.image[2 * (120 - y0) + 6 :] == 0).all()
