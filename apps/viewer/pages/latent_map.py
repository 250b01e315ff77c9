"""Map: where motion lies in the space of latents, and whether the space knows who somebody is."""

from __future__ import annotations

import hashlib

import numpy as np
import streamlit as st

from apps.viewer import networks
from apps.viewer.charts import map_chart
from apps.viewer.latent_map import (
    COLOURS,
    components_of,
    has_umap,
    pictures_of,
    place_of,
    sample_rows,
    take_frames,
    take_rows,
    umap_places,
)
from apps.viewer.parts import errors_in_words, go_to, headline
from apps.viewer.session import current
from apps.viewer.survey import Survey
from apps.viewer.surveys import choose_survey

MAP_WIDTH = 670  # pixels
PROBE_WIDTH = 220


def page() -> None:
    """Lay the page out."""
    headline(
        "Map",
        "Every point is a frame: small ones are of the set of clips, large ones of the open takes. Frames that do the "
        "same should lie together, whoever does it.",
    )
    with errors_in_words():
        survey = choose_survey(current(), "map")
        if survey is not None:
            # Not columns: in a narrow window the probe goes below the map.
            with st.container(horizontal=True):
                with st.container(width=MAP_WIDTH):
                    _map(survey)
                with st.container(width=PROBE_WIDTH):
                    _probe(survey)


@st.fragment
def _map(survey: Survey) -> None:
    session = current()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        colour = (
            st.segmented_control(
                "Colour", COLOURS, default="clip" if session.takes else "emotion", key="map-colour", required=True
            )
            or "clip"
        )
        kinds = ["PC1, PC2", "PC2, PC3", "PC3, PC4"] + (["UMAP"] if has_umap() else [])
        kind = st.selectbox("Axes", kinds, key="map-axes", width=140)
    takes = [take for take in session.takes.values() if take.tokens.encoder_id == survey.encoder_id]
    frames = [take_frames(take) for take in takes]
    points = [
        survey.sample.places,
        *(components_of(survey, take, each) for take, each in zip(takes, frames, strict=True)),
    ]
    every = np.concatenate(points)
    if kind == "UMAP":
        places = umap_places(hashlib.sha256(every.tobytes()).hexdigest(), every)
        titles = ("UMAP 1", "UMAP 2")
    else:
        first = kinds.index(kind)
        places, share = every[:, first : first + 2], survey.pca.share
        titles = (_axis(first, share[first]), _axis(first + 1, share[first + 1]))
    count = len(survey.sample.places)
    rows = sample_rows(survey, places[:count])
    for take, each in zip(takes, frames, strict=True):
        portrait = session.portrait or take.portrait or networks.default_portrait()
        rows += take_rows(take, places[count : count + len(each)], each, pictures_of(take, each, portrait))
        count += len(each)
    event = st.vega_lite_chart(
        spec=map_chart(rows, colour, titles, colour != "time"),
        width="stretch",
        on_select="rerun",
        selection_mode="point",
        key="map",
    )
    picked = [each["place"] for each in (event.selection.get("point") or []) if each.get("place")]
    if picked:
        key, frame = place_of(picked[0])
        take = session.takes.get(key)
        if take is not None and st.button(f"Show {take.name} at {frame / take.fps:.2f} s", icon=":material/timeline:"):
            session.select(key)
            session.point(frame)
            go_to("timeline")
    elif not takes:
        st.caption("Open a take, and its frames are shown here; hovering over one shows its picture.")
    else:
        st.caption("Hover over a large point to see its frame; click on it to go there. The wheel zooms.")


def _axis(number: int, share: float) -> str:
    return f"PC{number + 1} ({share:.0%} of the variance)"


def _probe(survey: Survey) -> None:
    st.markdown("**Does it know who?**")
    probe = survey.probe
    if probe is None:
        st.caption("The identity probe needs clips of two people or more.")
        return
    st.metric(
        "Identity probe",
        f"{probe.score:.0%}",
        border=True,
        help="How often a linear map names the right person from a single latent.",
    )
    where = "other clips of the same people" if probe.across_clips else "the other half of the same clips"
    st.caption(
        f"of the frames are given to the right one of {probe.people} people by a linear map; chance is "
        f"{probe.chance:.0%}. Asked on {where}."
    )
    st.caption(
        "A latent should hold the motion and not the person. Well above chance means that it leaks who somebody is, or "
        "that people here move, sit and are filmed each in their own way."
    )
