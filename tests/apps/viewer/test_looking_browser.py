"""The main journeys of somebody who looks at motion, in a real browser: open, point, select, share, upload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.apps.viewer.conftest import photograph, settled

pytestmark = pytest.mark.slow

TOKENS = 40  # of the example


def click_at_token(page: Any, token: int) -> None:
    """Click into a token of the timeline, at its third frame."""
    box = page.locator(".timeline .plot").bounding_box()
    page.mouse.click(box["x"] + box["width"] * (token + 0.6) / TOKENS, box["y"] + 90)


def wait_for_address(page: Any, *parts: str) -> None:
    for part in parts:
        page.wait_for_function(f"location.search.includes('{part}')")


def test_example_opens_and_what_is_selected_can_be_shared(open_page: Callable[..., Any]) -> None:
    page = open_page()
    photograph(page, "open")
    page.get_by_role("button", name="Open", exact=True).first.click()
    page.wait_for_selector(".timeline .plot")
    settled(page)
    click_at_token(page, 12)
    wait_for_address(page, "take=example-speech", "frame=50", "tokens=12-12")
    page.locator("strong", has_text="Token 12").wait_for()
    box = page.locator(".timeline .plot").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 20.5 / TOKENS, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 24.6 / TOKENS, box["y"] + 200, steps=3)
    page.mouse.up()
    wait_for_address(page, "tokens=20-24")
    page.keyboard.press("ArrowRight")
    wait_for_address(page, "frame=99")
    settled(page)
    photograph(page, "timeline")

    other = open_page("/timeline?" + page.url.partition("?")[2], scheme="dark", width=800)
    other.locator("strong", has_text="Token 24").wait_for()
    wait_for_address(other, "frame=99", "tokens=20-24")
    photograph(other, "timeline-dark-800")

    page.get_by_role("link", name="Map").click()
    page.get_by_text("Identity probe").wait_for()
    wait_for_address(page, "take=example-speech", "tokens=20-24")
    page.wait_for_selector("canvas, .vega-embed svg")
    settled(page)
    photograph(page, "map")


def test_click_in_the_gallery_shows_the_code(open_page: Callable[..., Any]) -> None:
    page = open_page("/codebook", height=1300)
    tile = page.locator(".gallery button").nth(5)
    code = tile.get_attribute("data-code")
    tile.click()
    wait_for_address(page, f"code={code}")
    page.locator(f".gallery button.chosen[data-code='{code}']").wait_for()
    settled(page)
    photograph(page, "codebook")


def test_broken_upload_is_refused_in_words_and_the_page_goes_on(open_page: Callable[..., Any], tmp_path: Path) -> None:
    broken = tmp_path / "holiday.mp4"
    broken.write_bytes(bytes(range(256)) * 40)
    page = open_page(scheme="dark", width=800)
    page.set_input_files("input[type=file]", str(broken))
    page.get_by_text("holiday.mp4:").first.wait_for()
    settled(page)
    photograph(page, "broken-upload-dark-800")
    page.get_by_role("button", name="Open", exact=True).first.click()
    page.wait_for_selector(".timeline .plot")


def test_windows_do_not_see_each_others_takes(open_page: Callable[..., Any]) -> None:
    one = open_page("/?take=example-speech")
    one.get_by_text("40 tokens").wait_for()
    other = open_page("/?take=somebody-elses-upload")
    other.get_by_text("only by the window that made them").wait_for()
    assert not other.get_by_text("40 tokens").count()
