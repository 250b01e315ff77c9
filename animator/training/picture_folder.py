"""Clips that are kept as folders of pictures, such as VFHQ's, read like videos."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from animator.errors import XNeMoError
from animator.extraction.reading import RememberingReader
from animator.files import sha256_of
from animator.image import read_image
from animator.training.layouts import pictures_in
from animator.video import VideoInfo, VideoReader
from animator.video_probe import exact_rate


class PictureFolder(VideoReader):
    """The pictures of a folder, in the order of their names, as a video without sound.

    Args:
        folder: it holds PNG, JPEG or WebP pictures, all of one size.
        fps: frames a second, which pictures do not tell.
    Raises:
        XNeMoError: there are no pictures, or the first cannot be read.
    """

    def __init__(self, folder: Path, fps: float) -> None:
        self._pictures = pictures_in(folder)
        if not self._pictures:
            raise XNeMoError(f"{folder}: no pictures in this folder")
        height, width = read_image(self._pictures[0]).shape[:2]
        rate: Fraction = exact_rate(fps)
        count = len(self._pictures)
        self._info = VideoInfo(
            folder, count, float(rate), rate, width, height, False, float(count / rate), rotation=0, variable_rate=False
        )

    @property
    def info(self) -> VideoInfo:
        """Size, rate and length."""
        return self._info

    def close(self) -> None:
        """Nothing is open between reads."""

    def chunks(self, size: int = 32, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """Read pictures as `VideoReader.chunks` does.

        Raises:
            XNeMoError: one cannot be read, or has another size than the first.
        """
        wanted = self._pictures[slice(start, stop)]
        for first in range(0, len(wanted), size):
            pictures = [read_image(path) for path in wanted[first : first + size]]
            for path, picture in zip(wanted[first:], pictures, strict=False):
                if picture.shape != (self.info.height, self.info.width, 3):
                    raise XNeMoError(
                        f"{path}: is {picture.shape[1]} x {picture.shape[0]} pixels, the first of its folder "
                        f"{self.info.width} x {self.info.height}; a clip has one size"
                    )
            yield np.stack(pictures)


def open_clip(path: Path, reader: Literal["auto", "decord", "pyav"], fps: float) -> VideoReader:
    """Open a video, or a folder of pictures with `fps` of them a second.

    Raises:
        XNeMoError: it cannot be read.
    """
    return PictureFolder(path, fps) if path.is_dir() else RememberingReader(path, reader)


def sha256_of_clip(path: Path) -> str:
    """Hash a video's bytes, or the names and bytes of all pictures of a folder.

    Raises:
        XNeMoError: something cannot be read.
    """
    if not path.is_dir():
        return sha256_of(path)
    listed = [f"{picture.name} {sha256_of(picture)}" for picture in pictures_in(path)]
    return hashlib.sha256("\n".join(listed).encode()).hexdigest()
