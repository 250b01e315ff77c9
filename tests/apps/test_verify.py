"""`xnemo verify` finds what `xnemo animate` puts in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.cli import main
from tests.animator.media import make_video
from tests.apps.conftest import Outcome
from tests.fuzz.corpus import pictures


def test_what_is_animated_is_marked_in_every_layer(
    xnemo: Callable[..., Outcome],
    portrait: Path,
    driving: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = xnemo("animate", portrait, driving, "-o", "v.mp4", "--preview", "crf=10")
    assert plain.code == 0 and "without" not in caplog.text, plain.err
    found = report("v.mp4", capsys)
    assert found["synthetic"] and found["metadata"]["found"] and found["xmp"]["found"]
    signed = found["credentials"]
    assert (signed["state"], signed["action"]) == ("trusted", "animate")
    assert [(source["role"], source["name"]) for source in signed["sources"]] == [
        ("portrait", portrait.name),
        ("driving", driving.name),
    ]
    bare = xnemo(
        "animate", portrait, driving, "-o", "w.mp4", "--preview", "marks.credentials=false", "marks.pixels=false"
    )
    assert bare.code == 0
    assert "w.mp4: written without marks.credentials and marks.pixels" in caplog.text
    found = report("w.mp4", capsys)
    assert found["synthetic"] and not found["credentials"]["found"] and not found["pixels"]["found"]


def test_a_recording_is_not_accused_and_people_read_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_video(tmp_path / "real.mp4", pictures(4), 25)
    assert main(["verify", str(tmp_path / "real.mp4")]) == 0
    text = capsys.readouterr().out
    assert "no mark found, which does not prove it genuine" in text
    assert main(["verify", str(tmp_path / "no.mp4")]) == 1


def report(path: str, capsys: pytest.CaptureFixture[str]) -> dict:
    capsys.readouterr()
    assert main(["verify", path, "--json"]) == 0
    return json.loads(capsys.readouterr().out)
