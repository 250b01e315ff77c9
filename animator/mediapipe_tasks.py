"""MediaPipe's tasks: opened from files, silent on standard error, and no trouble when the program ends."""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from animator.errors import XNeMoError

_open_tasks: weakref.WeakSet[Any] = weakref.WeakSet()


class PictureTask:
    """A MediaPipe task that looks at one picture at a time: the base of all that finds faces and landmarks.

    Args:
        path: the model.
        kind: what the file should be, in words, for the message when it is not.
        create: makes the task from `mediapipe.tasks.python` and the file's bytes; what it raises is the file's fault.
    Raises:
        XNeMoError: the file cannot be read or used, or MediaPipe cannot be loaded on this machine.
    """

    def __init__(self, path: Path, kind: str, create: Callable[[Any, bytes], Any]) -> None:
        try:
            model = path.read_bytes()
        except OSError as error:
            raise XNeMoError(f"{path}: cannot be read: {error.strerror or error}") from error
        with quiet_stderr:
            try:
                # Imported here: it takes a second, and most commands on .motion files need none of it.
                import mediapipe
                from mediapipe.tasks import python as tasks
                from mediapipe.tasks.python import vision as vision  # makes it an attribute of `tasks`

                self._task = create(tasks, model)
            except (ImportError, OSError) as error:
                raise XNeMoError(f"mediapipe, which finds faces and landmarks, cannot be loaded: {error}") from error
            except Exception as error:  # a damaged file fails in many ways
                raise XNeMoError(f"{path}: not {kind} that mediapipe can use ({error})") from error
        self._to_image = lambda picture: mediapipe.Image(mediapipe.ImageFormat.SRGB, picture)
        _open_tasks.add(self._task)
        self._finalizer = weakref.finalize(self, _close, self._task)
        self._finalizer.atexit = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the networks; nothing can be looked at afterwards."""
        self._finalizer()

    def _look_at(self, picture: np.ndarray) -> Any:
        """MediaPipe's result for an RGB picture (H, W, 3), uint8."""
        with quiet_stderr:
            return self._task.detect(self._to_image(np.ascontiguousarray(picture)))


class LandmarkerTask(PictureTask):
    """MediaPipe's Face Landmarker, with blendshapes and head matrix.

    Args:
        path: the bundle, `face_landmarker.task`.
        faces: most faces to report.
    Raises:
        XNeMoError: see `PictureTask`.
    """

    def __init__(self, path: Path, faces: int) -> None:
        def create(tasks: Any, bundle: bytes) -> Any:
            options = tasks.vision.FaceLandmarkerOptions(
                base_options=tasks.BaseOptions(model_asset_buffer=bundle),
                num_faces=faces,
                output_face_blendshapes=True,
                output_facial_transformation_matrixes=True,
            )
            return tasks.vision.FaceLandmarker.create_from_options(options)

        super().__init__(path, "a Face Landmarker", create)


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
