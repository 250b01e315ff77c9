"""The typed settings of `xnemo view`."""

from __future__ import annotations

from dataclasses import dataclass

from animator.config import RenderConfig
from animator.config_loader import key, register_root


@dataclass
class ViewConfig(RenderConfig):
    """Settings of `xnemo view`."""

    tokenizer_weights: str | None = key(
        None, "folder with a motion tokenizer, as its training writes it; null: the packaged one"
    )
    gpt_weights: str | None = key(
        None, "folder with a motion generator, as its training writes it; null: the packaged one"
    )
    models: str | None = key(
        None,
        "folder with the measuring networks, for LPIPS and identity on the page Compare; null: `evaluation` in "
        "$XNEMO_HOME; docs/evaluation.md lists the files",
    )
    port: int = key(8501, "where the viewer listens; --port is the same", minimum=1, maximum=65535)
    address: str = key(
        "127.0.0.1",
        "who may look: 127.0.0.1 is this machine alone; any other address lets others open the viewer, and switches "
        "the opening of folders from the page off",
    )
    upload_mb: int = key(100, "largest file that the page takes, in MB", minimum=1, maximum=2000)
    upload_seconds: float = key(60.0, "longest clip that the page takes, in seconds", minimum=1, maximum=3600)


def register() -> None:
    """Make this module's types known to the loader; calling it again changes nothing."""
    register_root("view", ViewConfig)


register()
