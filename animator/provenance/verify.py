"""Looking for the marks of synthetic media in any video."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from animator.errors import XNeMoError
from animator.provenance.credentials import Credentials, read_credentials
from animator.provenance.pixel_mark import MOST_PICTURES, PixelMark, read_pixel_mark
from animator.provenance.statement import SENTENCE, SOURCE_TYPE, read_xmp
from animator.video import VideoReader
from animator.video_probe import check_file, open_media


@dataclass(frozen=True)
class Findings:
    """What a file says about itself.

    Attributes:
        statement: the sentence in the container's metadata; None where this program's is not there.
        xmp: the XMP packet says that a trained model made the media.
        credentials: the C2PA manifest; None where there is none.
        pixels: what the pixels hold.
        agrees: the signed manifest names the mark that the pixels hold; None where one of them is missing.
    """

    statement: str | None
    xmp: bool
    credentials: Credentials | None
    pixels: PixelMark
    agrees: bool | None

    @property
    def synthetic(self) -> bool:
        """At least one layer says that the media are synthetic."""
        signed = self.credentials is not None and self.credentials.synthetic
        return self.statement is not None or self.xmp or signed or self.pixels.found


def verify(path: str | Path, trust: str | Path | None = None) -> Findings:
    """Look for every mark in a video.

    Args:
        path: a video file, of this program or any other.
        trust: PEM file with certificates of issuers to trust, beside this machine's own.
    Raises:
        XNeMoError: the file cannot be read as a video, or its manifest cannot be read at all.
    """
    path = Path(path)
    check_file(path)
    anchors = b""
    if trust is not None:
        try:
            anchors = Path(trust).read_bytes()
        except OSError as error:
            raise XNeMoError(f"{trust}: cannot be read: {error.strerror or error}") from error
    with VideoReader(path) as reader:
        step = -(-len(reader) // MOST_PICTURES)
        places = range(0, len(reader), step)
        # Read in order, for seeking to each would decode what lies between them more than once.
        pixels = read_pixel_mark(
            picture
            for number, picture in enumerate(picture for chunk in reader.chunks() for picture in chunk)
            if number in places
        )
    try:
        packet = read_xmp(path)
    except OSError as error:
        raise XNeMoError(f"{path}: cannot be read: {error.strerror or error}") from error
    credentials = read_credentials(path, anchors)
    named = None if credentials is None else credentials.identifier
    agrees = None if named is None or pixels.identifier is None else named == pixels.identifier
    return Findings(_statement(path), packet is not None and SOURCE_TYPE in packet, credentials, pixels, agrees)


def video_stream_digest(path: str | Path) -> str:
    """sha256 of a file's coded pictures alone: equal for equal videos, whatever the file says beside them.

    Raises:
        XNeMoError: the file cannot be read, or holds no video.
    """
    path = Path(path)
    check_file(path)
    digest = hashlib.sha256()
    with open_media(path) as container:
        if not container.streams.video:
            raise XNeMoError(f"{path}: holds no video")
        for packet in container.demux(container.streams.video[0]):
            digest.update(bytes(packet))
    return digest.hexdigest()


def _statement(path: Path) -> str | None:
    with open_media(path) as container:
        tags = [str(text) for text in container.metadata.values()]
    return next((text for text in tags if text.startswith(SENTENCE)), None)
