"""`xnemo view` starts a viewer that only this machine can reach, and says in words why it cannot."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from animator.config_loader import load_config
from apps.viewer import config  # noqa: F401 (types the settings)
from apps.viewer.server import APP, configure, is_local, started, streamlit_options
from apps.viewer.theme import theme_options
from tests.apps.conftest import Outcome


@pytest.mark.parametrize("port", ["0", "70000", "http", "²"])
def test_port_that_is_none_is_wrong_usage(xnemo: Callable[..., Outcome], port: str) -> None:
    outcome = xnemo("view", "--port", port)
    assert outcome.code == 2
    assert f"--port {port}" in outcome.error


def test_missing_path_is_named(xnemo: Callable[..., Outcome]) -> None:
    outcome = xnemo("view", "nowhere.mp4")
    assert outcome.code == 1
    assert outcome.error.startswith("nowhere.mp4: no such file or folder")


def test_taken_port_is_named_with_the_way_out(xnemo: Callable[..., Outcome]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        outcome = xnemo("view", "--no-browser", "--port", str(port))
    assert outcome.code == 1
    assert f"127.0.0.1:{port}" in outcome.error
    assert "--port N" in outcome.error


def test_server_is_private_by_default() -> None:
    options = streamlit_options(load_config("view"), browser=False)
    assert options["server.address"] == "127.0.0.1"
    assert options["server.enableXsrfProtection"]
    assert options["server.enableCORS"]
    assert not options["browser.gatherUsageStats"]
    assert options["server.maxUploadSize"] == 100
    assert options["client.showErrorDetails"] == "none"


def test_streamlit_knows_every_option() -> None:
    from streamlit import config as known

    known.get_config_options()
    options = streamlit_options(load_config("view"), browser=True)
    assert set(theme_options()) < set(options)
    assert set(options) <= set(known._config_options_template)


def test_app_is_where_streamlit_looks_for_it() -> None:
    assert APP.is_file()
    # Streamlit would take such a folder for further scripts.
    assert not (APP.parent / "pages").exists()


def test_other_addresses_are_not_local(tmp_path: Path) -> None:
    before = started()
    try:
        configure(load_config("view", ["address=0.0.0.0"]), tmp_path)
        assert not is_local()
        assert started().path == tmp_path
        configure(load_config("view"))
        assert is_local()
    finally:
        configure(before.config, before.path)
