"""Clips and portraits are found in files, folders and manifests, and what is wrong with them is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from animator.errors import XNeMoError
from animator.evaluation.sources import find_items, models_beside


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with clips of two splits, a portrait and a manifest of them."""
    for name in ("clips/b.mp4", "clips/a.mp4", "clips/t.mp4", "portraits/p.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"anything")
    rows = ["file,kind,split,note", "clips/b.mp4,clip,validation,", "clips/a.mp4,clip,validation,"]
    rows += ["clips/t.mp4,clip,train,", "portraits/p.jpg,portrait,validation,painting"]
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_a_manifest_gives_its_split_by_name(data: Path) -> None:
    for given in (data, data / "manifest.csv"):
        assert [item.name for item in find_items([given], "clip", "validation")] == ["a", "b"]
    assert [item.name for item in find_items([data], "clip", "train")] == ["t"]
    assert [item.name for item in find_items([data], "clip", "all")] == ["a", "b", "t"]
    (portrait,) = find_items([data], "portrait", "validation")
    assert (portrait.name, portrait.note) == ("p", "painting")


def test_folders_and_files_do_as_well(data: Path) -> None:
    assert [item.name for item in find_items([data / "clips"], "clip", "validation")] == ["a", "b", "t"]
    both = find_items([data / "clips" / "b.mp4", data / "clips"], "clip", "validation")
    assert [item.name for item in both] == ["a", "b", "t"]  # a file that is named twice counts once


def test_networks_are_looked_for_beside_a_manifest(data: Path) -> None:
    assert models_beside([data]) == []
    (data / "models").mkdir()
    assert models_beside([data, data / "manifest.csv", data / "clips"]) == [data / "models", data / "models"]


def test_what_is_wrong_is_named(data: Path) -> None:
    with pytest.raises(XNeMoError, match=r"nothing.mp4: no such file or folder"):
        find_items([data / "nothing.mp4"], "clip", "validation")
    with pytest.raises(XNeMoError, match=r"portraits: no clip in this folder"):
        find_items([data / "portraits"], "clip", "validation")
    with pytest.raises(XNeMoError, match=r"holds no clip of split test; split=NAME"):
        find_items([data], "clip", "test")
    (data / "other").mkdir()
    (data / "other" / "a.mov").write_bytes(b"anything")
    with pytest.raises(XNeMoError, match=r"would both be called a; rename"):
        find_items([data / "clips", data / "other"], "clip", "validation")
    (data / "clips" / "a.mp4").unlink()
    with pytest.raises(XNeMoError, match=r"a.mp4: no such file, but"):
        find_items([data], "clip", "validation")
    (data / "manifest.csv").write_text("file,kind\nclips/b.mp4,clip\n")
    with pytest.raises(XNeMoError, match=r"manifest.csv: not a manifest"):
        find_items([data], "clip", "validation")
