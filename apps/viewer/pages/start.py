"""Open: the example, an upload, or a clip of a motion dataset."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from animator.errors import XNeMoError
from apps.viewer import networks
from apps.viewer.parts import errors_in_words, go_to, headline
from apps.viewer.server import is_local, settings, started
from apps.viewer.session import MAX_TAKES, Session, current
from apps.viewer.sources import CLIP, EXAMPLES, FILE, Example, dataset, open_clip, open_example, open_path, open_upload

POSTER_WIDTH = 88  # pixels


def page() -> None:
    """Lay the page out."""
    session = current()
    headline(
        "Open",
        "See a clip as the tokens that the motion model speaks in: what each one means, how sure the generator is of "
        "it, and what happens when it is changed.",
    )
    left, right = st.columns(2, gap="large")
    with left:
        _examples(session)
        _started_with(session)
    with right:
        _upload(session)
        _datasets(session)
    _open_takes(session)


def _examples(session: Session) -> None:
    st.markdown("##### Start here")
    for example in EXAMPLES:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.image(str(example.poster), width=POSTER_WIDTH)
            with st.container():
                st.markdown(f"**{example.name.removesuffix(' (example)')}**  \n{example.about}")
            if st.button("Open", key=f"open-{example.key}", type="primary"):
                _open(session, example)


def _open(session: Session, example: Example) -> None:
    with errors_in_words():
        if example.key in session.takes:  # it may have been edited
            session.select(example.key)
        else:
            with st.spinner("Opening …"):
                session.add(open_example(example))
        go_to("timeline")


def _started_with(session: Session) -> None:
    path = started().path
    if path is None or path.is_dir():
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{path.name}**  \nthe file that the viewer was started with")
        if st.button("Open", key="open-started", disabled=FILE in session.takes):
            with errors_in_words():
                with st.spinner(f"Reading {path.name} …"):
                    session.add(open_path(path))
                go_to("timeline")


def _upload(session: Session) -> None:
    config = settings()
    st.markdown("##### Your own")
    # Another key, and so an empty field, after each file that was taken.
    number = session.scratch.setdefault("uploads", 0)
    uploaded = st.file_uploader(
        "A video, a portrait, motion, tokens or edits",
        key=f"upload-{number}",
        help="Motion, tokens and edits are files as Export saves them: .motion.safetensors, .tokens.json, .edits.json. "
        "A portrait is what motion is drawn with from then on. Files stay on this machine, in a folder of this browser "
        "window that is removed when it closes.",
    )
    st.caption(
        f"At most {config.upload_mb} MB and {config.upload_seconds:g} s; {MAX_TAKES} takes at a time. Reading a video "
        "takes about as long as it lasts, several times that on a slow machine."
    )
    if uploaded is not None:
        _take_in(session, uploaded.file_id, uploaded.name, uploaded.getvalue())


def _take_in(session: Session, number: str, name: str, data: bytes) -> None:
    """Open an upload; one that was refused stays in its field, and is not read again in every run of the page."""
    if session.scratch.get("refused", ("", ""))[0] == number:
        st.error(session.scratch["refused"][1], icon=":material/error:")
        return
    try:
        with st.spinner(f"Reading {name} …"):
            opened = open_upload(session, name, data)
            if opened.take is not None:
                session.add(opened.take)
            if opened.edits is not None:
                from apps.viewer.editing import open_history

                open_history(session, opened.edits, name, networks.tokenizer())
    except XNeMoError as error:
        session.scratch["refused"] = (number, str(error))
        st.error(str(error), icon=":material/error:")
        return
    session.scratch["uploads"] += 1
    if opened.portrait is not None:
        session.draw_with(opened.portrait)
        session.notices.append(f"Motion is now drawn with {name}.")
        st.rerun()
    go_to("timeline" if opened.edits is None else "edit")


def _datasets(session: Session) -> None:
    folder = started().path
    if folder is None or not folder.is_dir():
        folder = _typed_folder(session)
    if folder is None:
        return
    with errors_in_words():
        labels = [row for row in dataset(folder).labels() if not row["mirrored"]]
        names = {
            row["clip_id"]: " · ".join(str(word) for word in (row["clip_id"], row["emotion"], row["intensity"]) if word)
            for row in labels
        }
        with st.container(horizontal=True, vertical_alignment="bottom"):
            chosen = st.selectbox(
                f"{len(labels)} clips in {folder.name}", list(names), format_func=names.__getitem__, key="clip"
            )
            if st.button("Open", key="open-clip", disabled=CLIP + chosen in session.takes):
                session.add(open_clip(folder, chosen, shared=folder == started().path))
                session.scratch["dataset"] = folder
                go_to("timeline")


def _typed_folder(session: Session) -> Path | None:
    if not is_local():
        return None
    text = st.text_input(
        "Folder of a motion dataset",
        key="folder",
        placeholder="as xnemo extract writes it",
        help="A folder on this machine. The viewer can also be started with it: xnemo view DATASET.",
    )
    return Path(text).expanduser() if text.strip() else None


def _open_takes(session: Session) -> None:
    if not session.takes:
        return
    st.markdown("##### Open now")
    for key, take in list(session.takes.items()):
        with st.container(horizontal=True, vertical_alignment="center"):
            chosen = key == session.selected
            st.markdown(f"{'**' if chosen else ''}{take.name}{'**' if chosen else ''} · {take.length / take.fps:.1f} s")
            if st.button("Show", key=f"show-{key}", type="tertiary", icon=":material/timeline:"):
                session.select(key)
                go_to("timeline")
            if st.button("Close", key=f"close-{key}", type="tertiary", icon=":material/close:"):
                session.close(key)
                st.rerun()
