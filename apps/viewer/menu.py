"""The frame around the pages: the menu, the open takes, and the URL."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from apps.viewer.jobs import progress_panel
from apps.viewer.parts import sidebar
from apps.viewer.restore import restore
from apps.viewer.session import current, write_address
from apps.viewer.theme import STYLE
from apps.viewer.warm import are_warm, slow_imports, warm_up

STATIC = Path(__file__).resolve().parent / "static"
FIRST = "start"  # the page that does without torch, and so is there at once


@dataclass(frozen=True)
class Entry:
    """A page: its module in `apps.viewer.pages`, and how the menu shows it."""

    module: str
    title: str
    icon: str


PAGES: dict[str, list[Entry]] = {
    "": [Entry(FIRST, "Open", ":material/folder_open:")],
    "Look": [
        Entry("timeline", "Timeline", ":material/timeline:"),
        Entry("codebook", "Codebook", ":material/grid_view:"),
        Entry("latent_map", "Map", ":material/scatter_plot:"),
    ],
    "Make": [
        Entry("edit", "Edit", ":material/edit:"),
        Entry("interpolate", "Interpolate", ":material/linear_scale:"),
        Entry("extrapolate", "Extrapolate", ":material/fast_forward:"),
        Entry("emotion", "Emotion", ":material/theater_comedy:"),
    ],
    "Keep": [
        Entry("compare", "Compare", ":material/compare:"),
        Entry("export", "Export", ":material/download:"),
    ],
}


def run() -> None:
    """Lay out one run of the app."""
    # A picture of our own: Streamlit fetches the icons that it knows by name from the internet.
    st.set_page_config(page_title="X-NeMo viewer", page_icon=str(STATIC / "icon.png"), layout="wide")
    st.logo(str(STATIC / "logo.svg"), size="large", icon_image=str(STATIC / "icon.png"))
    st.html(STYLE)
    session = current()
    restore(session)
    # A change of page empties the URL; this fills it again.
    write_address(session, st.query_params)
    groups = {
        group: [
            st.Page(
                _shown(entry.module),
                title=entry.title,
                icon=entry.icon,
                url_path=entry.module,
                default=entry.module == FIRST,
            )
            for entry in entries
        ]
        for group, entries in PAGES.items()
    }
    session.scratch["pages"] = {page.url_path or FIRST: page for pages in groups.values() for page in pages}
    chosen = st.navigation(groups)
    sidebar(session)
    chosen.run()
    with st.sidebar:
        progress_panel()
    warm_up()


def _shown(module: str) -> Callable[[], None]:
    """The page of a module, which is imported when it is shown: each brings libraries that the others do without."""

    def show() -> None:
        if module != FIRST and not are_warm():
            with st.spinner("Starting the motion model …"):
                slow_imports()
        importlib.import_module(f"apps.viewer.pages.{module}").page()

    show.__name__ = module
    return show
