"""The gallery component: pictures of codes in a grid; a click chooses one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import streamlit as st

from apps.viewer.codes import Picture
from apps.viewer.thumbnails import data_url

STATIC = Path(__file__).resolve().parent / "static"


def show_gallery(
    pictures: Sequence[Picture],
    codes: Sequence[int],
    labels: Sequence[str],
    colours: Sequence[str],
    chosen: int | None,
    on_choice: Callable[[int], None],
    key: str,
) -> None:
    """Mount the component.

    Args:
        pictures: square, all of one size, one a code.
        codes: which codes.
        labels: a few words below each.
        colours: of the whole codebook.
        chosen: the code that is marked.
        on_choice: called with the code that was clicked.
        key: of the component on its page.
    """
    sprite = data_url(np.concatenate(pictures, axis=1))
    data = {
        "id": hashlib.sha256(f"{list(codes)} {list(labels)} {len(sprite)}".encode()).hexdigest()[:16],
        "sprite": sprite,
        "tiles": [
            {"code": code, "label": label, "colour": colours[code]} for code, label in zip(codes, labels, strict=True)
        ],
        "chosen": chosen,
    }

    def clicked() -> None:
        code = (st.session_state.get(key) or {}).get("chosen")
        if code is not None:
            on_choice(int(code))

    source, style = _static()
    mount = st.components.v2.component("xnemo_gallery", html='<div class="gallery"></div>', css=style, js=source)
    mount(key=key, data=data, on_chosen_change=clicked)


@lru_cache(maxsize=1)
def _static() -> tuple[str, str]:
    return (STATIC / "gallery.js").read_text(encoding="utf-8"), (STATIC / "gallery.css").read_text(encoding="utf-8")
