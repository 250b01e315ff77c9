"""Marks of synthetic media: each layer is put in, found again, and survives what it is said to survive."""

from __future__ import annotations

import datetime
import json
import logging
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from animator.errors import XNeMoError
from animator.image import read_image, resize
from animator.provenance.certificate import own_authority, own_identity
from animator.provenance.config import MarksConfig
from animator.provenance.marks import Marks
from animator.provenance.pixel_mark import PixelMarker, bits_of, identifier_of, read_pixel_mark
from animator.provenance.verify import Findings, verify, video_stream_digest
from animator.video import VideoReader, VideoWriter

Frames = NDArray[np.uint8]
SIDE, COUNT = 256, 16
OFF = MarksConfig(credentials=False, pixels=False)


@pytest.fixture(scope="module")
def frames(portrait: Path) -> Frames:
    """A photograph that moves now and then, with the grain of a camera; (16, 256, 256, 3)."""
    large = read_image(portrait)
    grain = np.random.default_rng(0)
    shown = []
    for number in range(COUNT):
        step = number // 6
        part = large[step : step + 480, 2 * step : 2 * step + 480]
        noisy = resize(part, (SIDE, SIDE)) + grain.normal(0, 1.5, (SIDE, SIDE, 1))
        shown.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return np.stack(shown)


def write(path: Path, frames: Frames, marks: Marks | None, crf: int = 18) -> Path:
    with VideoWriter(path, 25, crf=crf, marks=marks) as writer:
        writer.write(frames)
    return path


