"""Full renders, away from the pages: one worker draws jobs one after the other, and pages ask how far it is.

One worker, because two renders at once take as long and twice the memory. A job belongs to an owner, the browser
session that asked for it, and no other owner can see, cancel or read it.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from animator.errors import XNeMoError

if TYPE_CHECKING:
    from animator.config import RenderConfig
    from animator.motion_clip import MotionClip
    from animator.pipeline import XNeMoPipeline
    from animator.portrait import PortraitPictures
    from animator.provenance.statement import Source

KEPT = 12
"""Finished jobs that an owner keeps; the oldest goes, with its file, when there are more."""

WAITING = 8
"""Jobs of an owner that may wait at once."""

State = Literal["waiting", "drawing", "done", "failed", "cancelled"]
Work = Callable[[Callable[[int], None]], None]
"""Makes a job's file; calls what it is given with the number of frames done, which raises `Cancelled` when it must."""


class Cancelled(Exception):
    """The job's owner does not want it any more."""


@dataclass(frozen=True)
class Job:
    """How a render stands.

    Attributes:
        key: its address.
        owner: whose it is.
        title: what people call it.
        output: the video, whole once the job is done.
        frames: how many it will have.
        done: how many are drawn.
        state: waiting, drawing, done, failed or cancelled.
        error: why it failed, in words.
        seconds: how long it took, or takes so far.
    """

    key: str
    owner: str
    title: str
    output: Path
    frames: int
    done: int = 0
    state: State = "waiting"
    error: str = ""
    seconds: float = 0.0

    @property
    def running(self) -> bool:
        """Whether it is still to be finished."""
        return self.state in ("waiting", "drawing")

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
        return 1.0 if self.state == "done" else min(1.0, self.done / max(1, self.frames))


@dataclass
class _Entry:
    job: Job
    work: Work | None  # None when it is over: nothing of it may stay in memory
    cancelled: threading.Event = field(default_factory=threading.Event)
    left: bool = False  # its owner is gone; it goes too, as soon as it is over
    started: float = 0.0


