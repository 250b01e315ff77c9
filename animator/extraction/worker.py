"""The other end of a worker's pipe: a process that reads clips and sends what it finds.

Nothing here imports torch, so that the process is small and starts in a second.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from multiprocessing.connection import Connection

from animator.errors import XNeMoError
from animator.extraction.reading import ReadSettings, open_clip
from animator.face import FaceDetector

READY, WHOLE = "ready", "whole"


def work(connection: Connection, settings: ReadSettings) -> None:
    """Read the clips whose paths come through the pipe, until it closes.

    Sends `READY` once, then for each path what `open_clip` gives, piece by piece, and `WHOLE`, or the error.
    """
    # Ctrl-C reaches every process of the terminal; the main one tells this one to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, OSError):
        try:
            detector = FaceDetector(min_score=settings.min_score)
        except XNeMoError as error:
            connection.send(error)
            return
        connection.send(READY)
        while True:
            path = connection.recv()
            try:
                with open_clip(path, settings, detector) as (start, crops):
                    connection.send(start)
                    for batch in crops:
                        connection.send(batch)
                connection.send(WHOLE)
            except XNeMoError as error:
                connection.send(error)