@pytest.fixture(scope="module")
def video(frames: Frames, portrait: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A marked video."""
    return write(tmp_path_factory.mktemp("marked") / "v.mp4", frames, Marks("animate", (("portrait", portrait),)))


@pytest.fixture(scope="module")
def findings(video: Path) -> Findings:
    return verify(video)


def test_every_layer_is_there_and_they_agree(findings: Findings, portrait: Path) -> None:
    assert findings.synthetic and findings.xmp and findings.agrees
    assert findings.statement is not None and "animate" in findings.statement
    signed = findings.credentials
    assert signed is not None and (signed.state, signed.synthetic, signed.action) == ("trusted", True, "animate")
    assert [source["role"] for source in signed.sources] == ["portrait"]
    assert signed.sources[0]["name"] == portrait.name and len(signed.sources[0]["sha256"]) == 64


def test_the_manifest_names_its_ingredients(video: Path) -> None:
    import c2pa

    with open(video, "rb") as file, c2pa.Reader("video/mp4", file) as reader:
        manifest = json.loads(reader.json())
    (ingredient,) = manifest["manifests"][manifest["active_manifest"]]["ingredients"]
    assert ingredient["relationship"] == "inputTo" and ingredient["description"].startswith("sha256:")


def test_an_unmarked_video_has_no_marks(frames: Frames, tmp_path: Path) -> None:
    found = verify(write(tmp_path / "plain.mp4", frames, None))
    assert not found.synthetic and found.credentials is None and found.agrees is None


def test_the_xmp_packet_is_one_that_others_read(video: Path) -> None:
    import xml.etree.ElementTree as tree

    packet = video.read_bytes().split(b"<x:xmpmeta")[1].split(b"</x:xmpmeta>")[0]
    root = tree.fromstring(b"<x:xmpmeta" + packet + b"</x:xmpmeta>")
    values = [value for element in root.iter() for value in element.attrib.values()]
    assert "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia" in values


def test_same_inputs_give_the_same_pictures(video: Path, frames: Frames, portrait: Path, tmp_path: Path) -> None:
    again = write(tmp_path / "v.mp4", frames, Marks("animate", (("portrait", portrait),)))
    assert video_stream_digest(again) == video_stream_digest(video)
    other = write(tmp_path / "w.mp4", frames, Marks("emote", (("portrait", portrait),)))
    assert video_stream_digest(other) != video_stream_digest(video), "the mark tells two videos apart"


def halved(frames: Frames) -> Frames:
    return np.stack([resize(frame, (SIDE // 2, SIDE // 2), "bicubic") for frame in frames])


def cropped(frames: Frames) -> Frames:
    return frames[:, 18:248, 10:240]


@pytest.mark.parametrize(
    ("change", "crf"),
    [(lambda frames: frames, 28), (halved, 18), (cropped, 18)],
    ids=["crf 28", "half size", "10 % cropped"],
)
def test_the_pixels_keep_their_mark(
    video: Path, findings: Findings, tmp_path: Path, change: Callable[[Frames], Frames], crf: int
) -> None:
    with VideoReader(video) as reader:
        pictures = next(reader.chunks())
    treated = write(tmp_path / "t.mp4", change(pictures), None, crf)
    with VideoReader(treated) as reader:
        mark = read_pixel_mark(next(reader.chunks()))
    assert mark.found
    identifier = findings.pixels.identifier
    assert identifier is not None
    assert np.count_nonzero(mark.bits != bits_of(identifier)) <= 2, "of 24 bits"


def test_the_pixels_cost_little(frames: Frames) -> None:
    marked = PixelMarker(identifier_of("x")).mark(frames[0])
    change = marked.astype(int) - frames[0]
    assert np.abs(change).max() < 16
    assert 10 * np.log10(255**2 / np.square(change).mean()) > 38


def test_pictures_without_a_mark_are_not_accused(frames: Frames) -> None:
    generator = np.random.default_rng(1)
    noise = generator.integers(0, 256, (128, 160, 3), dtype=np.uint8)
    stripes = np.broadcast_to((np.arange(192) // 8 % 2 * 120 + 60)[None, :, None], (200, 192, 3)).astype(np.uint8)
    grey = np.full((64, 64, 3), 128, dtype=np.uint8)
    for picture in (frames[0], frames[-1][:, ::-1], noise, stripes, grey):
        assert not read_pixel_mark([picture]).found


def test_a_strip_is_read_as_quickly_as_a_picture() -> None:
    strip = np.random.default_rng(0).integers(0, 256, (2, 8192, 3), dtype=np.uint8)
    began = time.process_time()
    for picture in (strip, strip.transpose(1, 0, 2)):
        assert not read_pixel_mark([picture]).found
    assert time.process_time() - began < 20, "each takes a second; it was once of a million by 256 units"


def test_the_identifier_is_read_from_wide_and_tiny_pictures(frames: Frames) -> None:
    marker = PixelMarker(54321)
    wide = np.stack([np.concatenate([frame, frame[:, ::-1]], axis=1) for frame in frames[:8]])
    small = np.stack([resize(frame, (64, 64)) for frame in frames])
    assert read_pixel_mark([marker.mark(frame) for frame in wide]).identifier == 54321
    for frame in small[:2]:
        assert marker.mark(frame).shape == (64, 64, 3), "another size for the same marker"
    with pytest.raises(ValueError, match="65535"):
        PixelMarker(65536)


def test_changed_pictures_invalidate_the_signature(video: Path, tmp_path: Path) -> None:
    data = bytearray(video.read_bytes())
    middle = data.index(b"mdat") + 2000
    data[middle] ^= 1
    (tmp_path / "changed.mp4").write_bytes(data)
    signed = verify(tmp_path / "changed.mp4").credentials
    assert signed is not None and signed.state == "invalid"
    assert any("bmffHash.mismatch" in problem for problem in signed.problems)


def test_a_broken_manifest_is_invalid_and_no_crash(video: Path, tmp_path: Path) -> None:
    data = video.read_bytes()
    start = data.index(b"jumb")
    (tmp_path / "broken.mp4").write_bytes(data[:start] + bytes(400) + data[start + 400 :])
    found = verify(tmp_path / "broken.mp4")
    assert found.credentials is None or found.credentials.state == "invalid"
    assert found.pixels.found, "one broken layer does not hide the others"


def test_elsewhere_the_signature_is_valid_and_its_issuer_unknown(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = own_authority()
    assert authority is not None
    monkeypatch.setenv("XNEMO_CONFIG", str(tmp_path / "another machine"))
    signed = verify(video).credentials
    assert signed is not None and signed.state == "valid"
    assert signed.problems == ("signingCredential.untrusted",)
    (tmp_path / "theirs.pem").write_bytes(authority)
    trusted = verify(video, trust=tmp_path / "theirs.pem").credentials
    assert trusted is not None and trusted.state == "trusted"


def test_the_certificate_is_made_once_for_the_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XNEMO_CONFIG", str(tmp_path / "new"))
    first = own_identity()
    assert own_identity() == first
    (kept,) = (tmp_path / "new").iterdir()
    if os.name == "posix":
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    kept.write_text("no certificate")
    with pytest.raises(XNeMoError, match=r"signing.pem: is damaged; remove it"):
        own_identity()


def test_without_a_folder_to_keep_it_a_certificate_serves_one_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XNEMO_CONFIG", str(tmp_path / "file"))
    assert own_identity().own
    assert "for this run alone" in caplog.text


def user_certificate(folder: Path, usage: bool = True) -> tuple[str, str]:
    """A certificate as a user may have one, of an issuer of theirs, on P-256."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)])

    issuer, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name("a studio"))
        .issuer_name(name("an issuer"))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
    )
    flags = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign")
    more = ("crl_sign", "encipher_only", "decipher_only")
    signing = x509.KeyUsage(digital_signature=True, **dict.fromkeys((*flags, *more), False))
    builder = builder.add_extension(signing, critical=True)
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    (folder / "c.pem").write_bytes(builder.sign(issuer, SHA256()).public_bytes(Encoding.PEM))
    (folder / "k.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    return str(folder / "c.pem"), str(folder / "k.pem")


def test_the_users_own_certificate_signs(frames: Frames, tmp_path: Path) -> None:
    certificate, key = user_certificate(tmp_path)
    config = MarksConfig(pixels=False, certificate=certificate, private_key=key)
    signed = verify(write(tmp_path / "v.mp4", frames[:2], Marks("animate", config=config))).credentials
    assert signed is not None and (signed.state, signed.signer) == ("valid", "a studio")


@pytest.mark.parametrize(
    ("certificate", "key", "reason"),
    [
        ("c.pem", None, "go together"),
        ("no.pem", "k.pem", "no.pem: no such file"),
        ("c.pem", "c.pem", "c.pem: is no private key"),
        ("k.pem", "k.pem", "k.pem: holds no certificate"),
        ("c.pem", "other.pem", "is not the key of the first certificate"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_refused_before_any_work(
    tmp_path: Path, certificate: str, key: str | None, reason: str
) -> None:
    user_certificate(tmp_path)
    (tmp_path / "k.pem").rename(tmp_path / "other.pem")
    user_certificate(tmp_path)
    config = MarksConfig(
        certificate=str(tmp_path / certificate), private_key=None if key is None else str(tmp_path / key)
    )
    with pytest.raises(XNeMoError, match=reason):
        VideoWriter(tmp_path / "v.mp4", 25, marks=Marks("animate", config=config)).__enter__()
    assert not list(tmp_path.glob("*.mp4"))


def test_leaving_marks_out_is_logged_and_the_metadata_stays(
    frames: Frames, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    path = write(tmp_path / "v.mp4", frames[:2], Marks("animate", config=OFF))
    assert "v.mp4: written without marks.credentials and marks.pixels" in caplog.text
    found = verify(path)
    assert found.synthetic and found.xmp and found.statement is not None
    assert found.credentials is None and not found.pixels.found


def test_the_label_is_drawn_where_it_is_asked_for(frames: Frames, tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.mp4", frames[:1], Marks("animate", config=OFF))
    config = MarksConfig(credentials=False, pixels=False, label=True)
    labelled = write(tmp_path / "label.mp4", frames[:1], Marks("animate", config=config))
    with VideoReader(plain) as a, VideoReader(labelled) as b:
        change = np.abs(a.frame(0).astype(int) - b.frame(0)).max(axis=2)
    assert (change[-20:, :60] > 40).mean() > 0.5
    assert np.median(change[:200]) <= 2, "nothing else changes"


def test_marking_fails_as_a_whole(frames: Frames, tmp_path: Path) -> None:
    marks = Marks("animate", (("portrait", tmp_path / "gone.png"),))
    with pytest.raises(XNeMoError, match=r"gone\.png: cannot be read"):
        write(tmp_path / "v.mp4", frames, marks)
    assert list(tmp_path.iterdir()) == []


def test_other_files_have_no_credentials(portrait: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "still.gif")
    assert verify(tmp_path / "still.gif").credentials is None
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(XNeMoError, match=r"text\.mp4"):
        verify(tmp_path / "text.mp4")
