"""Timeline: what a clip does, token by token."""

from __future__ import annotations

import streamlit as st

from apps.viewer import networks
from apps.viewer.analysis import Analysis, analyse
from apps.viewer.parts import chip, errors_in_words, headline, need_take, shared, text
from apps.viewer.session import Session, current
from apps.viewer.stills import portrait_of
from apps.viewer.surveys import packaged_survey
from apps.viewer.takes import Take, token_at, token_frames
from apps.viewer.thumbnails import drawn, strip, video_frames
from apps.viewer.timeline import show_timeline

STILL_WIDTH = 200  # pixels
WORDS_WIDTH = 380


def page() -> None:
    """Lay the page out."""
    take = need_take()
    headline(
        take.name,
        "Click to put the cursor somewhere, drag to select tokens. The arrow keys move the cursor, with shift they "
        "widen the selection.",
    )
    with errors_in_words():
        _timeline()


@st.fragment
def _timeline() -> None:
    session = current()
    take = need_take()
    with st.spinner("Making the frame strip …"):
        pictures = strip(take, portrait_of(session, take))
    show_timeline(session, take, pictures=pictures)
    _details(session, take, analyse(take))


def _details(session: Session, take: Take, analysis: Analysis) -> None:
    tokenizer = networks.tokenizer()
    token = token_at(take, session.cursor, tokenizer.frames_per_token)
    portrait = portrait_of(session, take)
    with st.container(horizontal=True, gap="medium"):
        if take.frames is not None:
            st.image(video_frames(take, [session.cursor])[0], width=STILL_WIDTH, caption="the clip")
        st.image(drawn(take, [session.cursor], portrait)[0], width=STILL_WIDTH, caption="drawn from the motion")
        with st.container(width=WORDS_WIDTH):
            _token(take, analysis, token)
            _selection(session, take)


def _token(take: Take, analysis: Analysis, token: int) -> None:
    tokenizer = networks.tokenizer()
    code = int(take.tokens.tokens[token, 0])
    start, stop = token_frames(take, tokenizer.frames_per_token)[token]
    text(f"**Token {token}** · frames {start} to {stop - 1} · {chip(code)}")
    usage = packaged_survey().codes.usage
    words = [f"{analysis.surprise[token]:.1f} bits of surprise"]
    if analysis.error is not None:
        words.append(f"error {analysis.error[token]:.2f}")
    if packaged_survey().tokenizer_id == tokenizer.id:
        times = {0: "never", 1: "once"}.get(int(usage[code]), f"{usage[code]} times")
        words.append(f"used {times} in the training clips")
    st.caption(" · ".join(words))
    expected = zip(analysis.expected[token], analysis.probabilities[token], strict=True)
    chips = " ".join(shared(int(other), share) for other, share in expected)
    text(f"The generator expected {chips}")
    near = " ".join(chip(int(other)) for other in tokenizer.nearest(code, 5))
    text(f"Nearest codes {near}", help="The codes that lie nearest to this one in the codebook.")


def _selection(session: Session, take: Take) -> None:
    """The selection in numbers: for the keyboard, and for who knows the token already."""
    with st.popover("Selection", icon=":material/select_all:"):
        start, stop = session.span or (0, 1)
        most = len(take) - 1
        keys = f"first-{start}-{stop}", f"last-{start}-{stop}"  # others for each selection, which they shall show
        st.number_input("First token", 0, most, min(start, most), key=keys[0])
        st.number_input("Last token", 0, most, min(stop - 1, most), key=keys[1])
        st.button("Select", on_click=_select, args=(session, take, *keys))


def _select(session: Session, take: Take, first_key: str, last_key: str) -> None:
    first, last = int(st.session_state[first_key]), int(st.session_state[last_key])
    session.choose(first, last + 1)
    session.point(token_frames(take, networks.tokenizer().frames_per_token)[first][0])
