"""The marks of one synthetic video: what `animator.video.VideoWriter` puts into it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animator.errors import XNeMoError
from animator.provenance.certificate import Identity, own_identity, users_identity
from animator.provenance.config import MarksConfig
from animator.provenance.credentials import check_identity, sign
from animator.provenance.pixel_mark import PixelMarker, identifier_of
from animator.provenance.statement import Source, Statement, append_xmp, program_version
from animator.visuals import captioned

log = logging.getLogger(__name__)

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Marks:
    """What a synthetic video shall say, and how.

    Attributes:
        action: what was done, one word: the command.
        sources: role and file of each input, such as ("portrait", "face.png"), which are hashed; or a `Source` where
            the file goes by another name, or is known by its hash alone.
        config: which marks, and whose certificate.
    """

    action: str
    sources: tuple[tuple[str, str | Path] | Source, ...] = ()
    config: MarksConfig = field(default_factory=MarksConfig)


class Marker:
    """Puts the marks into one video; the writer calls it.

    The container's metadata is always there; what the settings leave out is written to the log. The same inputs and
    version give the same pixels.

    Args:
        path: the name that the video will have.
        marks: what it shall say.
    Raises:
        XNeMoError: an input cannot be read, or the certificate cannot be used.
    """

    def __init__(self, path: Path, marks: Marks) -> None:
        config = marks.config
        self._title = path.name
        self._label = config.label_text if config.label else None
        self._statement = Statement(marks.action, tuple(map(_source, marks.sources)))
        hashes = [source.sha256 for source in self._statement.sources]
        self._identifier = identifier_of(marks.action, program_version(), *hashes) if config.pixels else None
        self._pixels = None if self._identifier is None else PixelMarker(self._identifier)
        self._identity = identity_of(config)
        left_out = [name for name in ("credentials", "pixels") if not getattr(config, name)]
        if left_out:
            log.warning("%s: written without %s", path, " and ".join(f"marks.{name}" for name in left_out))

    @property
    def metadata(self) -> dict[str, str]:
        """Tags for the container."""
        return self._statement.metadata

    def drawn_on(self, picture: Picture) -> Picture:
        """The picture with its marks.

        Args:
            picture: uint8 RGB, (height, width, 3); it stays as it is.
        """
        if self._label is not None:
            picture = captioned(picture, self._label)
        return picture if self._pixels is None else self._pixels.mark(picture)

    def finish(self, path: Path) -> None:
        """Put the rest into the closed mp4.

        Raises:
            XNeMoError: it cannot be written or signed.
            OSError: it cannot be written.
        """
        append_xmp(path, self._statement)
        if self._identity is not None:
            sign(path, self._title, self._statement, self._identity, self._identifier)


def _source(given: tuple[str, str | Path] | Source) -> Source:
    return given if isinstance(given, Source) else Source.of(*given)


def identity_of(config: MarksConfig) -> Identity | None:
    """What the settings sign with; None where nothing is to be signed.

    Raises:
        XNeMoError: the certificate cannot be used.
    """
    if not config.credentials:
        return None
    if (config.certificate is None) != (config.private_key is None):
        raise XNeMoError("marks.certificate and marks.private_key go together; give both, or none")
    if config.certificate is None or config.private_key is None:
        return own_identity()
    identity = users_identity(config.certificate, config.private_key)
    check_identity(identity)
    return identity
