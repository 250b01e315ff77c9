"""A portrait as the models see it: the picture that is animated, and the crop of its face that tells its own motion."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from animator.errors import XNeMoError
from animator.face import FaceDetector, PortraitCrop, crop_face, crop_portrait, face_box_square, select_face
from animator.image import over_white, read_image, resize
from animator.release_preprocessing import NO_CHOICE, reference_face_box, release_box, release_portrait

Picture = str | Path | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class PortraitPictures:
    """What the models read of a portrait.

    Attributes:
        image: the picture to animate, uint8 (height, width, 3), of any size: the renderers resize it to theirs, and
            CLIP sees it as it is.
        face: the face, cropped for the motion encoder, uint8 (S, S, 3).
        box: centre x, y and longer side of the face's box in `image`, in [-1, 1] coordinates (the picture's width
            is 2). The default is where a portrait's crop has it.
    """

    image: NDArray[np.uint8]
    face: NDArray[np.uint8]
    box: tuple[float, float, float] = (0.0, 0.0, 1.0)


def as_array(picture: Picture, as_stored: bool = False) -> NDArray[np.uint8]:
    """Any kind of picture as uint8 RGB (height, width, 3), turned as its EXIF says; transparency is laid over white.

    Args:
        picture: a file, an image or an array.
        as_stored: see `read_image`.
    Raises:
        XNeMoError: a file that is no picture, or an array of another type or shape.
    """
    if isinstance(picture, (str, Path)):
        return read_image(picture, as_stored)
    if isinstance(picture, Image.Image):
        picture = ImageOps.exif_transpose(picture)
        return np.array((picture if as_stored else over_white(picture)).convert("RGB"), dtype=np.uint8)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise XNeMoError(f"a picture must be uint8 (height, width, 3), not {picture.dtype} {picture.shape}")
    return picture


def check_preprocessing(preprocessing: str) -> None:
    """Refuse what is neither "tracked" nor "release"."""
    if preprocessing not in ("tracked", "release"):
        raise ValueError(f'preprocessing must be "tracked" or "release", not {preprocessing!r}')


def ready_pictures(portrait: Picture | PortraitCrop, reference_face: Picture, face_size: int) -> PortraitPictures:
    """A portrait and its face that are cropped already; nothing is detected and the portrait is kept as it is.

    Args:
        portrait: the picture to animate, its face in the middle and half as wide.
        reference_face: the face, cropped for the motion encoder; resized (Lanczos), its aspect is not kept.
        face_size: side of the motion encoder's input.
    """
    image = portrait.image if isinstance(portrait, PortraitCrop) else as_array(portrait)
    return PortraitPictures(image, resize(as_array(reference_face), (face_size, face_size)))


def portrait_pictures(
    portrait: Picture | PortraitCrop,
    size: tuple[int, int],
    face_size: int,
    reference_face: Picture | None = None,
    select: str | int = "largest",
    detector: FaceDetector | None = None,
    preprocessing: str = "tracked",
) -> PortraitPictures:
    """Cut a portrait to what the models take.

    Args:
        portrait: a picture with a face, which is found and cropped; or a crop made earlier. Together with
            `reference_face` it is a ready crop that is only resized, its face in the middle and half as wide.
        size: width and height of the picture to animate, in pixels.
        face_size: side of the motion encoder's input.
        reference_face: the portrait's face as a ready crop.
        select: which of several faces, see `animator.face.select_face`.
        detector: used if given, else one is made where it is needed.
        preprocessing: "tracked", this project's, or "release": face and crops exactly as in the published inference
            code, see `animator.release_preprocessing`; the picture is then 512 x 512 whatever `size` is.
    Raises:
        XNeMoError: no such picture, no face in it, or width and height differ where a square is cropped.
    """
    if reference_face is not None:
        ready = ready_pictures(portrait, reference_face, face_size)
        return PortraitPictures(resize(ready.image, size), ready.face)
    if size[0] != size[1]:
        raise XNeMoError(
            f"width {size[0]} and height {size[1]} differ, but a portrait is cropped to a square; "
            "give ready crops (portrait and reference_face) for other shapes"
        )
    check_preprocessing(preprocessing)
    if preprocessing == "release":
        return _release_pictures(portrait, face_size, select, detector)
    if isinstance(portrait, PortraitCrop):
        image, box, crop = portrait.image, portrait.box, portrait
    else:
        image = as_array(portrait)
        with ExitStack() as stack:
            faces = (detector or stack.enter_context(FaceDetector())).detect(image)
        if not faces:
            raise XNeMoError(_no_face(portrait))
        box = select_face(faces, select).box
        crop = crop_portrait(image, box, size[0])
    height, width = image.shape[:2]
    face = crop_face(image, face_box_square(box, width, height), face_size)
    return PortraitPictures(resize(crop.image, size), face, _relative_box(crop))


def _release_pictures(
    portrait: Picture | PortraitCrop, face_size: int, select: str | int, detector: FaceDetector | None
) -> PortraitPictures:
    if isinstance(portrait, PortraitCrop):
        raise XNeMoError("this portrait is cropped already; the released preprocessing takes whole pictures")
    if select != "largest":
        raise XNeMoError(NO_CHOICE.format(select))
    # The published code neither shrinks large pictures nor looks at transparency.
    image = as_array(portrait, as_stored=True)
    with ExitStack() as stack:
        box = release_box(detector or stack.enter_context(FaceDetector()), image)
    if box is None:
        raise XNeMoError(_no_face(portrait))
    height, width = image.shape[:2]
    crop = release_portrait(image, box)
    face = crop_face(image, reference_face_box(box, width, height), face_size)
    return PortraitPictures(crop.image, face, _relative_box(crop))


def _no_face(portrait: Picture | PortraitCrop) -> str:
    name = f"{portrait}: " if isinstance(portrait, (str, Path)) else ""
    return f"{name}no face found in the portrait; take a picture in which a face looks at the camera"


def _relative_box(crop: PortraitCrop) -> tuple[float, float, float]:
    """The face's box as `PortraitPictures` has it."""
    x0, y0, x1, y1 = crop.box
    unit = 2 / crop.image.shape[1]
    return (x0 + x1) / 2 * unit - 1, (y0 + y1) / 2 * unit - 1, max(x1 - x0, y1 - y0) * unit
