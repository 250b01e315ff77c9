"""Edit: replace, insert, delete, repeat, swap and lock tokens, and let the generator draw some anew."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import streamlit as st
import torch

from apps.viewer import editing, networks, stills
from apps.viewer.analysis import fingerprint
from apps.viewer.editing import EditTable
from apps.viewer.jobs import render_button
from apps.viewer.parts import chip, choose_take, errors_in_words, headline, need_take, text
from apps.viewer.session import Session, current
from apps.viewer.suggestions import draw_anew, suggest
from apps.viewer.takes import Take, shown_motion, token_at
from apps.viewer.thumbnails import known_strip, strip
from apps.viewer.timeline import show_timeline
from motion_tokenizer.editing import Delete, Edit, Insert, Lock, Repeat, Replace, Swap, TokenKind, describe

PICTURES_WIDTH = 300  # pixels
CONTROLS_WIDTH = 576
STILL_WIDTH = 224
CARD_WIDTH = 80
CHIPS = 8  # codes of the selection that are shown
AROUND = 2.0  # seconds that are played on each side of the cursor


def page() -> None:
    """Lay the page out."""
    take = need_take()
    headline(
        f"Edit {take.name}",
        "Select tokens in the row below, then say what shall become of them. Every change is undone with one click, "
        "and the picture follows at once.",
    )
    with errors_in_words():
        _editor()


@st.fragment
def _editor() -> None:
    session, take = current(), need_take()
    table = editing.table_of(session, take.key, networks.tokenizer())
    clip = table.clip(take.key)
    locked = table.history.table[clip].locked.nonzero()[:, 0].tolist()
    difference = table.history.difference(clip)
    changed = sorted({*difference.changed, *difference.new, *difference.moved})
    portrait = stills.portrait_of(session, take)
    pictures = known_strip(take, portrait)
    show_timeline(session, take, ("frames", "tokens", "surprise"), locked, changed, pictures, key="edit-timeline")
    _bar(session, take, table)
    start, stop = selected(session, take)
    chosen = _choice(take, start, stop)
    # Not columns: in a narrow window the controls go below the pictures.
    with st.container(horizontal=True):
        with st.container(width=PICTURES_WIDTH), errors_in_words():
            _pictures(session, take, table, clip)
        with st.container(width=CONTROLS_WIDTH), errors_in_words():
            OPERATIONS[chosen](session, take, table, clip, start, stop)
    if pictures is None:
        _make_strip(take, portrait)


def _make_strip(take: Take, portrait: Path) -> None:
    """Draw the frame strip when everything else is there, as after an edit all of it is new; a click goes first."""
    with errors_in_words():
        bar = st.progress(0.0, "Drawing the frame strip …")
        strip(take, portrait, lambda share: bar.progress(share, "Drawing the frame strip …"))
        st.rerun()


def _bar(session: Session, take: Take, table: EditTable) -> None:
    """Undo, redo, and what was done so far."""
    history, clip = table.history, table.clip(take.key)
    with st.container(horizontal=True, vertical_alignment="center"):
        last = history.edits[history.done - 1] if history.done else None
        following = history.edits[history.done] if history.done < len(history.edits) else None
        if st.button("Undo", icon=":material/undo:", disabled=last is None, help=last and describe(last)):
            editing.undo(session, table)
            st.rerun()
        if st.button(
            "Redo", icon=":material/redo:", disabled=following is None, help=following and describe(following)
        ):
            editing.redo(session, table)
            st.rerun()
        difference = history.difference(clip)
        counts = {
            "changed": len(difference.changed),
            "new": len(difference.new),
            "moved": len(difference.moved),
            "gone": len(difference.gone),
        }
        told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        st.caption(f"Tokens beside the original: {told}" if told else "as it was opened", width="content")
        if history.done:
            with st.popover(f"History ({history.done})", icon=":material/history:"):
                for number, edit in enumerate(history.edits[: history.done], 1):
                    whose = table.originals[edit.clip].name if len(table.originals) > 1 else ""
                    st.markdown(f"{number}. {describe(edit)}" + (f" · {whose}" if whose else ""))
                st.caption("Export saves this as a file that `xnemo replay` makes again, and that Open takes.")


def selected(session: Session, take: Take) -> tuple[int, int]:
    """The tokens that an edit is about: the selection, or the one under the cursor."""
    if session.span is not None:
        return session.span
    place = token_at(take, session.cursor, networks.tokenizer().frames_per_token)
    return place, place + 1


def _choice(take: Take, start: int, stop: int) -> str:
    """What shall become of the selection."""
    named = f"Token {start}" if stop == start + 1 else f"Tokens {start} to {stop - 1}"
    chips = " ".join(chip(int(code)) for code in take.tokens.tokens[start : min(stop, start + CHIPS), 0])
    with st.container(horizontal=True, vertical_alignment="center"):
        chosen = st.segmented_control(
            "What to do",
            list(OPERATIONS),
            default="Replace",
            key="edit-what",
            required=True,
            label_visibility="collapsed",
        )
        text(f"**{named}** {chips}{' …' if stop - start > CHIPS else ''}")
    return chosen or "Replace"


def _make(session: Session, table: EditTable, edit: Edit) -> None:
    """Make an edit and show what came of it; one that cannot be made says why."""
    with errors_in_words():
        editing.edit(session, table, edit)
        st.rerun()


def _replace(session: Session, take: Take, table: EditTable, clip: int, start: int, stop: int) -> None:
    kind = TokenKind.of(networks.tokenizer())
    if stop == start + 1:
        st.caption(
            "What could stand here: how well it fits between the tokens on both sides, among these codes, and in "
            "brackets how likely the generator held it before it saw what follows, among all codes."
        )
        found = suggest(session, take, start, stills.portrait_of(session, take))
        with st.container(horizontal=True):
            for each in found:
                code = each.alternative.code
                with st.container(width=CARD_WIDTH):
                    st.image(each.picture, width="stretch")
                    text(chip(code))
                    st.caption(f"{each.alternative.both:.0%} ({each.alternative.before:.1%})")
                    row = (code, *(int(token) for token in take.tokens.tokens[start, 1:]))
                    here = code == int(take.tokens.tokens[start, 0])
                    if st.button("Is here" if here else "Use", key=f"use-{code}", disabled=here):
                        _make(session, table, Replace(clip, start, (row,)))
    with st.form("codes", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        codes = st.text_input(
            "Codes to put here",
            placeholder=", ".join(editing.in_words(tuple(row)) for row in take.tokens.tokens[start:stop][:6].tolist()),
            help=f"Numbers from 0 to {kind.codes - 1}, as many as tokens from {start} on are to be replaced.",
        )
        if st.form_submit_button("Replace"):
            _make(session, table, Replace(clip, start, editing.read_codes(codes, kind)))


def _insert(session: Session, take: Take, table: EditTable, clip: int, start: int, stop: int) -> None:
    kind = TokenKind.of(networks.tokenizer())
    with st.form("insert", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        codes = st.text_input("New codes", help=f"Numbers from 0 to {kind.codes - 1}, with commas between them.")
        where = st.selectbox("Where", ["before the selection", "behind the selection"])
        if st.form_submit_button("Insert"):
            at = start if where.startswith("before") else stop
            _make(session, table, Insert(clip, at, editing.read_codes(codes, kind)))


def _delete(session: Session, take: Take, table: EditTable, clip: int, start: int, stop: int) -> None:
    seconds = (stop - start) * networks.tokenizer().frames_per_token / take.fps
    st.caption(f"The clip becomes {seconds:.2f} s shorter; what follows moves up.")
    if st.button("Delete", icon=":material/delete:"):
        _make(session, table, Delete(clip, start, stop))


def _repeat(session: Session, take: Take, table: EditTable, clip: int, start: int, stop: int) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        times = st.number_input("More times", 1, 100, 1, help="How often the selection is said again, behind itself.")
        if st.button("Repeat", icon=":material/repeat:"):
            _make(session, table, Repeat(clip, start, stop, int(times)))


def _swap(session: Session, take: Take, table: EditTable, clip: int, start: int, stop: int) -> None:
    others = (key for key in session.takes if key != take.key)
    other = choose_take(session, "With the take", "swap-take", next(others, take.key))
    most = len(other) - 1
    with st.container(horizontal=True, vertical_alignment="bottom"):
        first = st.number_input("From its token", 0, most, 0, key=f"swap-first-{other.key}")
        last = st.number_input("to", 0, most, min(most, stop - start - 1), key=f"swap-last-{other.key}")
        if st.button("Swap", icon=":material/swap_horiz:"):
            joined = editing.together(session, take.key, other.key, networks.tokenizer())
            here, there = joined.clip(take.key), joined.clip(other.key)
            _make(session, joined, Swap(here, start, stop, there, int(first), int(last) + 1))
    st.caption("Both takes change; undoing the swap mends both.")


def _lock(session: Session, take: Take, table: EditTable, clip: int, start: int, stop: int) -> None:
    st.caption("No edit changes a locked token. Lock what is good, and draw the rest anew.")
    with st.container(horizontal=True):
        if st.button("Lock", icon=":material/lock:"):
            _make(session, table, Lock(clip, start, stop, True))
        if st.button("Unlock", icon=":material/lock_open:"):
            _make(session, table, Lock(clip, start, stop, False))
        if st.button("Unlock all", icon=":material/lock_open_right:"):
            _make(session, table, Lock(clip, 0, len(take), False))


def _draw_anew(session: Session, take: Take, table: EditTable, clip: int, start: int, stop: int) -> None:
    from motion_gpt.settings import Sampling
    from motion_gpt.vocabulary import EMOTIONS, Condition

    locked = table.history.table[clip].locked
    with st.form("anew", border=False):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            what = st.selectbox(
                "Which tokens",
                ["the selection", "all that are not locked"],
                help="Locked tokens stay in any case; the generator takes them into account on both sides.",
            )
            emotion = st.selectbox("Emotion", ["as it comes", *EMOTIONS])
        with st.container(horizontal=True, vertical_alignment="bottom"):
            temperature = st.number_input("Temperature", 0.0, 2.0, 1.0, 0.1, help="More is more varied; 0 is safest.")
            seed = st.number_input("Seed", 0, 2**31, 0, help="Another seed, other draws; the same seed, the same ones.")
        wanted = st.form_submit_button("Draw 4 candidates", icon=":material/casino:", type="primary")
    if wanted:
        held = locked.clone()
        if what == "the selection":
            held = torch.ones_like(locked)
            held[start:stop] = locked[start:stop]
        condition = Condition(None if emotion == "as it comes" else emotion)
        settings = Sampling(seed=int(seed), temperature=float(temperature))
        with st.spinner("Drawing …"):
            made = draw_anew(take, clip, held, condition, settings, stills.portrait_of(session, take))
        session.scratch["anew"] = (fingerprint(take), made)
    about, candidates = session.scratch.get("anew", (None, []))
    if about != fingerprint(take):
        return
    for number, each in enumerate(candidates):
        with st.container(border=True):
            pictures, words, action = st.columns([6, 4, 2], vertical_alignment="center")
            pictures.image(np.concatenate(list(each.pictures), axis=1), width="stretch")
            share = each.resampled.probability
            fits = "" if share is None else f"**{share:.0%}** of the weight  \n"
            words.markdown(
                f"{fits}{each.resampled.nats / math.log(2):.1f} bits a token",
                help="The weight compares all draws by how well what is held behind them follows; bits tell how "
                "unusual the new tokens are.",
            )
            if action.button("Use", key=f"use-anew-{number}"):
                _make(session, table, each.edit)


def _pictures(session: Session, take: Take, table: EditTable, clip: int) -> None:
    """The frame under the cursor, before the edits and now."""
    tokenizer, original = networks.tokenizer(), table.originals[clip]
    portrait = stills.portrait_of(session, take)
    motion = shown_motion(take, tokenizer)
    now = stills.draw(portrait, motion, [session.cursor])[0]
    if original.tokens is take.tokens:
        st.image(now, width=STILL_WIDTH, caption=f"frame {session.cursor}")
    else:
        before, after = st.columns(2)
        with before:
            # Through its tokens too: what differs is then what the edits did.
            drawn = stills.draw(portrait, tokenizer.decode(original.tokens), [session.cursor])[0]
            st.image(drawn, width="stretch", caption="before the edits")
        with after:
            st.image(now, width="stretch", caption=f"frame {session.cursor} now")
    with st.container(horizontal=True):
        if render_button(session, take.name, motion, portrait, "render-edit", take.origin):
            st.rerun()
        if st.button("Play", icon=":material/play_arrow:", help="A quick look at what is around the cursor"):
            around = round(AROUND * motion.fps)
            part = motion[max(0, session.cursor - around) : session.cursor + around]
            with st.spinner("Drawing …"):
                session.scratch["edit-play"] = (fingerprint(take), stills.moving(portrait, part))
    about, playing = session.scratch.get("edit-play", (None, b""))
    if about == fingerprint(take):
        st.image(playing, width=STILL_WIDTH)


OPERATIONS: dict[str, Callable[[Session, Take, EditTable, int, int, int], None]] = {
    "Replace": _replace,
    "Draw anew": _draw_anew,
    "Insert": _insert,
    "Repeat": _repeat,
    "Swap": _swap,
    "Lock": _lock,
    "Delete": _delete,
}
