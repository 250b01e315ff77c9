"""Faces in one picture: MediaPipe's BlazeFace (short range), quiet, and with a second look for small faces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from animator.assets import asset_path, cache_dir
from animator.mediapipe_tasks import PictureTask

Box = tuple[float, float, float, float]
Point = tuple[float, float]

# A face above this confidence is one. Measured on the first frames of 123 talking-head clips and on 86 portraits of
# people, painted ones included: all lie above 0.85; what is not a face stays below 0.8.
SURE = 0.8

# What MediaPipe's own model file is called; a file of this name in the cache folder is used before all else.
_OFFICIAL_NAME = "blaze_face_short_range.tflite"
# The network maps pixels 0..255 to -1..1: (x - 127.5) / 127.5.
_PIXEL_MEAN = 127.5
_PIXEL_STD = 127.5
# The network looks at 128 x 128 pixels; smaller windows hold no more detail than this.
_NETWORK_SIDE = 128
# Smaller windows cannot hold a face that anybody would use.
_SMALLEST_WINDOW = 32
# A picture less elongated than this gains nothing from windows as large as its short side.
_WIDE = 1.2
# Two boxes from neighbouring windows are one face if they share this part of the smaller one.
_SAME_FACE = 0.5


@dataclass(frozen=True)
class Face:
    """One detected face.

    Attributes:
        box: (x0, y0, x1, y1) in pixels of the picture, inside it, y down; about from brows to chin.
        score: confidence, 0 to 1.
        points: x and y in pixels of both eyes (the picture's left one first), nose, mouth and both ears, six in all.
    """

    box: Box
    score: float
    points: tuple[Point, ...] = ()

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)


class FaceDetector(PictureTask):
    """BlazeFace short range through MediaPipe tasks; about 1 ms a picture on one CPU core.

    Args:
        model_path: a BlazeFace `.tflite` file, with or without MediaPipe's metadata. Default:
            `blaze_face_short_range.tflite` in the cache folder if there is one, else the same network from the package
            index (fetched once).
        min_score: faces below this confidence are not reported, 0 to 1.
    Raises:
        XNeMoError: the model cannot be fetched, read or used, or MediaPipe cannot be loaded on this machine.
    """

    def __init__(self, model_path: str | Path | None = None, min_score: float = 0.5) -> None:
        self.model_path = _find_model() if model_path is None else Path(model_path)

        def create(tasks: Any, model: bytes) -> Any:
            if model[4:8] != b"TFL3":
                raise ValueError("not a TFLite model")
            options = tasks.vision.FaceDetectorOptions(
                base_options=tasks.BaseOptions(model_asset_buffer=_with_metadata(model)),
                min_detection_confidence=min_score,
            )
            return tasks.vision.FaceDetector.create_from_options(options)

        super().__init__(self.model_path, "a BlazeFace model", create)

    def detect(self, frame: np.ndarray, everyone: bool = False) -> list[Face]:
        """Find the faces of a picture, also small ones.

        The network sees the whole picture at 128 x 128 pixels. Where no face in it is sure (see `SURE`), it looks again
        through overlapping square windows, then through windows half as large, until one shows a sure face. Faces that
        are not sure are reported only if the whole picture showed them and no window shows a sure one: letters and
        clouds look like faces here and there when one looks closely.

        Args:
            frame: RGB picture, (H, W, 3), uint8.
            everyone: look through all windows in any case, and so find small faces beside large ones.
        Returns:
            The faces from left to right (by the centre of the box), possibly none.
        """
        height, width = frame.shape[:2]
        faces = self.look(frame)
        sure = [face for face in faces if face.score >= SURE]
        if sure and not everyone:
            return faces
        for side in _window_sides(width, height):
            for window in _windows(width, height, side):
                sure += [face for face in self.look(frame, window) if face.score >= SURE]
            if sure and not everyone:
                break
        return _distinct(sure) if sure else faces

    def look(self, frame: np.ndarray, window: Box | None = None) -> list[Face]:
        """Run the network once.

        Args:
            frame: RGB picture, (H, W, 3), uint8.
            window: look only at this part (x0, y0, x1, y1) of the picture, in pixels; it is clamped to the picture.
        Returns:
            The faces from left to right, with boxes in pixels of the whole picture.
        """
        height, width = frame.shape[:2]
        x0, y0, x1, y1 = (0, 0, width, height) if window is None else _whole_pixels(window, width, height)
        if x1 <= x0 or y1 <= y0:
            return []
        faces = []
        for score, found, points in self.detections(np.ascontiguousarray(frame[y0:y1, x0:x1])):
            left, top, right, bottom = found[0] + x0, found[1] + y0, found[2] + x0, found[3] + y0
            box = (
                float(np.clip(left, 0, width)),
                float(np.clip(top, 0, height)),
                float(np.clip(right, 0, width)),
                float(np.clip(bottom, 0, height)),
            )
            if box[2] > box[0] and box[3] > box[1]:
                faces.append(Face(box, score, tuple((x + x0, y + y0) for x, y in points)))
        return sorted(faces, key=_left_to_right)

    def detections(self, picture: np.ndarray) -> list[tuple[float, tuple[int, int, int, int], tuple[Point, ...]]]:
        """What the network itself says of a picture: (score, box, points) of each face, in no order.

        Args:
            picture: RGB picture, (H, W, 3), uint8, contiguous.
        Returns:
            Boxes (x0, y0, x1, y1) in whole pixels and points as in `Face`; they may lie beyond the picture.
        """
        height, width = picture.shape[:2]
        result = self._look_at(picture)
        found = []
        for detection in result.detections:
            box = detection.bounding_box
            x0, y0 = box.origin_x, box.origin_y
            points = tuple((float(point.x) * width, float(point.y) * height) for point in detection.keypoints)
            score = float(detection.categories[0].score)
            found.append((score, (x0, y0, x0 + box.width, y0 + box.height), points))
        return found


def _left_to_right(face: Face) -> tuple[float, float]:
    x0, y0, x1, y1 = face.box
    return (x0 + x1) / 2, (y0 + y1) / 2


def _whole_pixels(window: Box, width: int, height: int) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = window
    return max(0, int(x0)), max(0, int(y0)), min(width, round(x1)), min(height, round(y1))


def _window_sides(width: int, height: int) -> list[int]:
    """Sides of the square windows of the second and third look: the short side, where there is a longer one, and half.

    Faces too small for these (under about 40 pixels in a picture 720 high) hold too little detail to drive anything.
    """
    short = min(width, height)
    sides = [short] if max(width, height) > _WIDE * short else []
    if short >= 2 * _NETWORK_SIDE:
        sides.append(short // 2)
    return sides if short >= _SMALLEST_WINDOW else []


def _windows(width: int, height: int, side: int) -> Iterator[Box]:
    """Square windows that cover the picture and overlap by about half."""
    columns, rows = (max(1, -(-2 * length // side) - 1) for length in (width, height))
    for y in np.linspace(0, height - side, rows):
        for x in np.linspace(0, width - side, columns):
            yield float(x), float(y), float(x) + side, float(y) + side


def _distinct(faces: list[Face]) -> list[Face]:
    """Drop the weaker of any two boxes that show the same face; the result is ordered from left to right."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if all(intersection(face.box, other.box) < _SAME_FACE * min(face.area, other.area) for other in kept):
            kept.append(face)
    return sorted(kept, key=_left_to_right)


def intersection(a: Box, b: Box) -> float:
    """Area that two boxes (x0, y0, x1, y1) share."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)


def _find_model() -> Path:
    by_hand = cache_dir() / _OFFICIAL_NAME
    return by_hand if by_hand.is_file() else asset_path("face-detector")


def _with_metadata(model: bytes) -> bytes:
    """Add the description that MediaPipe tasks asks for (how pixels are normalised) to a bare network.

    MediaPipe's own writer of metadata cannot be imported in all of its releases; the schema that it writes by can.

    Args:
        model: a TFLite flatbuffer; one that has metadata already is returned as it is.
    """
    import flatbuffers  # type: ignore[import-untyped]
    from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema
    from mediapipe.tasks.metadata import schema_py_generated as model_schema

    network = model_schema.ModelT.InitFromObj(model_schema.Model.GetRootAs(model, 0))
    if any(entry.name == b"TFLITE_METADATA" for entry in network.metadata or []):
        return model
    normalisation = metadata_schema.NormalizationOptionsT()
    normalisation.mean, normalisation.std = [_PIXEL_MEAN], [_PIXEL_STD]
    step = metadata_schema.ProcessUnitT()
    step.optionsType = metadata_schema.ProcessUnitOptions.NormalizationOptions
    step.options = normalisation
    image = metadata_schema.TensorMetadataT()
    image.name, image.processUnits = "image", [step]
    graph = metadata_schema.SubGraphMetadataT()
    graph.inputTensorMetadata = [image]
    graph.outputTensorMetadata = [metadata_schema.TensorMetadataT() for _ in network.subgraphs[0].outputs]
    description = metadata_schema.ModelMetadataT()
    description.name, description.subgraphMetadata = "BlazeFace short range", [graph]

    builder = flatbuffers.Builder(0)
    builder.Finish(description.Pack(builder), b"M001")
    buffer = model_schema.BufferT()
    buffer.data = bytes(builder.Output())
    entry = model_schema.MetadataT()
    entry.name, entry.buffer = "TFLITE_METADATA", len(network.buffers)
    network.buffers.append(buffer)
    network.metadata = [*(network.metadata or []), entry]
    builder = flatbuffers.Builder(len(model))
    builder.Finish(network.Pack(builder), b"TFL3")
    return bytes(builder.Output())
