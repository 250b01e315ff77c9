"""Certificates to sign with: the user's own, or one that is made on this machine and kept.

A self-made certificate proves that a file has not been changed since this machine signed it, and nothing about who
owns the machine. Readers elsewhere say "valid, issuer unknown", as they should.
"""

from __future__ import annotations

import datetime
import logging
import os
import secrets
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from animator.errors import XNeMoError

if TYPE_CHECKING:
    from cryptography.x509 import CertificateBuilder, KeyUsage, Name

log = logging.getLogger(__name__)

FILE = "signing.pem"
YEARS = 20
ORGANISATION = "X-NeMo motion suite, self-made certificate"
_BEGIN_KEY = b"-----BEGIN PRIVATE KEY-----"
_END_KEY = b"-----END PRIVATE KEY-----\n"


@dataclass(frozen=True)
class Identity:
    """What a signature is made with.

    Attributes:
        algorithm: as C2PA names it: ed25519, es256, es384, es512 or ps256.
        chain: certificates in PEM, the signer's first.
        private_key: in PEM, PKCS 8, without a password.
        own: it was made on this machine.
    """

    algorithm: str
    chain: bytes
    private_key: bytes
    own: bool


def config_dir() -> Path:
    """Folder for what belongs to the user: `$XNEMO_CONFIG`, else `xnemo` in the platform's folder for settings."""
    if home := os.environ.get("XNEMO_CONFIG"):
        return Path(home).expanduser()
    if sys.platform == "win32":
        roaming = os.environ.get("APPDATA")
        return (Path(roaming) if roaming else Path.home() / "AppData" / "Roaming") / "xnemo"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "xnemo"
    xdg = os.environ.get("XDG_CONFIG_HOME")
    return (Path(xdg) if xdg else Path.home() / ".config") / "xnemo"


def own_identity() -> Identity:
    """This machine's certificate; it is made at the first use and kept in `config_dir()`, readable by the user alone.

    Where the folder cannot be written, a certificate is made for this run alone, and the log says so.

    Raises:
        XNeMoError: the file is there and is not what it should be.
    """
    path = config_dir() / FILE
    with suppress(FileNotFoundError, NotADirectoryError):
        return _split(path, _read(path))
    made = _make()
    try:
        if not _keep(path, made):
            return _split(path, _read(path))  # another process was faster
    except OSError as error:
        log.warning("%s: cannot be written (%s); signing with a certificate for this run alone", path, error.strerror)
    return _split(path, made)


def users_identity(certificate: str, private_key: str) -> Identity:
    """The user's certificate.

    Args:
        certificate: PEM file with the chain, the signer's certificate first.
        private_key: PEM file with its key: Ed25519, ECDSA on P-256, P-384 or P-521, or RSA.
    Raises:
        XNeMoError: a file cannot be read or is no such thing, or key and certificate do not belong together.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
    from cryptography.hazmat.primitives.serialization import load_pem_private_key as load_key

    try:
        chain = _read(Path(certificate))
        key = load_key(_read(Path(private_key)), None)
    except FileNotFoundError as error:
        raise XNeMoError(f"{error.filename}: no such file") from error
    except TypeError as error:
        raise XNeMoError(f"{private_key}: has a password; give the key without one") from error
    except Exception as error:  # cryptography names its errors after every way in which a key can be wrong
        raise XNeMoError(f"{private_key}: is no private key in PEM") from error
    try:
        signer = x509.load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise XNeMoError(f"{certificate}: holds no certificate in PEM") from error
    encoding = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if signer.public_key().public_bytes(*encoding) != key.public_key().public_bytes(*encoding):
        raise XNeMoError(f"{private_key}: is not the key of the first certificate in {certificate}")
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Identity(_algorithm(private_key, key), chain, pem, own=False)


def own_authority() -> bytes | None:
    """The certificate in PEM that this machine's own is issued by; None where none has been made yet."""
    path = config_dir() / FILE
    try:
        chain = _split(path, _read(path)).chain
    except (FileNotFoundError, NotADirectoryError):
        return None
    return chain[chain.rindex(b"-----BEGIN CERTIFICATE-----") :]


def _algorithm(name: str, key: object) -> str:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    if isinstance(key, Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, EllipticCurvePrivateKey) and key.curve.key_size in (256, 384, 521):
        return {256: "es256", 384: "es384", 521: "es512"}[key.curve.key_size]
    if isinstance(key, RSAPrivateKey):
        return "ps256"
    raise XNeMoError(f"{name}: is a key of another kind than Ed25519, ECDSA (P-256, P-384, P-521) or RSA")


def _read(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        FileNotFoundError, NotADirectoryError: there is none.
        XNeMoError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise XNeMoError(f"{path}: cannot be read: {error.strerror or error}") from error


def _split(path: Path, text: bytes) -> Identity:
    """Key and certificates out of the file that `_make` wrote."""
    end = text.find(_END_KEY)
    if not text.startswith(_BEGIN_KEY) or end < 0 or text.count(b"-----BEGIN CERTIFICATE-----") != 2:
        raise XNeMoError(f"{path}: is damaged; remove it, and a new certificate is made")
    return Identity("ed25519", text[end + len(_END_KEY) :], text[: end + len(_END_KEY)], own=True)


def _keep(path: Path, text: bytes) -> bool:
    """Write the file for the user alone, whole or not at all; False if there is one already.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".xnemo-{secrets.token_hex(6)}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
        try:
            os.link(temporary, path)  # fails where the name is taken, which a renaming would not
        except FileExistsError:
            return False
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _make() -> bytes:
    """A fresh key with two certificates: C2PA does not accept one that signs itself (C2PA 2.2, 14.5.1)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509 import (
        AuthorityKeyIdentifier,
        BasicConstraints,
        ExtendedKeyUsage,
        SubjectKeyIdentifier,
    )
    from cryptography.x509.oid import ExtendedKeyUsageOID

    authority_key, key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    tag = secrets.token_hex(4)  # so that two machines' names differ
    issuer, subject = _name(f"authority {tag}"), _name(f"signer {tag}")
    authority = (
        _blank(issuer, issuer)
        .public_key(authority_key.public_key())
        .add_extension(BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(issues=True), critical=True)
        .add_extension(SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, None)
    )
    signer = (
        _blank(subject, issuer)
        .public_key(key.public_key())
        .add_extension(BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(issues=False), critical=True)
        .add_extension(ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, None)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + signer.public_bytes(Encoding.PEM) + authority.public_bytes(Encoding.PEM)


def _name(common: str) -> Name:
    from cryptography.x509 import Name, NameAttribute
    from cryptography.x509.oid import NameOID

    return Name([NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION), NameAttribute(NameOID.COMMON_NAME, common)])


def _blank(subject: Name, issuer: Name) -> CertificateBuilder:
    from cryptography.x509 import CertificateBuilder, random_serial_number

    # From yesterday on, for the clocks of two machines differ.
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    end = begin + datetime.timedelta(days=365 * YEARS)
    dated = CertificateBuilder().not_valid_before(begin).not_valid_after(end)
    return dated.subject_name(subject).issuer_name(issuer).serial_number(random_serial_number())


def _usage(issues: bool) -> KeyUsage:
    from cryptography.x509 import KeyUsage

    return KeyUsage(
        digital_signature=not issues,
        key_cert_sign=issues,
        crl_sign=issues,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
