"""Speed and memory of the viewer: the first page, and what a click on each page costs, in a real browser.

    python benchmarks/viewer.py [--repeats 5] [--wait 10]

A server is started as `xnemo view` starts it, with the packaged weights, and Debian's Chromium looks at it. A page is
there when its script has ended and nothing is still turning; a click lasts from the press of the mouse button to that
moment. The smallest of several is reported, as on a shared machine others are in the way, and beside it the processor
time that the server and its threads spent on one click, which does not depend on them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import sync_playwright

REPOSITORY = Path(__file__).resolve().parents[1]
LATE = 20_000  # milliseconds

# When the page's script ended last, in the browser's clock; it is asked at every change of its state.
WATCH = """() => {
  const app = document.querySelector('.stApp');
  window.ended = performance.now();
  new MutationObserver(() => { if (app.dataset.testScriptState === 'notRunning') window.ended = performance.now(); })
    .observe(app, { attributes: true, attributeFilter: ['data-test-script-state'] });
  window.addEventListener('pointerdown', () => { window.pressed = performance.now(); }, true);
  window.addEventListener('keydown', () => { window.pressed = performance.now(); }, true);
}"""
IDLE = (
    "document.querySelector('.stApp')?.dataset.testScriptState === 'notRunning'"
    " && !document.querySelector('[data-testid=stSpinner]') && !document.querySelector('[data-testid=stSkeleton]')"
)
ENDED = f"window.ended > window.pressed && {IDLE}"


class Look:
    """A browser window on the viewer, with a stop-watch."""

    def __init__(self, page: Any, server: psutil.Process) -> None:
        self.page = page
        self.server = server

    def processor(self) -> float:
        """Processor seconds of the server so far."""
        times = self.server.cpu_times()
        return float(times.user + times.system)

    def clicks(self, action: Callable[[int], None], repeats: int) -> tuple[float, float]:
        """The shortest time of an action in seconds, and the least processor time; `action` gets its number."""
        walls, works = [], []
        for number in range(repeats):
            self.page.wait_for_timeout(400)
            before = self.processor()
            action(number)
            self.page.wait_for_function(ENDED, timeout=LATE)
            self.page.wait_for_timeout(300)  # a click that makes the page run twice
            self.page.wait_for_function(ENDED, timeout=LATE)
            walls.append(self.page.evaluate("window.ended - window.pressed") / 1000)
            works.append(self.processor() - before)
        return min(walls), min(works)

    def go_to(self, name: str) -> None:
        """Click on a page in the menu."""
        self.page.get_by_test_id("stSidebarNavLink").filter(has_text=name).click()

    def point(self, share: float) -> None:
        """Click somewhere in the timeline."""
        box = self.page.locator(".timeline .plot").bounding_box()
        self.page.mouse.click(box["x"] + box["width"] * share, box["y"] + 90)

    def nudge(self, name: str) -> None:
        """Move a slider by one step."""
        self.page.get_by_role("slider", name=name).focus()
        self.page.keyboard.press("ArrowRight")

    def press(self, name: str, nth: int = 0) -> None:
        """Press a button."""
        self.page.get_by_role("button", name=name, exact=True).nth(nth).click()


def first_page(browser: Any, address: str) -> tuple[Any, float]:
    """A new window on the first page, and how long that took until its script had ended, in seconds."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(LATE)
    start = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("h3")
    page.wait_for_function(IDLE)
    return page, time.perf_counter() - start


def journey(look: Look, repeats: int) -> list[tuple[str, float, float]]:
    """What each click costs: rows of name, seconds, processor seconds."""
    rows = []

    def row(name: str, action: Callable[[int], None], times: int = repeats) -> None:
        rows.append((name, *look.clicks(action, times)))
        print(f"  {name:44} {rows[-1][1]:6.2f} {rows[-1][2]:6.2f}", flush=True)

    row("Open: open the example", lambda _: look.press("Open"), 1)
    row("Timeline: click on a token", lambda n: look.point(0.1 + 0.12 * n))
    row("Codebook: open", lambda _: look.go_to("Codebook"), 1)
    row("Codebook: click on a code", lambda n: look.page.locator(".gallery button").nth(3 * n + 1).click())
    row("Map: open", lambda _: look.go_to("Map"), 1)
    row("Map: another colour", lambda n: look.page.get_by_text(("time", "clip")[n % 2], exact=True).first.click())
    row("Edit: open", lambda _: look.go_to("Edit"), 1)
    row("Edit: click on a token, six suggestions", lambda n: look.point(0.15 + 0.12 * n))
    row("Edit: replace it by a suggestion", lambda _: look.press("Use"))
    row("Edit: undo", lambda _: look.press("Undo"))
    row("Interpolate: open", lambda _: look.go_to("Interpolate"), 1)
    row("Interpolate: move the frame", lambda _: look.nudge("Frame"))
    row("Interpolate: add the frame", lambda _: look.press("Add this frame"), 2)
    row("Interpolate: move along the three ways", lambda _: look.nudge("Along the way"))
    row("Extrapolate: open", lambda _: look.go_to("Extrapolate"), 1)
    row("Extrapolate: three candidates of 2 s", lambda _: look.press("Continue"), 1)
    row("Export: open", lambda _: look.go_to("Export"), 1)
    row("Timeline: come back", lambda _: look.go_to("Timeline"), 1)
    return rows


def serve(port: int) -> subprocess.Popen[bytes]:
    """A viewer that listens; it is waited for."""
    server = subprocess.Popen(
        [sys.executable, "-m", "apps.cli", "view", "--no-browser", "--port", str(port), "device=cpu"],
        cwd=REPOSITORY,
        env=os.environ.copy(),
    )
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5):
                return server
        except OSError:
            if server.poll() is not None:
                raise SystemExit("the viewer did not start") from None
            time.sleep(0.05)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="of each click; the smallest counts")
    parser.add_argument("--wait", type=float, default=0, help="seconds between the first page and the first click")
    options = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = time.perf_counter()
    server = serve(port)
    print(f"server up after {time.perf_counter() - start:.1f} s")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page, seconds = first_page(browser, f"http://127.0.0.1:{port}")
            print(f"first page after {seconds:.2f} s")
            page.evaluate(WATCH)
            print(f"  {'click':44} {'s':>6} {'CPU s':>6}")
            page.wait_for_timeout(1000 * options.wait)
            journey(Look(page, psutil.Process(server.pid)), options.repeats)
            again = [first_page(browser, f"http://127.0.0.1:{port}")[1] for _ in range(3)]
            print(f"first page of another window {min(again):.2f} s")
            memory = psutil.Process(server.pid).memory_info().rss
            print(f"memory of the server {memory / 1e9:.2f} GB")
            browser.close()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


if __name__ == "__main__":
    main()
