"""Compare: two videos played as one, beside each other, under a wipe or as their difference, and in figures."""

from __future__ import annotations

import streamlit as st

from apps.viewer.comparing import Distance, difference_picture, measure, packed, results, show_player
from apps.viewer.parts import empty, errors_in_words, headline
from apps.viewer.session import current
from apps.viewer.suggestions import kept

PLAYER_WIDTH = 700  # pixels
FIGURES_WIDTH = 180


def page() -> None:
    """Lay the page out."""
    session = current()
    headline(
        "Compare", "Two results, frame by frame: the arrow keys step, space plays, and the wipe follows the mouse."
    )
    found = results(session)
    if not found:
        empty("Nothing to compare", "Open a clip, and press Render on a page that makes motion: results meet here.")
    if len(found) == 1:
        st.info("There is one video so far: press Render on another page, and compare both.", icon=":material/info:")
        return
    named = {each.key: each for each in found}
    first, second = st.columns(2)
    with first:
        a = named[st.selectbox("This", list(named), 0, lambda key: named[key].name, key="compare-a")]
    with second:
        b = named[
            st.selectbox("with that", list(named), min(1, len(named) - 1), lambda key: named[key].name, key="compare-b")
        ]
    # Not columns: in a narrow window the figures go below the player.
    with errors_in_words(), st.container(horizontal=True):
        with st.container(width=PLAYER_WIDTH):
            show_player(packed(a, b), "comparison")
        with st.container(width=FIGURES_WIDTH), st.spinner("Measuring …"):
            _figures(kept(session, "distance", (a.key, b.key), lambda: measure(a.video, b.video)))


def _figures(apart: Distance) -> None:
    st.metric("L1", f"{apart.l1:.4f}", help="Mean absolute difference of pixels, 0 to 1; 0 is identical.")
    st.metric("SSIM", f"{apart.ssim:.3f}", help="Structural similarity; 1 is identical.")
    st.image(difference_picture(apart.map), width="stretch", caption="where they differ")
    st.caption(f"{apart.frames} frames measured at 256 × 256; they differ most at frame {apart.worst}.")
