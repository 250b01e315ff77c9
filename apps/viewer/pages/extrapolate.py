"""Extrapolate: a take goes on by itself, in several ways."""

from __future__ import annotations

import streamlit as st

from apps.viewer import networks, stills
from apps.viewer.controls import sampling_controls, show_made
from apps.viewer.making import LONGEST, continued
from apps.viewer.parts import errors_in_words, headline, need_take
from apps.viewer.session import current


def page() -> None:
    """Lay the page out."""
    session, take = current(), need_take()
    headline(
        f"Continue {take.name}",
        "The generator goes on where the clip ends, or at the cursor, a token at a time. Each candidate is another "
        "draw of the same odds.",
    )
    least = networks.tokenizer().frames_per_token
    with errors_in_words():
        with st.form("continue", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
            places = {"its end": take.length}
            if least < session.cursor + 1 < take.length:
                places[f"frame {session.cursor}, the cursor"] = session.cursor + 1
            where = st.selectbox("From", list(places))
            seconds = st.number_input("Seconds", 0.5, LONGEST, 2.0, 0.5)
            candidates = st.number_input("Candidates", 1, 4, 3)
            settings = sampling_controls("continue")
            wanted = st.form_submit_button("Continue", type="primary", icon=":material/fast_forward:")
        portrait = stills.portrait_of(session, take)
        if wanted:
            from motion_gpt.vocabulary import Condition

            with st.spinner("Making and drawing …"):
                bar = st.progress(0.0)
                made = continued(
                    take, places[where], seconds, settings, Condition(), int(candidates), portrait, bar.progress
                )
                bar.empty()
            session.scratch["continued"] = (take.key, made)
        key, made = session.scratch.get("continued", (None, []))
        if key == take.key:
            show_made(session, made, portrait, "continued")
            st.caption("A second of what was given, then what was made up; small and at half of the frame rate.")
        else:
            st.info("Nothing was made yet: press Continue.", icon=":material/info:")
