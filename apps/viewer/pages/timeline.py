"""Timeline: what a clip does, token by token."""

from __future__ import annotations

import streamlit as st

from apps.viewer.parts import headline, need_take


def page() -> None:
    """Lay the page out."""
    headline("Timeline", "What the clip does, token by token.")
    take = need_take()
    st.write(take.name, len(take))
