"""The timeline component: lanes over one axis of time, one cursor, a selection of tokens.

`lanes_of` says what is drawn, in plain values; `show_timeline` mounts the component of `static/timeline.js`, and moves
the session's cursor and selection when somebody points at something.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st

from apps.viewer import networks
from apps.viewer.analysis import CURVES, Analysis, analyse, fingerprint
from apps.viewer.session import Session, write_address
from apps.viewer.takes import Take, token_frames
from apps.viewer.theme import SERIES
from apps.viewer.thumbnails import Strip

STATIC = Path(__file__).resolve().parent / "static"
LANES = ("frames", "tokens", "pca", "mouth", "blink", "yaw", "error", "surprise")

Lane = dict[str, Any]


def lanes_of(analysis: Analysis, wanted: Collection[str] = LANES, drawn: bool = False) -> list[Lane]:
    """The lanes that there are figures for, top to bottom.

    Args:
        analysis: the figures.
        wanted: which of `LANES`.
        drawn: the pictures are drawn from the motion, and not those of a video.
    Returns:
        Objects of JSON as `static/timeline.js` draws them.
    """
    lanes: dict[str, Lane] = {
        "frames": {
            "kind": "strip",
            "name": "Drawn" if drawn else "Frames",
            "help": (
                "No video shows this motion: pictures that the GAN head drew of it, one for some tokens."
                if drawn
                else "What the clip looks like; drag over the lanes to select."
            ),
        },
        "tokens": {
            "kind": "tokens",
            "name": "Tokens",
            "help": "One cell for four frames. The same code always has the same colour.",
        },
        "pca": _lines(
            "Motion",
            "The latents along the three directions in which faces move most (principal components), in standard "
            "deviations.",
            [(f"PC{n + 1}", analysis.places[:, n]) for n in range(CURVES)],
            (-3, 3),
            1,
        ),
    }
    about = {
        "mouth": (
            "Mouth",
            "How far the mouth is open, from 0 to 1, read from the latent by a linear map.",
            (0, 0.5),
            2,
        ),
        "blink": (
            "Blink",
            "How far the eyes are closed, from 0 to 1, read from the latent by a linear map.",
            (0, 1),
            2,
        ),
        "yaw": ("Yaw", "How far the head is turned, in degrees, read from the latent by a linear map.", (-30, 30), 0),
    }
    for number, (name, (title, help, bounds, digits)) in enumerate(about.items()):
        if name in analysis.signals:
            lanes[name] = _lines(title, help, [("", analysis.signals[name])], bounds, digits, CURVES + number)
    if analysis.error is not None:
        lanes["error"] = _bars(
            "Error",
            "What the token loses: distance between the motion that was read and what the token decodes to; 1 is as "
            "far as motion is from its mean.",
            analysis.error,
            SERIES[6],
            least=0.5,
            unit="of the spread of motion",
        )
    lanes["surprise"] = _bars(
        "Surprise",
        "Bits that the generator needs for the token, given those before it: 0 is certain, 12 a blind guess among 4096 "
        "codes.",
        analysis.surprise,
        SERIES[5],
        least=14,
        unit="bits",
    )
    return [lanes[name] for name in LANES if name in wanted and name in lanes]


def _lines(
    name: str, help: str, curves: Sequence[tuple[str, Any]], bounds: tuple[float, float], digits: int, colour: int = 0
) -> Lane:
    series = [
        {"name": label, "colour": SERIES[(colour + n) % len(SERIES)], "values": [round(float(v), 3) for v in values]}
        for n, (label, values) in enumerate(curves)
    ]
    low = min(bounds[0], *(float(min(values)) for _, values in curves))
    high = max(bounds[1], *(float(max(values)) for _, values in curves))
    return {"kind": "lines", "name": name, "help": help, "series": series, "low": low, "high": high, "digits": digits}


def _bars(name: str, help: str, values: Any, colour: str, least: float, unit: str) -> Lane:
    rounded = [round(float(value), 3) for value in values]
    high = max(least, *rounded)
    series = [{"name": "", "colour": colour, "values": rounded}]
    return {"kind": "bars", "name": name, "help": help, "series": series, "high": high, "unit": unit, "digits": 2}


def timeline_data(
    session: Session,
    take: Take,
    lanes: list[Lane],
    pictures: Strip | None,
    colours: Sequence[str],
    locked: Collection[int] = (),
    changed: Collection[int] = (),
    frames_per_token: int = 4,
) -> dict[str, Any]:
    """Everything that the component draws, as an object of JSON.

    Args:
        session: where the cursor is.
        take: what is shown.
        lanes: of `lanes_of`.
        pictures: for the frame strip.
        colours: of the codes.
        locked, changed: tokens that are marked so.
        frames_per_token: of the tokenizer.
    """
    first = [int(code) for code in take.tokens.tokens[:, 0]]
    starts = [start for start, _ in token_frames(take, frames_per_token)]
    marks = (sorted(locked), sorted(changed))
    shown = "" if pictures is None else pictures.image
    identity = f"{fingerprint(take)} {marks} {[lane['name'] for lane in lanes]} {len(shown)}"
    return {
        "id": hashlib.sha256(identity.encode()).hexdigest()[:16],
        "frames": take.length,
        "fps": take.fps,
        "starts": starts,
        "codes": first,
        "colours": [colours[code] for code in first],
        "lanes": lanes,
        "sprite": shown,
        "thumbs": [] if pictures is None else pictures.frames,
        "side": 0 if pictures is None else pictures.side,
        "locked": marks[0],
        "changed": marks[1],
        "cursor": session.cursor,
        "span": None if session.span is None else list(session.span),
        "seq": session.scratch.get("timeline.seq", 0),
    }


def point_at(session: Session, event: dict[str, Any]) -> None:
    """Do what the component reports: move the cursor, and select the tokens, if any."""
    session.point(int(event["frame"]))
    session.choose(int(event["start"]), int(event["stop"]))
    session.scratch["timeline.seq"] = int(event["seq"])


def show_timeline(
    session: Session,
    take: Take,
    lanes: Collection[str] = LANES,
    locked: Collection[int] = (),
    changed: Collection[int] = (),
    pictures: Strip | None = None,
    key: str = "timeline",
) -> None:
    """Mount the component; in a fragment, only that runs again when somebody points at something.

    Args:
        session: its cursor and selection are shown, and moved.
        take: the selected take.
        lanes: which of `LANES`.
        locked, changed: tokens that are marked so.
        pictures: for the frame strip; None leaves it empty.
        key: of the component on its page.
    """
    data = timeline_data(
        session,
        take,
        lanes_of(analyse(take), lanes, drawn=take.frames is None),
        pictures,
        networks.colours(),
        locked,
        changed,
        networks.tokenizer().frames_per_token,
    )

    def pointed() -> None:
        event = (st.session_state.get(key) or {}).get("pointed")
        if event:
            point_at(session, event)

    source, style = _static()
    mount = st.components.v2.component("xnemo_timeline", html='<div class="timeline"></div>', css=style, js=source)
    mount(key=key, data=data, on_pointed_change=pointed)
    write_address(session, st.query_params)


@lru_cache(maxsize=1)
def _static() -> tuple[str, str]:
    """The component's script and style."""
    return (STATIC / "timeline.js").read_text(encoding="utf-8"), (STATIC / "timeline.css").read_text(encoding="utf-8")
