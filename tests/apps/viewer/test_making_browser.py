"""The main journey of somebody who makes motion, in a real browser: replace, interpolate, continue, render, compare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from motion_tokenizer.edit_file import SavedHistory
from motion_tokenizer.token_sequence import TokenSequence
from tests.apps.viewer.conftest import photograph, settled

pytestmark = pytest.mark.slow


def go_to(page: Any, name: str) -> None:
    page.get_by_test_id("stSidebarNavLink").filter(has_text=name).click()
    settled(page)


def press(page: Any, name: str, nth: int = 0) -> None:
    page.get_by_role("button", name=name, exact=True).nth(nth).click()
    settled(page)


def saved(page: Any, nth: int, path: Path) -> Path:
    """Press one of the page's Save buttons."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Save", exact=True).nth(nth).click()
    download.value.save_as(path)
    return path


def test_a_token_is_replaced_and_what_comes_of_it_is_drawn_compared_and_saved(
    open_page: Callable[..., Any], tmp_path: Path
) -> None:
    page = open_page("/edit?take=example-speech&frame=60&tokens=15-15")
    preview = page.get_by_test_id("stImage").filter(has_text="frame 60").locator("img")
    before = preview.get_attribute("src")
    press(page, "Use")
    page.get_by_text("Tokens beside the original: 1 changed").wait_for()
    assert preview.get_attribute("src") != before, "the preview follows"
    photograph(page, "edit")

    go_to(page, "Interpolate")
    press(page, "Add this frame")
    slider = page.get_by_role("slider").first
    slider.focus()
    page.keyboard.press("PageDown")
    settled(page)
    press(page, "Add this frame")
    page.get_by_text("Token path").wait_for()
    photograph(page, "interpolate")
    page.get_by_label("Seconds between frames").fill("0.4")
    page.keyboard.press("Enter")
    settled(page)
    press(page, "Render")
    press(page, "Render", -1)

    go_to(page, "Extrapolate")
    page.get_by_label("Seconds").fill("0.5")
    page.get_by_label("Candidates").fill("1")
    press(page, "Continue")
    page.get_by_role("button", name="Keep", exact=True).wait_for()
    photograph(page, "extrapolate")

    go_to(page, "Export")
    page.wait_for_function("!document.querySelector('[data-testid=stProgress]')")
    page.locator("video").wait_for()
    settled(page)
    photograph(page, "export")
    tokens = TokenSequence.load(saved(page, 0, tmp_path / "take.tokens.json"))
    history = SavedHistory.load(saved(page, 2, tmp_path / "take.edits.json"))
    original = TokenSequence.load(saved(page, 3, tmp_path / "original.tokens.json"))
    assert history.open([original]).result().tokens.equal(tokens.tokens)

    go_to(page, "Compare")
    page.wait_for_function(PLAYABLE)
    for mode in ("Side by side", "Wipe", "Difference"):
        page.get_by_role("button", name=mode).click()
        photograph(page, f"compare-{mode.split()[0].lower()}")
    page.get_by_role("button", name="One frame on").click()
    page.wait_for_function(f"{VIDEOS}.every(video => Math.abs(video.currentTime - 1.5 / 25) < 0.01)")


VIDEOS = (
    "[...document.querySelectorAll('*')].flatMap(each => each.shadowRoot ?"
    " [...each.shadowRoot.querySelectorAll('.comparison video')] : [])"
)
PLAYABLE = f"{VIDEOS}.filter(video => video.readyState >= 2).length === 2"
