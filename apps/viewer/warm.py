"""The slow imports, made in the background once the first page is there."""

from __future__ import annotations

import importlib
import threading

import streamlit as st

# What opening a take needs, in the order in which it needs it.
SLOW = ("torch", "motion_tokenizer.tokenizer", "motion_gpt.weights", "motion_gpt.decoder", "apps.tokens", "altair")


@st.cache_resource(show_spinner=False)
def warm_up() -> threading.Thread:
    """Begin to import what the other pages need, while somebody looks at the first one; once for the server."""
    thread = threading.Thread(target=_import, name="warm-up", daemon=True)
    thread.start()
    return thread


def _import() -> None:
    for name in SLOW:
        importlib.import_module(name)
