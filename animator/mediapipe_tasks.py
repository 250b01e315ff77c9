"""What MediaPipe's tasks need to be good guests: silence on standard error, and a clean end of the program."""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from animator.errors import XNeMoError

_open_tasks: weakref.WeakSet[Any] = weakref.WeakSet()


def close_with(owner: object, task: Any) -> weakref.finalize:
    """Close a MediaPipe task when its owner is gone; calling what is returned closes it at once."""
    _open_tasks.add(task)
    finalizer = weakref.finalize(owner, _close, task)
    finalizer.atexit = False
    return finalizer


def open_face_landmarker(path: Path, faces: int) -> tuple[Any, Callable[[np.ndarray], Any]]:
    """Open MediaPipe's Face Landmarker in picture mode, with blendshapes and head matrix.

    Args:
        path: the bundle, `face_landmarker.task`.
        faces: most faces to report.
    Returns:
        The task, to be closed by `close_with`, and what turns an RGB picture (H, W, 3), uint8, into its input.
    Raises:
        XNeMoError: the file cannot be read or used, or MediaPipe cannot be loaded on this machine.
    """
    try:
        bundle = path.read_bytes()
    except OSError as error:
        raise XNeMoError(f"{path}: cannot be read: {error.strerror or error}") from error
    with quiet_stderr:
        try:
            import mediapipe
            from mediapipe.tasks.python import BaseOptions, vision
        except (ImportError, OSError) as error:
            raise XNeMoError(f"mediapipe, which finds landmarks, cannot be loaded: {error}") from error
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=bundle),
            num_faces=faces,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        try:
            task = vision.FaceLandmarker.create_from_options(options)
        except Exception as error:  # a damaged bundle fails in many ways, all of them the file's fault
            raise XNeMoError(f"{path}: not a Face Landmarker that mediapipe can use ({error})") from error
    return task, lambda picture: mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(picture))


def _close(task: Any) -> None:
    with quiet_stderr:
        task.close()


@atexit.register
def _abandon_open_tasks() -> None:
    """Keep MediaPipe's tasks from closing themselves when Python ends.

    They would do so in a thread pool that is gone by then, and print a traceback. A reference that is never given back
    spares them the attempt; the memory goes back to the system with the process.
    """
    for task in _open_tasks:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))


class _QuietStderr:
    """Keeps the log lines that MediaPipe's C++ writes to file descriptor 2 away from the user's terminal.

    The library has no switch for them, and one of them comes at an unforeseeable picture. The descriptor belongs to the
    whole process, so blocks that overlap in several threads share one redirection: the last one out undoes it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._terminal: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            if sys.stderr is not None:
                sys.stderr.flush()
            try:
                self._terminal = os.dup(2)
            except OSError:  # no standard error at all: nothing to keep quiet
                return
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, 2)
            os.close(sink)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._terminal is not None:
                os.dup2(self._terminal, 2)
                os.close(self._terminal)
                self._terminal = None


quiet_stderr = _QuietStderr()
