"""What a browser session shows when it begins: what its URL says, and what the viewer was started with."""

from __future__ import annotations

import streamlit as st

from animator.errors import XNeMoError
from apps.viewer.session import Session, read_address
from apps.viewer.sources import open_named


def restore(session: Session) -> None:
    """Open what the URL names, in a session's first run; later runs find it open."""
    if session.scratch.setdefault("restored", False):
        return
    session.scratch["restored"] = True
    address = read_address(st.query_params)
    if address.take is None:
        return
    try:
        with st.spinner("Opening what the address names …"):
            session.add(open_named(address.take))
    except XNeMoError as error:
        session.notices.append(str(error))
        return
    session.point(address.frame)
    if address.span is not None:
        session.choose(*address.span)
