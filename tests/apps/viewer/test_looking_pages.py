"""The pages that show motion do so with the packaged weights, and the timeline does what is pointed at."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from animator.config_loader import load_config
from apps.viewer import config, networks, server  # noqa: F401 (config types the settings)
from apps.viewer.analysis import analyse
from apps.viewer.session import Session
from apps.viewer.sources import EXAMPLES, open_example
from apps.viewer.thumbnails import strip
from apps.viewer.timeline import LANES, lanes_of, point_at, timeline_data

LATE = 60  # seconds after which a page is taken to hang


@pytest.fixture(scope="module", autouse=True)
def packaged() -> Iterator[None]:
    """A viewer with the packaged weights."""
    before = server._started[:]
    st.cache_resource.clear()
    server.configure(load_config("view", ["device=cpu"]))
    yield
    st.cache_resource.clear()
    server._started[:] = before


def shown(name: str) -> None:
    """One page with the example open, as the menu would show it."""
    import importlib

    from apps.viewer.session import current
    from apps.viewer.sources import EXAMPLES, open_example

    session = current()
    if not session.takes and name != "start":
        session.add(open_example(EXAMPLES[0]))
    importlib.import_module(f"apps.viewer.pages.{name}").page()


def page(name: str) -> AppTest:
    return AppTest.from_function(shown, args=(name,), default_timeout=LATE).run()


def words(test: AppTest) -> str:
    """Everything that the page says."""
    return "\n".join(str(each.value) for each in (*test.markdown, *test.caption, *test.info))


def test_first_page_needs_no_torch() -> None:
    code = (
        "import sys, apps.viewer.menu, apps.viewer.pages.start, apps.viewer.config\n"
        "from animator.config_loader import load_config\nload_config('view')\n"
        "print([name for name in ('torch', 'diffusers', 'altair') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_app_starts_on_the_first_page_and_says_the_limits() -> None:
    test = AppTest.from_file(str(server.APP), default_timeout=LATE).run()
    assert not test.exception
    assert "At most 100 MB and 60 s; 10 takes" in words(test)
    assert [button.label for button in test.button if button.key.startswith("open-example")] == ["Open", "Open"]


def test_folder_can_be_named_from_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [field.label for field in page("start").text_input] == ["Folder of a motion dataset"]
    monkeypatch.setattr(server.settings(), "address", "0.0.0.0")
    assert not page("start").text_input


def test_folder_without_a_dataset_is_an_error_in_words(tmp_path: Path) -> None:
    test = page("start")
    test.text_input(key="folder").input(str(tmp_path)).run()
    assert not test.exception
    assert str(tmp_path) in test.error[0].value


def test_timeline_shows_the_token_at_the_cursor_and_selects_by_number() -> None:
    test = page("timeline")
    assert not test.exception
    assert "**Token 0** · frames 0 to 3" in words(test)
    first, last = test.number_input
    first.set_value(3)
    last.set_value(5)
    next(button for button in test.button if button.label == "Select").click().run()
    assert not test.exception
    assert "**Token 3** · frames 12 to 15" in words(test)


@pytest.mark.parametrize("name", ["timeline", "codebook", "latent_map"])
def test_page_shows_the_example(name: str) -> None:
    test = page(name)
    assert not test.exception
    assert not test.error


def test_codebook_shows_the_code_that_is_typed() -> None:
    test = page("codebook")
    figures = {metric.label: metric.value for metric in test.metric}
    assert figures["Tokens"] == "9,082"
    test.number_input[0].set_value(77).run()
    assert not test.exception
    assert ">77</span>" in words(test)
    test.selectbox(key="codebook-order").select("by emotion").run()
    assert not test.exception


def test_map_says_what_the_probe_found() -> None:
    test = page("latent_map")
    assert [metric.label for metric in test.metric] == ["Identity probe"]
    assert "chance is" in words(test)


def test_lanes_are_as_long_as_the_clip_and_within_their_bounds(tmp_path: Path) -> None:
    session = Session(tmp_path)
    take = open_example(EXAMPLES[0])
    session.add(take)
    lanes = lanes_of(analyse(take))
    assert [lane["kind"] for lane in lanes] == ["strip", "tokens", *["lines"] * 4, "bars", "bars"]
    for lane in lanes:
        for series in lane.get("series", []):
            assert len(series["values"]) == (len(take) if lane["kind"] == "bars" else take.length)
            assert max(series["values"]) <= lane["high"] + 1e-3
            assert min(series["values"]) >= lane.get("low", 0) - 1e-3
    assert len(lanes) == len(LANES)
    made_up = open_example(EXAMPLES[1])
    assert "Error" not in [lane["name"] for lane in lanes_of(analyse(made_up))]
    colours = networks.colours()
    data = timeline_data(session, take, lanes, strip(take, networks.default_portrait()), colours, locked=[2])
    assert data["starts"] == [4 * token for token in range(40)]
    assert data["locked"] == [2]
    other = timeline_data(session, take, lanes, strip(take, networks.default_portrait()), colours, locked=[3])
    assert other["id"] != data["id"]


def test_pointing_moves_the_cursor_and_selects(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.add(open_example(EXAMPLES[0]))
    point_at(session, {"frame": 57, "start": 12, "stop": 18, "seq": 3})
    assert (session.cursor, session.span) == (57, (12, 18))
    point_at(session, {"frame": 57, "start": -1, "stop": -1, "seq": 4})
    assert session.span is None
    assert session.scratch["timeline.seq"] == 4
