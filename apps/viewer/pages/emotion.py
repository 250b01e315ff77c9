"""Emotion: motion that expresses something, from nothing or behind a take."""

from __future__ import annotations

import streamlit as st

from apps.viewer import stills
from apps.viewer.controls import sampling_controls, show_made
from apps.viewer.making import LONGEST, conditions_of, felt
from apps.viewer.parts import errors_in_words, headline
from apps.viewer.session import current

NONE = "none"
NOTHING = "nothing"


def page() -> None:
    """Lay the page out."""
    from motion_gpt.vocabulary import EMOTIONS

    session = current()
    headline(
        "Emotion",
        "The generator was told what people felt in its training clips; here it is told what to express. All results "
        "of a row use the same random numbers, so that what differs is the emotion.",
    )
    with errors_in_words():
        with st.form("emotion", border=False):
            chosen = st.pills(
                "Emotions",
                EMOTIONS,
                selection_mode="multi",
                default=["neutral", "happy", "sad", "surprised"],
                help="Each one chosen makes a clip.",
            )
            with st.container(horizontal=True, vertical_alignment="bottom"):
                intensity = st.selectbox("Intensity", [1, 2, 3], index=2, help="Of three; neutral has the first only.")
                blend = st.selectbox("Blended with", [NONE, *EMOTIONS], help="A second emotion in each of the clips.")
                share = st.number_input("Its share", 0.0, 1.0, 0.3, 0.1)
                seconds = st.number_input("Seconds", 0.5, LONGEST, 2.0, 0.5)
                names = [NOTHING, *session.takes]
                start = st.selectbox(
                    "Behind",
                    names,
                    format_func=lambda name: name if name == NOTHING else session.takes[name].name,
                    help="Begin from nothing, or go on from a take.",
                )
            with st.container(horizontal=True, vertical_alignment="bottom"):
                settings = sampling_controls("emotion", guidance=True)
                wanted = st.form_submit_button("Make", type="primary", icon=":material/theater_comedy:")
        before = session.takes.get(start)
        portrait = stills.portrait_of(session, before or session.take)
        if wanted:
            conditions = conditions_of(list(chosen), intensity, None if blend == NONE else blend, share)
            with st.spinner("Making and drawing …"):
                bar = st.progress(0.0)
                session.scratch["felt"] = felt(conditions, seconds, settings, before, portrait, bar.progress)
                bar.empty()
        made = session.scratch.get("felt", [])
        if made:
            show_made(session, made, portrait, "felt")
        else:
            st.info("Nothing was made yet: choose some emotions and press Make.", icon=":material/info:")
