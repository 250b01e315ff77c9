"""Codebook: which codes are used, after which, and what each one looks like."""

from __future__ import annotations

import streamlit as st

from apps.viewer import networks
from apps.viewer.charts import mix_chart, transition_chart, usage_chart
from apps.viewer.code_statistics import CodeStatistics
from apps.viewer.codes import ORDERS, gallery_codes, picture_of, places_of, statistics_of
from apps.viewer.gallery import show_gallery
from apps.viewer.parts import chip, errors_in_words, go_to, headline, shared, text
from apps.viewer.session import Session, current
from apps.viewer.surveys import choose_survey
from apps.viewer.takes import token_frames

SHOWN = 24  # codes in the gallery and in the transition matrix
NEAR = 6
FOLLOWING = 6
PLACES = 8
GALLERY_WIDTH = 565  # pixels
CODE_WIDTH = 325
USAGE_WIDTH = 350
PAIRS_WIDTH = 505


def page() -> None:
    """Lay the page out."""
    headline(
        "Codebook",
        "The tokens are numbers of codes, small movements that the tokenizer has learnt. Here is which of them clips "
        "use, and what each looks like.",
    )
    session = current()
    with errors_in_words():
        survey = choose_survey(session, "codebook")
        if survey is None:
            return
        statistics = survey.codes
        if session.takes and st.toggle("Only the open takes", key="codebook-open"):
            statistics = statistics_of(session.takes.values(), networks.tokenizer().codes)
        _figures(statistics)
        _codes(statistics)
        with st.expander("Usage and transitions", expanded=True, icon=":material/bar_chart:"):
            _charts(session, statistics)


def _figures(statistics: CodeStatistics) -> None:
    codes = len(statistics.usage)
    with st.container(horizontal=True):
        st.metric("Clips", f"{statistics.clips:,}", border=True)
        st.metric("Tokens", f"{statistics.tokens:,}", border=True)
        st.metric(
            "Codes in use", f"{codes - statistics.dead:,}", border=True, help=f"Of {codes:,} that the codebook has."
        )
        st.metric("Dead codes", f"{statistics.dead:,}", border=True, help="Codes that none of these clips uses.")
        st.metric(
            "Perplexity",
            f"{statistics.perplexity:,.0f}",
            border=True,
            help="How many codes are in use, as if all were equally frequent; over the whole set.",
        )


@st.fragment
def _codes(statistics: CodeStatistics) -> None:
    session = current()
    tokenizer = networks.tokenizer()
    portrait = session.portrait or networks.default_portrait()
    chosen = _chosen(session, statistics)
    # Not columns: in a narrow window the code goes below the gallery.
    sides = st.container(horizontal=True)
    with sides, st.container(width=GALLERY_WIDTH):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            order = st.selectbox("Show the codes", ORDERS, key="codebook-order", width=220)
            emotion = None
            if order == "by emotion":
                emotion = st.selectbox("Emotion", statistics.emotions[:-1], key="codebook-emotion", width=160)
            key = f"code-{chosen}"  # another one for each code, so that a click elsewhere changes the number too
            st.number_input(
                "Code", 0, tokenizer.codes - 1, chosen, key=key, width=130, on_change=_typed, args=(session, key)
            )
        near = [chosen, *(int(code) for code in tokenizer.nearest(chosen, SHOWN - 1))]
        codes = gallery_codes(order, statistics, SHOWN, near, emotion)
        if codes:
            with st.spinner("Drawing the codes …"):
                pictures = [picture_of(code, portrait) for code in codes]
            labels = [f"{statistics.usage[code]:,} ×" for code in codes]
            show_gallery(
                pictures, codes, labels, networks.colours(), chosen, lambda code: _choose(session, code), "gallery"
            )
        else:
            st.caption("No clip of this set uses a code so.")
    with sides, st.container(width=CODE_WIDTH):
        _one(session, statistics, chosen)


def _chosen(session: Session, statistics: CodeStatistics) -> int:
    """The code that is looked at: chosen here, named by the URL, or the one used most."""
    named = st.query_params.get("code", "")
    if "code" not in session.scratch and named.isascii() and named.isdigit() and int(named) < len(statistics.usage):
        session.scratch["code"] = int(named)
    return session.scratch.get("code", next(iter(statistics.most_used(1)), 0))


def _choose(session: Session, code: int) -> None:
    session.scratch["code"] = code
    st.query_params["code"] = str(code)


def _typed(session: Session, key: str) -> None:
    _choose(session, int(st.session_state[key]))


def _one(session: Session, statistics: CodeStatistics, code: int) -> None:
    portrait = session.portrait or networks.default_portrait()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.image(picture_of(code, portrait), width=150)
        with st.container():
            text(f"**Code** {chip(code)}")
            used = statistics.usage[code]
            share = used / max(1, statistics.tokens)
            st.caption(f"{used:,} times, {share:.2%} of all tokens" if used else "dead: none of these clips uses it")
    near = networks.tokenizer().nearest(code, NEAR)
    text("Nearest " + " ".join(chip(int(other)) for other in near), help="In the codebook, by distance.")
    following = statistics.successors(code, FOLLOWING)
    if following:
        text("Then " + " ".join(shared(other, share) for other, share in following), help="What follows it.")
    mix = statistics.mix(code)
    if mix:
        st.markdown(
            "Emotions",
            help="In clips of which emotion it occurs; each emotion counts as much as any other, however many clips it "
            "has.",
        )
        st.altair_chart(mix_chart(mix), width="stretch")
    elif used:
        st.caption("No clip with a labelled emotion uses it.")
    _places(session, code)


def _places(session: Session, code: int) -> None:
    places = places_of(code, session.takes.values())
    if not places:
        return
    st.markdown("In the open takes")
    with st.container(horizontal=True):
        for place in places[:PLACES]:
            take = session.takes[place.take]
            if st.button(f"{take.name} · {place.token}", key=f"place-{place.take}-{place.token}", type="tertiary"):
                session.select(place.take)
                session.choose(place.token, place.token + 1)
                session.point(token_frames(take, networks.tokenizer().frames_per_token)[place.token][0])
                go_to("timeline")


def _charts(session: Session, statistics: CodeStatistics) -> None:
    sides = st.container(horizontal=True)
    with sides, st.container(width=USAGE_WIDTH):
        st.markdown("**How often codes are used**")
        st.altair_chart(usage_chart(statistics), width="stretch")
        st.caption("Grey: codes that are never used. A healthy codebook has few of them and a high perplexity.")
    with sides, st.container(width=PAIRS_WIDTH):
        codes = statistics.most_used(SHOWN)
        st.markdown("**Which code follows which**", help="The codes used most; a click on a cell shows its first code.")
        event = st.altair_chart(
            transition_chart(statistics, codes), width="stretch", on_select="rerun", selection_mode="pair", key="pairs"
        )
        picked = event.selection.get("pair") if event else None
        if picked and int(picked[0]["before"]) != session.scratch.get("code"):
            _choose(session, int(picked[0]["before"]))
            st.rerun()
