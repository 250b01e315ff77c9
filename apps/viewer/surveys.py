"""Which survey the pages speak of: the packaged one, or that of the dataset that is open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from animator.errors import XNeMoError
from apps.viewer import networks
from apps.viewer.server import started
from apps.viewer.sources import dataset
from apps.viewer.survey import PACKAGED, Survey, cached_survey_path, load_survey, survey_dataset

if TYPE_CHECKING:
    from animator.dataset import MotionDataset
    from apps.viewer.session import Session


@st.cache_resource(show_spinner=False)
def packaged_survey() -> Survey:
    """The survey of the clips that the packaged weights were trained on."""
    return load_survey(PACKAGED)


def known_survey(dataset: MotionDataset) -> Survey | None:
    """The survey of a dataset, if it was made before."""
    path = cached_survey_path(dataset, networks.tokenizer())
    if not path.is_file():
        return None
    try:
        return _loaded(path, path.stat().st_mtime_ns)
    except XNeMoError:
        return None  # of another version, or damaged: it is made again


def make_survey(dataset: MotionDataset) -> Survey:
    """Read a whole dataset, with a bar that says how far it is, and keep what it says.

    Raises:
        XNeMoError: latents of another encoder, or the cache folder cannot be written.
    """
    bar = st.progress(0.0, "Reading the dataset …")
    packaged = packaged_survey()
    readout = packaged.readout if packaged.encoder_id == dataset.encoder_id else None
    try:
        survey = survey_dataset(dataset, networks.tokenizer(), readout, lambda share: bar.progress(share))
    finally:
        bar.empty()
    survey.save(cached_survey_path(dataset, networks.tokenizer()))
    return survey


@st.cache_resource(show_spinner=False, max_entries=4)
def _loaded(path: Path, changed: int) -> Survey:
    return load_survey(path)


def open_dataset(session: Session) -> Path | None:
    """The motion dataset that the pages may speak of: the one that a clip was opened from last, or that the viewer was
    started with."""
    chosen = session.scratch.get("dataset")
    if chosen is not None:
        return Path(chosen)
    path = started().path
    return path if path is not None and path.is_dir() else None


def choose_survey(session: Session, key: str) -> Survey | None:
    """Let somebody choose what set of clips a page speaks of; a dataset that nobody has read is read on a click.

    Args:
        session: knows which dataset is open.
        key: begins the names of the widgets.
    Returns:
        None where there is no survey yet, or none that fits the weights in use.
    """
    packaged, folder = packaged_survey(), open_dataset(session)
    fits = packaged.tokenizer_id == networks.tokenizer().id
    choices = (["training clips"] if fits else []) + ([folder.name] if folder is not None else [])
    if not choices:
        st.info(
            "The weights in use are not the packaged ones, so nothing is known of their training clips. Start the "
            "viewer with a motion dataset (xnemo view DATASET), or open a folder on the first page.",
            icon=":material/info:",
        )
        return None
    chosen = choices[0]
    if len(choices) > 1:
        chosen = st.segmented_control("Clips", choices, default=choices[-1], key=f"{key}-set", required=True) or chosen
    if folder is None or chosen != folder.name:
        return packaged
    data = dataset(folder)
    known = known_survey(data)
    if known is not None:
        return known
    st.info(f"{len(data)} clips of {folder.name} have not been read yet.", icon=":material/info:")
    if st.button("Read them", type="primary", key=f"{key}-read", help="About a second for each minute of film."):
        make_survey(data)
        st.rerun()
    return None
