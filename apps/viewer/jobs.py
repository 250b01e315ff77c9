"""Renders on the pages: asking for one, and seeing how far it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from animator.errors import XNeMoError
from animator.files import sha256_of
from apps.viewer import networks
from apps.viewer.rendering import Job, RenderQueue, draw_video
from apps.viewer.server import settings
from apps.viewer.session import Session, current
from apps.viewer.takes import Origin

if TYPE_CHECKING:
    from animator.motion_clip import MotionClip
    from animator.provenance.statement import Source

POLL = 0.7  # seconds
_TOLD = "queued renders"
ICONS = {
    "waiting": ":material/hourglass_empty:",
    "drawing": ":material/brush:",
    "done": ":material/check_circle:",
    "failed": ":material/error:",
    "cancelled": ":material/cancel:",
}


@st.cache_resource(show_spinner=False)
def queue() -> RenderQueue:
    """The queue of the whole server."""
    return RenderQueue()


@st.cache_resource(scope="session", on_release=lambda owner: queue().forget(owner), show_spinner=False)
def owner() -> str:
    """Whose jobs this browser session's are; they go when it ends."""
    return current().folder.name


def jobs() -> list[Job]:
    """This session's jobs, the newest first."""
    return queue().jobs(owner())


def finished() -> list[Job]:
    """Those of them whose video is there, the newest first."""
    return [job for job in jobs() if job.state == "done" and job.output.is_file()]


def submit(session: Session, title: str, motion: MotionClip, portrait: Path, origin: Origin) -> str:
    """Put a full render into the queue.

    Args:
        session: whose folder gets the video.
        title: what people call it.
        motion: what is drawn.
        portrait: with which picture.
        origin: its sound, and the files of its key frames.
    Returns:
        The job's key.
    Raises:
        XNeMoError: no face in the portrait, or too many renders are waiting.
    """
    pipeline, pictures, config = networks.pipeline(), networks.pictures(portrait), settings()
    output, made_from = session.new_file(".mp4"), sources_of(session, motion, portrait, origin)

    def work(told: Callable[[int], None]) -> None:
        # The take may have been closed while the job was waiting, and its file with it.
        sound = origin.sound if origin.sound is not None and origin.sound.is_file() else None
        draw_video(pipeline, pictures, motion, config, output, told, made_from, sound, origin.sound_until)

    return queue().submit(owner(), title, len(motion), output, work)


def sources_of(session: Session, motion: MotionClip, portrait: Path, origin: Origin) -> tuple[Source, ...]:
    """What a render says that it was made from: the portrait, and the files that motion was read from, as far as they
    are known.

    Raises:
        XNeMoError: the portrait cannot be read.
    """
    from animator.provenance.statement import Source

    found = [Source("portrait", session.names.get(portrait, portrait.name), sha256_of(portrait))]
    found += origin.keys
    if motion.source_sha256 and motion.source_sha256 not in {key.sha256 for key in origin.keys}:
        found.append(Source("driving", motion.source, motion.source_sha256))
    return tuple(found)


def in_words(job: Job) -> str:
    """How a job stands, in a few words."""
    if job.state == "waiting":
        ahead = queue().ahead(job.key)
        return f"waiting, {ahead} before it" if ahead else "next"
    if job.state == "drawing":
        return f"{job.done} of {job.frames} frames, {job.seconds:.0f} s"
    if job.state == "done":
        return f"{job.frames} frames in {job.seconds:.0f} s"
    return job.error if job.state == "failed" else "cancelled"


def render_button(session: Session, title: str, motion: MotionClip, portrait: Path, key: str, origin: Origin) -> bool:
    """A button that puts a full render into the queue.

    Returns:
        Whether it was pressed just now. A fragment then has to run the whole page, as only that shows the progress.
    """
    return st.button(
        "Render",
        key=key,
        icon=":material/movie:",
        help="Draws every frame in full, in the background.",
        # A callback runs before the page does: no click is lost while a page is being made.
        on_click=_submit,
        args=(session, title, motion, portrait, origin),
    )


def _submit(session: Session, title: str, motion: MotionClip, portrait: Path, origin: Origin) -> None:
    try:
        submit(session, title, motion, portrait, origin)
    except XNeMoError as error:
        session.notices.append(str(error))
    else:
        session.scratch.setdefault(_TOLD, []).append(title)


def progress_panel() -> None:
    """What is drawn now, with a way to stop it; nothing where nothing is drawn. It looks again by itself."""
    # Not where it is asked for: what a fragment's callback tells takes the place of the page's style.
    for title in current().scratch.pop(_TOLD, []):
        st.toast(f"{title}: in the queue", icon=":material/movie:")
    running = [job for job in jobs() if job.running]
    if running:
        st.fragment(_progress, run_every=POLL)()


def _progress() -> None:
    running = [job for job in jobs() if job.running]
    if not running:
        # One run of the whole page: it shows what is finished, and stops asking.
        st.rerun()
    for job in reversed(running):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.progress(job.share, text=f"{ICONS[job.state]} {job.title}: {in_words(job)}")
            if st.button(
                "", key=f"cancel-{job.key}", icon=":material/close:", type="tertiary", help="Stop this render"
            ):
                queue().cancel(owner(), job.key)