class RenderQueue:
    """Jobs in the order in which they came, drawn by one thread that starts with the first."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._changed = threading.Condition()
        self._worker: threading.Thread | None = None
        self._closed = False

    def submit(self, owner: str, title: str, frames: int, output: Path, work: Work) -> str:
        """Put a job at the end of the queue.

        Args:
            owner: whose it is.
            title: what people call it.
            frames: how many it will have.
            output: the file that `work` makes.
            work: makes it.
        Returns:
            The job's key.
        Raises:
            XNeMoError: too many are waiting already.
        """
        with self._changed:
            waiting = [job for job in self._of(owner) if job.state == "waiting"]
            if len(waiting) >= WAITING:
                raise XNeMoError(f"{WAITING} renders are waiting; let one finish, or cancel one")
            key = secrets.token_hex(8)
            self._entries[key] = _Entry(Job(key, owner, title, output, frames), work)
            if self._worker is None:
                self._worker = threading.Thread(target=self._run, name="renders", daemon=True)
                self._worker.start()
            self._changed.notify_all()
        return key

    def jobs(self, owner: str) -> list[Job]:
        """An owner's jobs, the newest first."""
        with self._changed:
            now = time.monotonic()
            jobs = self._of(owner)
            return [
                replace(job, seconds=now - self._entries[job.key].started) if job.state == "drawing" else job
                for job in reversed(jobs)
            ]

    def ahead(self, key: str) -> int:
        """Jobs of anybody that are drawn before this one."""
        with self._changed:
            running = [each for each, entry in self._entries.items() if entry.job.running]
            return running.index(key) if key in running else 0

    def cancel(self, owner: str, key: str) -> None:
        """Stop a job, or take it out of the queue; of one that is over, or somebody else's, nothing changes."""
        with self._changed:
            entry = self._entries.get(key)
            if entry is None or entry.job.owner != owner or not entry.job.running:
                return
            entry.cancelled.set()
            if entry.job.state == "waiting":
                entry.job, entry.work = replace(entry.job, state="cancelled"), None

    def remove(self, owner: str, key: str) -> None:
        """Forget a job that is over, and remove its file."""
        with self._changed:
            entry = self._entries.get(key)
            if entry is not None and entry.job.owner == owner and not entry.job.running:
                self._drop(key)

    def forget(self, owner: str) -> None:
        """Cancel and remove all that an owner has; for when the owner leaves."""
        for job in self.jobs(owner):
            self.cancel(owner, job.key)
        with self._changed:
            for job in self._of(owner):
                self._entries[job.key].left = True
                if not job.running:
                    self._drop(job.key)

    def wait(self, key: str, seconds: float) -> Job | None:
        """Wait until a job is over, for so long at most; the job, or None if it is gone."""
        with self._changed:
            self._changed.wait_for(lambda: key not in self._entries or not self._entries[key].job.running, seconds)
            return self._entries[key].job if key in self._entries else None

    def close(self) -> None:
        """Cancel everything and end the worker."""
        with self._changed:
            self._closed = True
            for entry in self._entries.values():
                entry.cancelled.set()
            self._changed.notify_all()
        if self._worker is not None:
            self._worker.join()

    def _of(self, owner: str) -> list[Job]:
        return [entry.job for entry in self._entries.values() if entry.job.owner == owner]

    def _drop(self, key: str) -> None:
        self._entries.pop(key).job.output.unlink(missing_ok=True)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next() is not None)
                entry = self._next()
                if self._closed or entry is None:
                    return
                entry.job, entry.started = replace(entry.job, state="drawing"), time.monotonic()
            state, error = self._draw(entry)
            with self._changed:
                seconds = time.monotonic() - entry.started
                entry.job = replace(entry.job, state=state, error=error, seconds=seconds)
                entry.work = None
                if entry.left:
                    self._drop(entry.job.key)
                self._tidy(entry.job.owner)
                self._changed.notify_all()

    def _next(self) -> _Entry | None:
        return next((entry for entry in self._entries.values() if entry.job.state == "waiting"), None)

    def _draw(self, entry: _Entry) -> tuple[State, str]:
        def told(frames: int) -> None:
            if entry.cancelled.is_set():
                raise Cancelled
            with self._changed:
                entry.job = replace(entry.job, done=frames)

        assert entry.work is not None  # it waited until now
        try:
            entry.work(told)
        except Cancelled:
            return "cancelled", ""
        except XNeMoError as error:
            return "failed", str(error)
        except Exception as error:  # a job's failure must never end the worker
            text = " ".join(str(error).split())[:300] or "no message"
            return "failed", f"{type(error).__name__}: {text}"
        return "done", ""

    def _tidy(self, owner: str) -> None:
        over = [job for job in self._of(owner) if not job.running]
        for job in over[: max(0, len(over) - KEPT)]:
            self._drop(job.key)


def draw_video(
    pipeline: XNeMoPipeline,
    pictures: PortraitPictures,
    motion: MotionClip,
    config: RenderConfig,
    output: Path,
    told: Callable[[int], None],
    sources: tuple[Source, ...] = (),
    sound: Path | None = None,
    sound_until: float | None = None,
) -> None:
    """Draw motion as `xnemo animate` does, with the same writer.

    Args:
        pipeline, pictures, motion, config: as of `apps.animation.render`.
        output: the mp4 to make.
        told: called with the number of frames written so far, after each batch and, with the diffusion model, after
            each prediction.
        sources: what the video's marks say that it was made from.
        sound: file whose sound is taken along, from the first frame on.
        sound_until: seconds after which there is none of it any more.
    Raises:
        XNeMoError: settings that do not go together, or a file that cannot be written.
    """
    from animator.provenance.marks import Marks
    from animator.video import VideoWriter
    from apps.animation import render

    pipeline.set_progress_bar_config(disable=True)
    count = 0

    def step(*_: object) -> None:
        told(count)

    told(0)
    marks = Marks("view", sources, config.marks)
    with VideoWriter(
        output, motion.fps, audio_from=sound, audio_until=sound_until, crf=config.crf, marks=marks
    ) as writer:
        for batch in render(pipeline, pictures, motion, config, step):
            writer.write(batch)
            count += len(batch)
            told(count)
