"""Fixtures that every test may use: real clips and portraits, where the machine has them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Small tensors on many threads wait for each other more than they compute. Commands that tests start inherit this, so
# that they add up in the same order as the test itself, and give the same bits.
os.environ["OMP_NUM_THREADS"] = "1"


import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Say in a line where bytes differ: pytest's own comparison of whole files takes hours."""
    if op != "==" or not (isinstance(left, bytes) and isinstance(right, bytes)):
        return None
    place = next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return [f"{len(left)} bytes == {len(right)} bytes", f"they differ from byte {place} on"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """What a test set does not stay: a forked process would wait for threads that it does not have."""
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


def find_shared_data() -> Path | None:
    """The folder with clips, portraits and labels: `$XNEMO_SHARED/data`, else `../shared/data`; None when absent."""
    shared = Path(os.environ.get("XNEMO_SHARED", REPOSITORY.parent / "shared"))
    data = shared / "data"
    return data if (data / "manifest.csv").is_file() else None


@pytest.fixture(scope="session", autouse=True)
def own_settings_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the certificate that signs what the tests make, in place of the user's."""
    folder = tmp_path_factory.mktemp("settings")
    before = os.environ.get("XNEMO_CONFIG")
    os.environ["XNEMO_CONFIG"] = str(folder)
    yield folder
    if before is None:
        del os.environ["XNEMO_CONFIG"]
    else:
        os.environ["XNEMO_CONFIG"] = before


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with `clips/`, `portraits/`, `labels/` and `manifest.csv`; the test is skipped where it is absent."""
    data = find_shared_data()
    if data is None:
        pytest.skip("the face clips are not on this machine (set XNEMO_SHARED to the folder that holds data/)")
    return data


@pytest.fixture(scope="session")
def clip(shared_data: Path) -> Path:
    """A real talking face: 3 s, 75 frames, 256 x 256, 25 fps, with sound."""
    return shared_data / "clips" / "GRID_01_neutral_01.mp4"


@pytest.fixture(scope="session")
def portrait() -> Path:
    """A real photograph of a face, 512 x 512, in the public domain; it comes with scikit-image."""
    import skimage

    return Path(skimage.__file__).parent / "data" / "astronaut.png"
