"""A running viewer and a real browser, for the tests that need both."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
SCREENSHOTS = REPOSITORY / "outputs" / "viewer-screenshots"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LATE = 120_000  # milliseconds after which something is taken to hang

# No page is being made, nothing turns, no placeholder waits for a chart.
IDLE = (
    "document.querySelector('.stApp')?.dataset.testScriptState === 'notRunning'"
    " && !document.querySelector('[data-testid=stSpinner]') && !document.querySelector('[data-testid=stSkeleton]')"
)


@pytest.fixture(autouse=True)
def own_main_module() -> Iterator[None]:
    """AppTest puts the page in the place of `__main__`, and processes that are spawned later would run it."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, without a window; the test is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a viewer with the packaged weights; its temporary files are gone when it has ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary = tmp_path_factory.mktemp("server")
    with subprocess.Popen(
        [sys.executable, "-m", "apps.cli", "view", "--no-browser", "--port", str(port), "device=cpu"],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
    ) as server:
        address = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5):
                    break
            except OSError:
                assert server.poll() is None, server.stderr.read().decode() if server.stderr else ""
                time.sleep(0.1)
        yield address
        server.send_signal(signal.SIGINT)
        server.wait(60)
    assert not list(temporary.glob("xnemo-view-*"))


@pytest.fixture
def open_page(browser: Any, site: str) -> Iterator[Callable[..., Any]]:
    """Open an address of the viewer in a browser window of its own; nothing may be fetched from anywhere else."""
    windows = []
    strangers: list[str] = []

    def opened(path: str = "/", scheme: str = "light", width: int = 1280, height: int = 900) -> Any:
        window = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})
        window.set_default_timeout(LATE)
        windows.append(window)
        page = window.new_page()
        page.on("request", lambda request: strangers.append(request.url) if is_foreign(request.url, site) else None)
        page.goto(site + path)
        page.wait_for_selector("h3")
        settled(page)
        return page

    yield opened
    for window in windows:
        window.close()
    assert strangers == []


def is_foreign(url: str, site: str) -> bool:
    """Whether an address is neither the viewer's nor the page's own data."""
    return not url.startswith((site, site.replace("http", "ws"), "data:", "blob:"))


def settled(page: Any) -> None:
    """Wait until the page is made."""
    page.wait_for_function(IDLE, timeout=LATE)
    page.wait_for_timeout(300)
    page.wait_for_function(IDLE, timeout=LATE)


def photograph(page: Any, name: str) -> None:
    """Keep a screenshot as output of the tests."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
