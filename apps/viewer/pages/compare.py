"""Compare: two videos played as one, beside each other, under a wipe or as their difference, and in figures."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from apps.viewer.comparing import (
    Distance,
    Perceived,
    difference_picture,
    measure,
    packed,
    perceive,
    results,
    show_player,
)
from apps.viewer.parts import empty, errors_in_words, headline
from apps.viewer.server import settings
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
        with st.container(width=FIGURES_WIDTH):
            pair = (a.key, b.key)
            with st.spinner("Measuring …"):
                _figures(kept(session, "distance", pair, lambda: measure(a.video, b.video)))
            models = settings().models
            with st.spinner("Asking the networks …"):
                folder = None if models is None else Path(models)
                _perceived(kept(session, "perceived", pair, lambda: perceive(a.video, b.video, folder)))


def _figures(apart: Distance) -> None:
    st.metric("L1", f"{apart.l1:.4f}", help="Mean absolute difference of pixels, 0 to 1; 0 is identical.")
    st.metric("SSIM", f"{apart.ssim:.3f}", help="Structural similarity; 1 is identical.")
    st.image(difference_picture(apart.map), width="stretch", caption="where they differ")
    st.caption(f"{apart.frames} frames measured at 256 × 256; they differ most at frame {apart.worst}.")


def _perceived(apart: Perceived) -> None:
    if apart.lpips is not None:
        st.metric("LPIPS", f"{apart.lpips:.3f}", help="Perceptual distance (AlexNet); 0 is identical.")
    if apart.identity is not None:
        st.metric(
            "Identity",
            f"{apart.identity:.3f}",
            help="Likeness of both faces to an identity network (cosine, frame by frame); 1 is the same person.",
        )
    if apart.lpips is not None or apart.identity is not None:
        st.caption(f"Networks looked at {apart.frames} frames.")
    if apart.missing:
        with st.popover("Not measured", icon=":material/info:"):
            for reason in apart.missing:
                st.markdown(reason)
