"""The generator's controls, and results side by side: what Extrapolate and Emotion share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from apps.viewer.jobs import render_button
from apps.viewer.making import Made, keep_button
from apps.viewer.session import Session

if TYPE_CHECKING:
    from motion_gpt.settings import Sampling

COLUMNS = 4


def sampling_controls(key: str, guidance: bool = False) -> Sampling:
    """Seed and temperature, and the rest of how tokens are drawn behind a click.

    Args:
        key: begins the names of the widgets.
        guidance: whether there is an emotion that guidance can strengthen.
    Raises:
        XNeMoError: values that are not allowed.
    """
    from motion_gpt.settings import Sampling

    seed = st.number_input(
        "Seed", 0, 2**31, 0, key=f"{key}-seed", help="The same seed makes the same motion; another one, other motion."
    )
    temperature = st.number_input(
        "Temperature",
        0.0,
        2.0,
        1.0,
        0.05,
        key=f"{key}-temperature",
        help="Above 1 is more varied, below 1 calmer; 0 always takes the likeliest code, which soon stands still.",
    )
    scale = 1.0
    if guidance:
        scale = st.number_input(
            "Guidance",
            0.0,
            5.0,
            1.0,
            0.25,
            key=f"{key}-guidance",
            help="1 is none; more makes the emotion stronger and the motion less varied.",
        )
    with st.popover("More", icon=":material/tune:"):
        top_k = st.number_input("top-k", 0, 4096, 0, key=f"{key}-k", help="Draw from so many best codes; 0: from all.")
        top_p = st.number_input(
            "top-p",
            0.05,
            1.0,
            1.0,
            0.05,
            key=f"{key}-p",
            help="Draw from the likeliest codes that have this probability together; 1: from all.",
        )
        st.caption("What is cut off here is mostly motion: a low top-k or top-p makes a head that hardly moves.")
    settings = Sampling(
        seed=int(seed),
        temperature=float(temperature),
        top_k=int(top_k) or None,
        top_p=float(top_p),
        guidance_scale=float(scale),
    )
    settings.check()
    return settings


def show_made(session: Session, made: Sequence[Made], portrait: Path, key: str) -> None:
    """Results side by side, each with a way to keep it and to render it in full."""
    for first in range(0, len(made), COLUMNS):
        row = made[first : first + COLUMNS]
        for column, (number, each) in zip(st.columns(COLUMNS), enumerate(row, first), strict=False):
            with column:
                st.image(each.look, width="stretch", caption=each.title)
                with st.container(horizontal=True):
                    keep_button(session, each.title, each.motion, portrait, f"{key}-keep-{number}", each.origin)
                    render_button(session, each.title, each.motion, portrait, f"{key}-render-{number}", each.origin)
