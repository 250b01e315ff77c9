"""Content Credentials (C2PA): a signed manifest in the file that says what it is and what it was made from.

A signature proves who signed and that nothing was changed since; removing the manifest removes the proof with it.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animator.errors import XNeMoError
from animator.files import atomic_path
from animator.provenance.certificate import Identity, own_authority
from animator.provenance.statement import PROGRAM, SOURCE_TYPE, Statement, program_version

if TYPE_CHECKING:
    from c2pa import Context

MIME = "video/mp4"
MARK_LABEL = "org.xnemo.pixel-mark"
# Nothing is ever asked of the network: no manifests elsewhere, no certificate servers, no time stamps.
OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": False}


@dataclass(frozen=True)
class Credentials:
    """A manifest that was found.

    Attributes:
        state: "trusted": intact, and of an issuer that is known here; "valid": intact, of an issuer who is not;
            "invalid": the file or the manifest was changed since it was signed.
        problems: codes of C2PA for what is wrong, or not known.
        program: who made the claim.
        signer: name in the certificate, as its issuer wrote it.
        synthetic: an action says that a trained model made the media.
        action: what was done, in the program's words.
        sources: role, name and sha256 of what it was made from.
        identifier: what the pixels are said to carry.
    """

    state: str
    problems: tuple[str, ...]
    program: str | None
    signer: str | None
    synthetic: bool
    action: str | None
    sources: tuple[dict[str, str], ...]
    identifier: int | None


def check_identity(identity: Identity) -> None:
    """Find out before any long work whether C2PA signs with a certificate.

    Raises:
        XNeMoError: it does not.
    """
    import c2pa

    with _one_line("the certificate cannot be used for signing"), _signer(identity) as signer:
        signer.reserve_size()
    del c2pa


def sign(path: Path, title: str, statement: Statement, identity: Identity, identifier: int | None) -> None:
    """Put a signed manifest into an mp4.

    The manifest holds no time: the same video, statement and certificate give the same manifest, but for the salts that
    C2PA adds to each source.

    Args:
        path: the file; it is replaced when the signed one is whole.
        title: the name that the file will have.
        statement: what is said.
        identity: what it is signed with.
        identifier: what the pixels carry; None where they carry nothing.
    Raises:
        XNeMoError: it cannot be signed or written.
    """
    import c2pa

    manifest = _manifest(title, statement, identifier)
    with (
        atomic_path(path) as signed,
        _one_line(f"{title}: the C2PA manifest cannot be written"),
        _signer(identity) as signer,
        _context() as context,
        c2pa.Builder(manifest, context=context) as builder,
        open(path, "rb") as source,
        open(signed, "w+b") as target,
    ):
        builder.sign(signer, MIME, source, target)


def read_credentials(path: Path, trust: bytes = b"") -> Credentials | None:
    """The manifest of a file, checked; None where there is none.

    Args:
        path: the file.
        trust: further certificates in PEM of issuers to trust, beside this machine's own.
    Returns:
        The manifest; None where there is none, and for files that are no mp4 or mov. One that cannot be read counts as
        invalid.
    """
    import c2pa

    with open(path, "rb") as file:
        if file.read(8)[4:] != b"ftyp":
            return None
    anchors = (own_authority() or b"") + trust
    with _context(anchors) as context, open(path, "rb") as file:
        try:
            with c2pa.Reader(MIME, file, context=context) as reader:
                report, state = json.loads(reader.json()), str(reader.get_validation_state())
        except c2pa.C2paError.ManifestNotFound:
            return None
        except (c2pa.C2paError, ValueError) as error:
            return Credentials("invalid", (_plain(error),), None, None, False, None, (), None)
    return _found(report, state.lower())


def _manifest(title: str, statement: Statement, identifier: int | None) -> dict[str, Any]:
    agent = {"name": PROGRAM, "version": program_version()}
    ingredients = [
        {
            "title": f"{source.role}: {source.name}",
            "relationship": "inputTo",
            "instance_id": f"xmp:iid:{_number(source.sha256)}",
            "description": f"sha256:{source.sha256}",
        }
        for source in statement.sources
    ]
    action = {
        "action": "c2pa.created",
        "digitalSourceType": SOURCE_TYPE,
        "softwareAgent": agent,
        "description": statement.action,
    }
    sources = [{"role": source.role, "name": source.name, "sha256": source.sha256} for source in statement.sources]
    assertions: list[dict[str, Any]] = [
        {"label": "c2pa.actions", "data": {"actions": [action]}},
        {"label": "org.xnemo.sources", "data": {"sources": sources}},
    ]
    if identifier is not None:
        assertions.append({"label": MARK_LABEL, "data": {"identifier": identifier}})
    seed = json.dumps([title, statement.action, sources, identifier])
    return {
        "label": f"urn:c2pa:{_number(seed)}",
        "instance_id": f"xmp:iid:{_number(seed)}",
        "claim_generator_info": [agent],
        "title": title,
        "ingredients": ingredients,
        "assertions": assertions,
    }


def _number(seed: str) -> uuid.UUID:
    """A UUID that follows from a text, in the form of a random one, which is the one that C2PA takes."""
    return uuid.UUID(bytes=hashlib.sha256(seed.encode()).digest()[:16], version=4)


def _found(report: dict[str, Any], state: str) -> Credentials:
    # Anyone may have written the manifest, so nothing is taken to have the shape that this program gives it.
    manifest = _part(report, "manifests", report.get("active_manifest"))
    failures = _list(_part(report, "validation_results", "activeManifest"), "failure")
    said = {str(each.get("label")).split(".v")[0]: each.get("data") for each in _list(manifest, "assertions")}
    actions = _list(_part(said, "c2pa.actions"), "actions")
    made = next((action for action in actions if action.get("digitalSourceType") == SOURCE_TYPE), None)
    generator = next(iter(_list(manifest, "claim_generator_info")), {})
    signature = _part(manifest, "signature_info")
    sources = _list(_part(said, "org.xnemo.sources"), "sources")
    identifier = _part(said, MARK_LABEL).get("identifier")
    names = [_plain(generator[key]) for key in ("name", "version") if generator.get(key)]
    signer = signature.get("common_name") or signature.get("issuer")
    return Credentials(
        state=state if state in ("trusted", "valid") else "invalid",
        problems=tuple(_plain(failure.get("code")) for failure in failures),
        program=" ".join(names) or None,
        signer=None if signer is None else _plain(signer),
        synthetic=made is not None,
        action=None if made is None else _plain(made.get("description")),
        sources=tuple({key: _plain(each.get(key)) for key in ("role", "name", "sha256")} for each in sources),
        identifier=identifier if isinstance(identifier, int) else None,
    )


def _part(tree: dict[str, Any], *keys: Any) -> dict[str, Any]:
    """What lies under some keys, where that is an object; else an empty one."""
    for key in keys:
        tree = tree.get(key, {})
        if not isinstance(tree, dict):
            return {}
    return tree


def _list(tree: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The objects in the list under a key."""
    found = tree.get(key)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _plain(value: object) -> str:
    """A text for one line of a terminal: without control characters, and of a length that can be read."""
    return "".join(letter for letter in " ".join(str(value).split()) if letter.isprintable())[:200]


@contextmanager
def _signer(identity: Identity) -> Iterator[Any]:
    import c2pa

    info = c2pa.C2paSignerInfo(
        alg=identity.algorithm.encode(), sign_cert=identity.chain, private_key=identity.private_key, ta_url=None
    )
    with c2pa.Signer.from_info(info) as signer:
        yield signer


def _context(anchors: bytes = b"") -> Context:
    import c2pa

    settings: dict[str, Any] = {"verify": OFFLINE}
    if anchors:
        settings["trust"] = {"trust_anchors": anchors.decode("ascii", "replace")}
    return c2pa.Context.from_dict(settings)


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    import c2pa

    try:
        yield
    except c2pa.C2paError as error:
        raise XNeMoError(f"{what}: {error}") from error
