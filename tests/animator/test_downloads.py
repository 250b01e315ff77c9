"""Weights of others: what is listed, found, and brought from a hub; a local server stands for the hub."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import close_session

from animator.asset_manifest import RELEASE_FILES, SOURCES, WeightFile, WeightSource, released_home
from animator.downloads import fetch, is_complete, named_sources, source_status, what_it_is_instead
from animator.errors import XNeMoError

DATA = b"weights" * 1000


def source_of(sha256: str | None = None) -> WeightSource:
    return WeightSource(
        "thing",
        "a thing",
        "extra",
        "MIT",
        "https://huggingface.co/someone/thing",
        "things",
        (WeightFile("net/model.safetensors", len(DATA), sha256 or hashlib.sha256(DATA).hexdigest()),),
        "someone/thing",
    )


class _Hub(BaseHTTPRequestHandler):
    """Serves one file as the hub does."""

    requests: list[str]

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        if self._head():
            self.wfile.write(DATA)

    def do_CONNECT(self) -> None:
        """Asked to be a proxy, it refuses."""
        self.send_error(403)

    def _head(self) -> bool:
        type(self).requests.append(f"{self.command} {self.path}")
        found = self.path.startswith("/someone/thing/resolve/main/net/model.safetensors")
        self.send_response(200 if found else 404)
        if found:
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", f'"{hashlib.sha256(DATA).hexdigest()}"')
            self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        return found

    def log_message(self, format: str, *args: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub on this machine; the requests that it got."""
    _Hub.requests = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield _Hub.requests
    server.shutdown()
    server.server_close()


@pytest.fixture
def closed_proxy(hub: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The only way to the hub is a proxy that refuses."""
    monkeypatch.setenv("HTTPS_PROXY", os.environ["HF_ENDPOINT"])
    monkeypatch.setenv("https_proxy", os.environ["HF_ENDPOINT"])
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    close_session()  # an open one keeps the proxy that it began with
    yield
    close_session()


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is out of reach."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def test_a_file_is_brought_once_to_where_it_belongs(hub: list[str], tmp_path: Path) -> None:
    source = source_of()
    assert not is_complete(source, tmp_path)
    assert list(fetch(source, tmp_path)) == [tmp_path / "things" / "net" / "model.safetensors"]
    assert (tmp_path / "things" / "net" / "model.safetensors").read_bytes() == DATA
    assert is_complete(source, tmp_path)
    asked = len(hub)
    assert asked
    assert list(fetch(source, tmp_path)) == [tmp_path / "things" / "net" / "model.safetensors"]
    assert len(hub) == asked


def test_a_file_of_another_checksum_is_refused(hub: list[str], tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match="what came has sha256 [0-9a-f]{64}, expected 1111.*by hand"):
        list(fetch(source_of("1" * 64), tmp_path))
    assert not is_complete(source_of("1" * 64), tmp_path)


def test_a_page_in_place_of_the_file_is_replaced(hub: list[str], tmp_path: Path) -> None:
    source = source_of()
    place = tmp_path / "things" / "net" / "model.safetensors"
    place.parent.mkdir(parents=True)
    place.write_text("<html>")
    assert source_status(source, tmp_path)[0].problem is not None
    assert list(fetch(source, tmp_path)) == [place]
    assert place.read_bytes() == DATA


def test_the_same_weights_in_another_format_will_do(hub: list[str], tmp_path: Path) -> None:
    other = tmp_path / "things" / "net" / "model.fp16.safetensors"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"half")
    assert list(fetch(source_of(), tmp_path)) == [other]
    assert hub == []


def test_a_good_variant_does_for_a_damaged_one(hub: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "things" / "net"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text("<html>")
    (folder / "pytorch_model.bin").write_bytes(b"good")
    assert is_complete(source_of(), tmp_path)
    assert list(fetch(source_of(), tmp_path)) == [folder / "pytorch_model.bin"]
    assert hub == []


def test_damaged_variants_do_not_stay_beside_the_download(hub: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "things" / "net"
    folder.mkdir(parents=True)
    (folder / "pytorch_model.bin").write_text("<html>")
    assert not is_complete(source_of(), tmp_path)
    assert list(fetch(source_of(), tmp_path)) == [folder / "model.safetensors"]
    assert is_complete(source_of(), tmp_path)
    assert not (folder / "pytorch_model.bin").exists()


@pytest.mark.parametrize(
    "page",
    [
        b"\xef\xbb\xbf<!DOCTYPE html>",
        b"<!-- saved -->\n<html>",
        b"\xef\xbb\xbf\n<HTML>",
        "<!DOCTYPE html>".encode("utf-16"),
        "<html>".encode("utf-16-le"),
        "\n<HTML>".encode("utf-16-be"),
        b"\xfe\xff" + "<head>".encode("utf-16-be"),
    ],
)
def test_a_page_is_recognised_behind_a_mark_and_a_comment(tmp_path: Path, page: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(page)
    assert "is an HTML page" in str(what_it_is_instead(tmp_path / "model.safetensors"))


@pytest.mark.usefixtures("closed_proxy")
def test_a_proxy_that_refuses_gives_the_line_too(tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match=r"^net/model.safetensors: cannot be downloaded \(.*403.*; on a machine with"):
        list(fetch(source_of(), tmp_path))


@pytest.mark.slow  # huggingface_hub tries for twenty seconds
@pytest.mark.usefixtures("no_hub")
def test_without_network_the_message_says_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(XNeMoError) as caught:
        list(fetch(SOURCES["svd-vae"], tmp_path))
    message = str(caught.value)
    assert message.startswith("vae/config.json: cannot be downloaded (")
    url = "https://huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt/resolve/main/vae/config.json"
    place = tmp_path / "stable-video-diffusion-img2vid-xt" / "vae" / "config.json"
    assert message.endswith(f"on a machine with network fetch {url} and put it at {place}")
    assert not place.exists()


def test_what_is_only_on_google_drive_is_left_to_a_browser(tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match="xnemo is not on the hub: open https://drive.google.com/.* in a browser"):
        list(fetch(SOURCES["xnemo"], tmp_path))


def test_a_file_of_another_size_is_reported(tmp_path: Path) -> None:
    place = tmp_path / "things" / "net" / "model.safetensors"
    place.parent.mkdir(parents=True)
    place.write_bytes(DATA[:-5])
    status = source_status(source_of(), tmp_path)[0]
    assert (status.found, status.problem) == (True, "has 6,995 of 7,000 bytes")


def test_without_names_the_hubs_part_of_the_released_model_is_meant() -> None:
    assert [source.name for source in named_sources([])] == ["image-variations", "svd-vae"]
    with pytest.raises(XNeMoError, match="nothing: no such source of weights; there are xnemo, image-variations"):
        named_sources(["nothing"])


def test_every_source_has_a_licence_and_a_page_and_checksums_are_whole() -> None:
    for name, source in SOURCES.items():
        assert name == source.name
        assert source.licence
        assert source.page.startswith("https://")
        for file in source.files:
            assert file.sha256 is None or (len(file.sha256) == 64 and file.size)
    assert tuple(file.path for file in SOURCES["xnemo"].files) == RELEASE_FILES


def test_the_folder_follows_xnemo_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XNEMO_HOME", str(tmp_path))
    assert released_home() == tmp_path / "xnemo-release"
