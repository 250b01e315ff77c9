"""The map of latents: rows that the chart draws, of the set's thinned frames and of the open takes."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from apps.viewer import networks
from apps.viewer.analysis import fingerprint
from apps.viewer.charts import spread_evenly
from apps.viewer.code_statistics import UNLABELLED
from apps.viewer.latent_space import Array
from apps.viewer.survey import Survey
from apps.viewer.takes import Take, shown_motion
from apps.viewer.thumbnails import data_url, drawn, video_frames

COLOURS = ("clip", "identity", "emotion", "time")
OWN = 40  # frames of each open take
SIDE = 72  # pixels of the pictures that hovering shows
UMAP_SEED = 0

Row = dict[str, Any]


def has_umap() -> bool:
    """Whether umap-learn is installed; the viewer does without."""
    found = importlib.util.find_spec("umap")
    # What pip left of one that was removed is a folder without code, which has no origin.
    return found is not None and found.origin is not None


def sample_rows(survey: Survey, places: Array) -> list[Row]:
    """The set's own frames.

    Args:
        survey: of the set; it has numbers instead of names.
        places: where they are on the map, (n, 2).
    """
    sample = survey.sample
    return [
        {
            "x": round(float(places[n, 0]), 3),
            "y": round(float(places[n, 1]), 3),
            "own": False,
            "place": "",
            "clip": "other clips",
            "identity": f"person {sample.identity[n] + 1}",
            "emotion": survey.emotions[sample.emotion[n]],
            "time": round(float(sample.seconds[n]), 2),
        }
        for n in range(len(places))
    ]


def take_rows(take: Take, places: Array, frames: Iterable[int], pictures: Iterable[str]) -> list[Row]:
    """Frames of an open take, with a picture each.

    Args:
        take: the take.
        places: (m, 2).
        frames: which, m of them.
        pictures: addresses of pictures, m of them.
    """
    return [
        {
            "x": round(float(place[0]), 3),
            "y": round(float(place[1]), 3),
            "own": True,
            "place": f"{take.key} {frame}",
            "clip": take.name,
            "identity": take.identity or take.name,
            "emotion": take.emotion or UNLABELLED,
            "time": round(frame / take.fps, 2),
            "image": picture,
        }
        for place, frame, picture in zip(places, frames, pictures, strict=True)
    ]


def take_frames(take: Take) -> list[int]:
    """Which frames of a take the map shows."""
    return [int(frame) for frame in spread_evenly(take.length, OWN)]


def place_of(text: str) -> tuple[str, int]:
    """The take's key and the frame that a row's `place` names.

    Raises:
        ValueError: it names none.
    """
    key, _, frame = text.rpartition(" ")
    if not key:
        raise ValueError(f"no place of a take: {text!r}")
    return key, int(frame)


def components_of(survey: Survey, take: Take, frames: list[int]) -> Array:
    """Coordinates of a take's frames along the set's principal components, (m, k)."""
    latents = shown_motion(take, networks.tokenizer()).latents.numpy()[frames]
    return survey.pca(latents)


@st.cache_resource(show_spinner="Making small pictures …", max_entries=20)
def _pictures(name: str, source: str, frames: tuple[int, ...], _take: Take, _portrait: Path) -> list[str]:
    numbers = list(frames)
    found = video_frames(_take, numbers) if _take.frames is not None else drawn(_take, numbers, _portrait)
    small = (Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BILINEAR) for picture in found)
    return [data_url(np.asarray(picture)) for picture in small]


def pictures_of(take: Take, frames: list[int], portrait: Path) -> list[str]:
    """Small pictures of a take's frames, as addresses."""
    source = str(take.frames) if take.frames is not None else f"drawn {portrait}"
    return _pictures(fingerprint(take), source, tuple(frames), take, portrait)


@st.cache_resource(show_spinner="Laying the map out; the first time takes a minute …", max_entries=4)
def umap_places(name: str, _points: Array) -> Array:
    """UMAP of points (n, k), fitted anew for each set of them, with a fixed seed: (n, 2)."""
    import umap

    return np.asarray(umap.UMAP(random_state=UMAP_SEED, n_jobs=1).fit_transform(_points), np.float32)
