"""The running viewer: what it was started with, and how Streamlit is told to behave."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animator.errors import XNeMoError
from apps.viewer.theme import theme_options

if TYPE_CHECKING:
    from apps.viewer.config import ViewConfig

APP = Path(__file__).resolve().parent / "served" / "app.py"
LOCAL = ("127.0.0.1", "localhost", "::1")
ALLOWED = "server.allowedHosts"  # younger versions of Streamlit have it


@dataclass(frozen=True)
class Started:
    """What the command line said.

    Attributes:
        config: settings.
        path: file or folder to open; None for none.
    """

    config: ViewConfig
    path: Path | None = None


_started: list[Started] = []


def configure(config: ViewConfig, path: Path | None = None) -> None:
    """Set what the pages of this process work with; to be called before they run."""
    _started[:] = [Started(config, path)]


def started() -> Started:
    """What the viewer was started with; the defaults if the app was not started by `xnemo view`."""
    return _started[0] if _started else _defaults()


def settings() -> ViewConfig:
    """The settings in use."""
    return started().config


def is_local() -> bool:
    """Whether only this machine can reach the viewer, so that its user may name any folder."""
    return settings().address in LOCAL


def streamlit_options(config: ViewConfig, browser: bool) -> dict[str, Any]:
    """Streamlit's options, in the spelling of its own command line.

    Args:
        config: settings.
        browser: whether to open one.
    """
    from streamlit import config as streamlit_config

    options = {
        "server.address": config.address,
        "server.port": config.port,
        "server.headless": not browser,
        "server.maxUploadSize": config.upload_mb,
        "server.enableXsrfProtection": True,
        "server.enableCORS": True,
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "runner.magicEnabled": False,
        "logger.level": "error",
        "logger.hideWelcomeMessage": True,
        **theme_options(),
    }
    # The template, as asking for the values themselves would settle them too early.
    if config.address in LOCAL and ALLOWED in streamlit_config._config_options_template:
        # Otherwise a page of somebody whose host name was made to lead to this machine could talk to the viewer.
        options[ALLOWED] = list(LOCAL)
    return options


@lru_cache(maxsize=1)
def _defaults() -> Started:
    from animator.config_loader import load_config
    from apps.viewer import config  # noqa: F401 (makes the settings' type known)

    return Started(load_config("view"))


def serve(config: ViewConfig, browser: bool) -> None:
    """Run the app until the process is asked to stop.

    Raises:
        XNeMoError: the port is taken, or the address is not this machine's.
    """
    import sys

    from streamlit.web import bootstrap

    _check_port(config)
    options = {name.replace(".", "_"): value for name, value in streamlit_options(config, browser).items()}
    shown = f"[{config.address}]" if ":" in config.address else config.address
    print(f"the viewer is at http://{shown}:{config.port} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    bootstrap.load_config_options(options)
    bootstrap.run(str(APP), False, [], options)


def _check_port(config: ViewConfig) -> None:
    """Say in words what Streamlit would only log."""
    import socket

    try:
        family = socket.getaddrinfo(config.address, config.port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the server will: a port that was closed a moment ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((config.address, config.port))
    except OSError as error:
        raise XNeMoError(
            f"{config.address}:{config.port}: the viewer cannot listen there ({error.strerror or error}); name another "
            "port with --port N"
        ) from error
