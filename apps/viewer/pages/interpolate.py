"""Interpolate: a smooth way through frames from anywhere, along latents or through the codebook."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from apps.viewer import stills
from apps.viewer.jobs import render_button
from apps.viewer.keys import HELP, WAYS, add, collected, files_of, key_of_picture, key_of_take, ways_through
from apps.viewer.making import keep_button
from apps.viewer.parts import choose_take, empty, errors_in_words, headline
from apps.viewer.session import Session, current
from apps.viewer.takes import Origin

if TYPE_CHECKING:
    from animator.motion_clip import MotionClip

KEY_WIDTH = 120  # pixels
CARD_WIDTH = 104


def page() -> None:
    """Lay the page out."""
    session = current()
    headline(
        "Interpolate",
        "Collect two or more frames, of takes or of pictures, and compare three ways from one to the next.",
    )
    if not session.takes and not collected(session):
        empty("Nothing is open", "Open the example, or a clip of your own, to take frames from.")
    with errors_in_words():
        _collect(session)
    with errors_in_words():
        _ways(session)


def _collect(session: Session) -> None:
    keys = collected(session)
    if keys:
        with st.container(horizontal=True):
            for number, key in enumerate(list(keys)):
                with st.container(width=CARD_WIDTH):
                    st.image(key.picture, width="stretch")
                    with st.container(horizontal=True, vertical_alignment="center"):
                        st.caption(f"{number + 1}", width="content", help=key.name)
                        if st.button("", key=f"drop-{number}", icon=":material/close:", type="tertiary", help="Remove"):
                            keys.pop(number)
                            st.rerun()
    with st.expander("Add a frame", icon=":material/add_photo_alternate:", expanded=len(keys) < 2):
        left, right = st.columns(2, gap="large")
        with left, errors_in_words():
            _from_take(session)
        with right, errors_in_words():
            _from_picture(session)


@st.fragment
def _from_take(session: Session) -> None:
    if not session.takes:
        st.caption("No take is open.")
        return
    take = choose_take(session, "Of the take", "key-take")
    at = session.cursor if take.key == session.selected else 0
    frame = st.slider("Frame", 0, max(1, take.length - 1), min(at, take.length - 1), key=f"key-frame-{take.key}")
    with st.container(horizontal=True, vertical_alignment="center"):
        key = key_of_take(session, take, frame)
        st.image(key.picture, width=KEY_WIDTH)
        if st.button("Add this frame", icon=":material/add:", type="primary"):
            with errors_in_words():
                add(session, key)
                st.rerun()


def _from_picture(session: Session) -> None:
    number = session.scratch.setdefault("key-uploads", 0)
    uploaded = st.file_uploader(
        "Or of a picture with a face",
        type=["jpg", "jpeg", "png", "webp"],
        key=f"key-upload-{number}",
        help="Its expression is read; who it shows plays no part.",
    )
    if uploaded is not None:
        with st.spinner("Reading the face …"):
            key = key_of_picture(session, uploaded.name, uploaded.getvalue())
        add(session, key)
        session.scratch["key-uploads"] = number + 1
        st.rerun()


def _ways(session: Session) -> None:
    keys = collected(session)
    if len(keys) < 2:
        missing = "two frames" if not keys else "one more frame"
        st.info(f"Add {missing}: put the slider where a take looks good, and add that frame.", icon=":material/info:")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        seconds = st.number_input("Seconds between frames", 0.2, 10.0, 1.0, 0.2)
        easing = st.selectbox(
            "Easing",
            ["smooth", "linear", "in", "out"],
            help="Smooth begins and ends each transition at rest; linear moves at constant speed.",
        )
        loop = st.checkbox("Come back to the first")
    ways = ways_through(keys, seconds, easing, loop)
    portrait, origin = stills.portrait_of(session, session.take), Origin(keys=files_of(keys))
    _side_by_side(ways, portrait)
    for column, (name, motion) in zip(st.columns(len(ways)), ways.items(), strict=True):
        with column, st.container(horizontal=True):
            title = f"{WAYS[name]} through {len(keys)} frames"
            keep_button(session, title, motion, portrait, f"keep-{name}", origin)
            render_button(session, title, motion, portrait, f"render-{name}", origin)


@st.fragment
def _side_by_side(ways: dict[str, MotionClip], portrait: Path) -> None:
    length = len(next(iter(ways.values())))
    frame = st.slider("Along the way", 0, length - 1, length // 2, help="The same moment of all three ways.")
    for column, (name, motion) in zip(st.columns(len(ways)), ways.items(), strict=True):
        with column:
            st.markdown(f"**{WAYS[name]}**", help=HELP[name])
            st.image(stills.draw(portrait, motion, [frame])[0], width="stretch")
