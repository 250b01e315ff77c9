"""What the running server answers to requests that no page of it makes: nothing of anybody's, no way into folders."""

from __future__ import annotations

import http.client
import socket
from urllib.parse import urlsplit

import pytest

pytestmark = pytest.mark.slow

SOON = 20  # seconds
STOLEN = (b"root:", b"[project]", b"xnemo-view-", b"Index of", b"Directory listing")


def ask(
    site: str, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer; the path is sent as it is written here."""
    connection = http.client.HTTPConnection(urlsplit(site).netloc, timeout=SOON)
    try:
        connection.putrequest(method, path, skip_host=headers is not None and "Host" in headers)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read(2**20)
    finally:
        connection.close()


def test_only_this_machine_is_listened_to(site: str) -> None:
    port = urlsplit(site).port
    # Another address of the same machine: a server that listens everywhere answers there.
    with socket.socket() as probe, pytest.raises(OSError):
        probe.settimeout(SOON)
        probe.connect(("127.0.0.2", port))
    assert ask(site, "GET", "/_stcore/health")[0] == 200


@pytest.mark.parametrize(
    "root", ["", "/static", "/media", "/app/static", "/component", "/_stcore", "/_stcore/upload_file"]
)
@pytest.mark.parametrize(
    "way",
    [
        "/",
        "/../../../../etc/passwd",
        "/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/pyproject.toml",
        "//etc/passwd",
    ],
)
def test_no_way_leads_into_folders(site: str, root: str, way: str) -> None:
    status, _, body = ask(site, "GET", root + way)
    # What is no file is answered by the page itself, as every page's address is, or not at all.
    assert status in (200, 301, 302, 307, 308, 400, 403, 404, 405), status
    assert not any(word in body for word in STOLEN)
    if status == 200:
        assert b'<div id="root">' in body


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_files_are_put_and_removed_only_by_the_page_of_a_session(site: str, method: str) -> None:
    for headers in ({}, {"X-Xsrftoken": "guessed"}, {"X-Xsrftoken": "a", "Cookie": "_streamlit_xsrf=b"}):
        status, _, _ = ask(site, method, "/_stcore/upload_file/0000/1111", headers, b"film")
        assert status in (400, 403, 405), (method, headers, status)


def test_what_a_window_holds_cannot_be_guessed_or_listed(site: str) -> None:
    for path in (
        "/media/",
        "/media/1.mp4",
        f"/media/{'0' * 56}.mp4",
        "/_stcore/upload_file/0000/1111",
    ):
        status, _, body = ask(site, "GET", path)
        assert status in (400, 403, 404, 405) or b'<div id="root">' in body, (path, status)
        assert b"ftyp" not in body


@pytest.mark.parametrize("host", ["", "evil.example"])  # the second: a name of others that leads to this machine
@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
def test_pages_of_others_cannot_talk_to_it(site: str, origin: str, host: str) -> None:
    upgrade = {
        "Host": host or urlsplit(site).netloc,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    assert ask(site, "GET", "/_stcore/stream", upgrade | {"Origin": origin})[0] == 403
    _, headers, _ = ask(site, "GET", "/_stcore/health", {"Origin": origin})
    assert headers.get("access-control-allow-origin") not in ("*", origin)
