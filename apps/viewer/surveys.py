"""Which survey the pages speak of: the packaged one, or that of the dataset that is open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from animator.errors import XNeMoError
from apps.viewer import networks
from apps.viewer.survey import PACKAGED, Survey, cached_survey_path, load_survey, survey_dataset

if TYPE_CHECKING:
    from animator.dataset import MotionDataset


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
