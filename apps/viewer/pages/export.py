"""Export: videos, motion, tokens, contact sheets, and the edits as a file that can be made again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import streamlit as st

from apps.viewer import editing, networks, stills
from apps.viewer.exporting import (
    contact_sheet_file,
    file_name,
    history_file,
    motion_file,
    replay_command,
    token_file,
)
from apps.viewer.jobs import ICONS, in_words, jobs, owner, queue, render_button
from apps.viewer.parts import empty, errors_in_words, headline
from apps.viewer.rendering import KEPT, Job
from apps.viewer.session import Session, current
from apps.viewer.takes import Take, shown_motion

PART_WIDTH = 440  # pixels
VIDEO_WIDTH = 320


def page() -> None:
    """Lay the page out."""
    session, take = current(), current().take
    headline("Export", "Everything that is made here can be taken away, and made again by `xnemo` from the files.")
    if take is None and not jobs():
        empty("Nothing is open", "Open the example, or a clip of your own, to save what becomes of it.")
    # Not columns: in a narrow window one goes below the other.
    with st.container(horizontal=True):
        with st.container(width=PART_WIDTH), errors_in_words():
            if take is not None:
                _files(session, take)
        with st.container(width=PART_WIDTH), errors_in_words():
            _videos(session)


def _files(session: Session, take: Take) -> None:
    portrait = stills.portrait_of(session, take)
    st.markdown("##### This take")
    st.caption(take.name)
    _file(
        "Tokens",
        "as `xnemo tokenize` writes them",
        file_name(take.name, ".tokens.json"),
        token_file(session, take.tokens),
    )
    _file(
        "Motion",
        "latents and head placement of each frame, for `xnemo animate`",
        file_name(take.name, ".motion.safetensors"),
        motion_file(session, take),
    )
    with _row("Video", "mp4 with every frame, marked as synthetic"):
        render_button(
            session, take.name, shown_motion(take, networks.tokenizer()), portrait, "render-export", take.origin
        )
    _contact_sheet(session, take, portrait)
    table = editing.table_of(session, take.key, networks.tokenizer())
    if table.history.done:
        st.markdown("##### Its edits")
        _file(
            "History",
            f"{table.history.done} edit{'s' * (table.history.done > 1)}",
            file_name(take.name, ".edits.json"),
            history_file(session, table),
        )
        for number, original in enumerate(table.originals):
            _file(
                "Tokens before the edits",
                original.name,
                file_name(original.name, ".original.tokens.json"),
                token_file(session, table.history.sources[number]),
                key=f"original-{number}",
            )
        st.caption("With these files beside each other this makes the same tokens, byte for byte. Open takes them too.")
        st.code(replay_command(take, table), language=None, wrap_lines=True)


@contextmanager
def _row(title: str, about: str) -> Iterator[None]:
    """A thing that can be taken away; its button stands at the right."""
    with st.container(border=True):
        words, action = st.columns([5, 2], vertical_alignment="center")
        words.markdown(f"**{title}**  \n{about}")
        with action:
            yield


def _file(title: str, about: str, name: str, data: bytes, key: str | None = None) -> None:
    with _row(title, about):
        st.download_button(
            "Save", data, name, "application/octet-stream", key=f"save-{key or title}", icon=":material/download:"
        )


def _contact_sheet(session: Session, take: Take, portrait: Path) -> None:
    with _row("Contact sheet", "frames of the whole clip on one picture"):
        known = session.scratch.get("sheet")
        if known is not None and known[0] is take.tokens:
            st.download_button("Save", known[1], file_name(take.name, ".png"), "image/png", icon=":material/download:")
        elif st.button("Make", key="make-sheet", icon=":material/grid_on:"):
            with st.spinner("Drawing …"):
                session.scratch["sheet"] = (take.tokens, contact_sheet_file(take, portrait))
            st.rerun()


def _videos(session: Session) -> None:
    st.markdown("##### Videos")
    listed = jobs()
    if not listed:
        st.caption("Nothing was rendered yet. Press Render here, or on the pages that make motion.")
        return
    st.caption(f"The last {KEPT} are kept until this window closes.")
    done = [job.key for job in listed if job.state == "done"]
    playing = session.scratch.get("export-playing")
    playing = playing if playing in done else next(iter(done), None)
    for job in listed:
        _video(session, job, playing == job.key)


def _video(session: Session, job: Job, playing: bool) -> None:
    with st.container(border=True):
        words, action = st.columns([9, 1])
        words.markdown(f"{ICONS[job.state]} **{job.title}**  \n{in_words(job)}")
        if not job.running and action.button(
            "", key=f"remove-{job.key}", icon=":material/delete:", type="tertiary", help="Remove it"
        ):
            queue().remove(owner(), job.key)
            st.rerun()
        if job.state == "done" and job.output.is_file():
            if playing:
                st.video(str(job.output), loop=True, width=VIDEO_WIDTH)
            with st.container(horizontal=True):
                st.download_button(
                    "Save mp4",
                    job.output.read_bytes,
                    file_name(job.title, ".mp4"),
                    "video/mp4",
                    key=f"save-{job.key}",
                    icon=":material/download:",
                )
                if not playing and st.button("Play", key=f"play-{job.key}", icon=":material/play_arrow:"):
                    session.scratch["export-playing"] = job.key
                    st.rerun()
