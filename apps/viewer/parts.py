"""Pieces that every page is laid out with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import streamlit as st

from animator.errors import XNeMoError
from apps.viewer import networks
from apps.viewer.session import Session, current, write_address
from apps.viewer.takes import Take


def headline(title: str, help: str) -> None:
    """A page's title, and one sentence of what it is for."""
    st.markdown(f"### {title}")
    st.caption(help)


def chip(code: int) -> str:
    """A code on its colour, for `text`."""
    return f'<span class="code" style="background:{networks.colours()[code]}">{code}</span>'


def shared(code: int, share: float) -> str:
    """A code on its colour and its share, for `text`; a line does not end between them."""
    return f'<span style="white-space:nowrap">{chip(code)} {share:.0%}</span>'


def text(markdown: str, help: str | None = None) -> None:
    """A line of our own making, in which codes may stand on their colours (`chip`); never of others' words."""
    st.markdown(markdown, unsafe_allow_html=True, help=help)


def sidebar(session: Session) -> None:
    """What is open, and which take the pages show; below the menu of pages."""
    with st.sidebar:
        for notice in session.notices:
            st.warning(notice, icon=":material/info:")
        session.notices.clear()
        if not session.takes:
            st.caption("Nothing is open yet.")
            return
        keys = list(session.takes)
        chosen = st.selectbox(
            "Take",
            keys,
            index=keys.index(session.selected) if session.selected in session.takes else 0,
            format_func=lambda key: session.takes[key].name,
            help="The clip that the pages show. Open more on the first page.",
        )
        if chosen != session.selected:
            session.select(chosen)
            write_address(session, st.query_params)
        take = session.takes[chosen]
        seconds = take.length / take.fps
        labels = " · ".join(str(word) for word in (take.identity, take.emotion, take.intensity) if word is not None)
        st.caption(f"{seconds:.1f} s · {take.length} frames · {len(take)} tokens" + (f"  \n{labels}" if labels else ""))


def need_take() -> Take:
    """The selected take; without one the page says what to do, and ends."""
    take = current().take
    if take is None:
        empty("Nothing is open", "Open the example, or a clip of your own, and it will be shown here.")
    return take


def empty(title: str, text: str) -> NoReturn:
    """End a page that has nothing to show, with what to do about it."""
    with st.container(border=True, horizontal_alignment="center"):
        st.markdown(f"**{title}**", width="content")
        st.markdown(text, width="content")
        if st.button("Open something", type="primary", icon=":material/folder_open:"):
            go_to("start")
    st.stop()
    raise AssertionError("st.stop does not return")


def go_to(page: str) -> NoReturn:
    """Show another page, named by its module in `apps.viewer.pages`; what is open stays so."""
    session = current()
    write_address(session, st.query_params)
    st.switch_page(session.scratch["pages"][page])
    raise AssertionError("st.switch_page does not return")


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Show what the user can mend as a message, and go on with the page."""
    try:
        yield
    except XNeMoError as error:
        st.error(str(error), icon=":material/error:")


def choose_take(session: Session, label: str, key: str, default: str | None = None) -> Take:
    """Let somebody choose one of the open takes.

    Args:
        session: whose takes; at least one is open.
        label: says what it is for.
        key: of the widget.
        default: key of the take that is chosen at first; the selected one if None.
    """
    keys = list(session.takes)
    first = default if default in session.takes else session.selected
    index = keys.index(first) if first in session.takes else 0
    chosen = st.selectbox(label, keys, index=index, format_func=lambda name: session.takes[name].name, key=key)
    return session.takes[chosen]
