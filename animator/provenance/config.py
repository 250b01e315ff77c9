"""Settings of the marks that synthetic videos carry; every command that draws has them under `marks.`"""

from __future__ import annotations

from dataclasses import dataclass

from animator.config_loader import key, register_root


@dataclass
class MarksConfig:
    """Which marks a synthetic video carries, beside its metadata, which it always does."""

    credentials: bool = key(
        True, "sign a C2PA manifest into the file: program, action, hashes of portrait and driving; false is logged"
    )
    pixels: bool = key(True, "the invisible mark in the pixels; false is logged")
    label: bool = key(False, "write label_text into the lower left corner of every picture")
    label_text: str = key("AI-generated", "words of the visible label")
    certificate: str | None = key(
        None, "PEM file with your certificate chain for signing, yours first; null: a self-made one of this machine"
    )
    private_key: str | None = key(None, "PEM file with the private key of `certificate`, without a password")


@dataclass
class VerifyConfig:
    """Settings of `xnemo verify`."""

    trust: str | None = key(
        None, "PEM file with certificates to trust as issuers, beside this machine's own; null: none more"
    )


def register() -> None:
    """Make this module's types known to the loader; calling it again changes nothing."""
    register_root("verify", VerifyConfig)


register()
