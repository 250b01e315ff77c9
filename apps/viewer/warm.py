"""The slow imports: made once, by one thread at a time, in the background while somebody looks at the first page."""

from __future__ import annotations

import gc
import importlib
import os
import threading

import streamlit as st

# What everything but the first page needs. diffusers and transformers load their parts when they are asked for, and
# break when two threads ask at once: nobody imports from them before all of this is there.
SLOW = (
    "torch",
    "animator.builders",
    "animator.dataset",
    "animator.face",
    "animator.evaluation.probes",
    "motion_tokenizer.tokenizer",
    "motion_gpt.weights",
    "motion_gpt.scoring",
    "motion_gpt.outpainting",
    "apps.tokens",
    "apps.generation",
    "altair",
)

_lock = threading.Lock()
_done = threading.Event()


def slow_imports() -> None:
    """Import what the pages need, or wait until another thread has."""
    if _done.is_set():
        return
    with _lock:
        for name in SLOW:
            importlib.import_module(name)
        _leave_cores()
        keep_for_good()
        _done.set()


def _leave_cores() -> None:
    """Compute on half of the cores: threads of torch that wait for one that the browser has taken cost twice the time.

    Measured on two cores: a click on Edit took 0.7 s with two threads and 0.3 s with one.
    """
    import torch

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))


def keep_for_good() -> None:
    """Take what is in memory now out of the garbage collection; to be called after something large that stays.

    Streamlit collects after every run of a page. The libraries and networks alone are a million objects, and looking at
    them took 0.3 s of every click.
    """
    gc.collect()
    gc.freeze()


def are_warm() -> bool:
    """Whether the slow imports are made."""
    return _done.is_set()


@st.cache_resource(show_spinner=False)
def warm_up() -> threading.Thread:
    """Begin the slow imports in the background; once for the server."""
    thread = threading.Thread(target=slow_imports, name="warm-up", daemon=True)
    thread.start()
    return thread
