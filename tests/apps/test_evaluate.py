"""`xnemo evaluate`: real clips through tiny weights and the real networks, as a user runs it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from animator.image import read_image, write_image
from animator.provenance.verify import verify
from apps.evaluation import summary
from tests.animator.media import clip_frames, make_video
from tests.apps.conftest import Outcome

FRAMES = 8


@pytest.fixture(scope="module")
def data(shared_data: Path, portrait: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short clips, two portraits of which one shows no face, and a manifest; the networks lie beside it."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("GRID_01_neutral_01", "MEAD_M003_happy_02"):
        make_video(folder / f"{name[:4]}.mp4", clip_frames(shared_data / "clips" / f"{name}.mp4", FRAMES), 25)
    write_image(folder / "astronaut.png", read_image(portrait)[:400, 50:450])
    write_image(folder / "wall.png", np.full((200, 200, 3), 120, np.uint8))
    rows = ["file,kind,split,note,identity"] + [f"{name}.mp4,clip,validation,,{name}" for name in ("GRID", "MEAD")]
    rows += ["astronaut.png,portrait,validation,photo,", "wall.png,portrait,validation,wall,"]
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    (folder / "models").symlink_to(shared_data / "models")
    return folder


def measured(outcome: Outcome) -> dict:
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def report(folder: str = "outputs/evaluation") -> dict:
    return json.loads(Path(folder, "report.json").read_text())


def value(part: dict, method: str, key: str) -> float:
    return part["methods"][method]["figures"][key]["value"]


@pytest.mark.slow
def test_both_tables_with_baselines_results_and_resumption(xnemo: Callable[..., Outcome], data: Path) -> None:
    peer = Path("peer")
    (peer / "self").mkdir(parents=True)
    shutil.copy(data / "GRID.mp4", peer / "self" / "GRID.mp4")
    words = ["evaluate", "self", data, "workers=1", "resamples=100", "--results", peer, "--json"]
    own = measured(xnemo(*words))["self"]
    assert list(own["methods"]) == ["tiny", "peer", "copy the reference", "copy the driver", "paste the driving face"]
    assert [value(own, "copy the driver", key) for key in ("l1", "ssim", "lpips", "aed", "apd")] == [0, 1, 0, 0, 0]
    assert value(own, "peer", "l1") == 0 and own["methods"]["peer"]["clips"] == 1
    assert list(own["skipped"].values()) == ["peer has no video of it"]
    assert value(own, "copy the reference", "flicker") == 0
    assert own["paper"] == {"l1": 0.055, "ssim": 0.826, "lpips": 0.168}

    about = report()["provenance"]
    assert about["networks"]["identity"]["stands_for"] == "ArcFace" and about["networks"]["identity"]["known"]
    assert len(about["weight_files"]) > 3 and about["encoder_id"] and about["commit"]

    records = sorted(Path("outputs/evaluation/records").glob("*.json"))
    assert len(records) == 2 * 4 + 1
    kept = {path: path.stat().st_mtime_ns for path in records}
    records[0].write_text("damaged")
    again = measured(xnemo(*words))["self"]
    assert again == own
    assert [path for path in records if path.stat().st_mtime_ns != kept[path]] == [records[0]]


@pytest.mark.slow
def test_cross_counts_pairs_names_stand_ins_and_shows_everything(xnemo: Callable[..., Outcome], data: Path) -> None:
    outcome = xnemo("evaluate", "cross", data, data, "workers=2", "resamples=100", "-o", "here")
    assert outcome.code == 0, outcome.err
    assert "likeness (dlib)" in outcome.out and "ID-SIM" not in outcome.out and "EMO-SIM" not in outcome.out
    cross = report("here")["cross"]
    assert [(row["clip"], row["portrait"]) for row in cross["records"] if row["method"] == "tiny"] == [
        ("GRID", "astronaut"),
        ("MEAD", "astronaut"),
    ]
    assert any(name.startswith("wall.png") for name in cross["skipped"])
    assert value(cross, "copy the driver", "aed") == 0 and value(cross, "copy the driver", "leakage") > 0
    assert value(cross, "copy the reference", "identity") == pytest.approx(1)
    assert value(cross, "copy the reference", "leakage") < 0
    assert "l1" not in cross["methods"]["tiny"]["figures"] and "identity" not in cross["paper"]

    page = Path("here/report.html").read_text()
    assert page.count("data:video/mp4;base64,") == 2 and page.count("data:image/jpeg;base64,") == 2
    for video in Path("here/records").glob("*.mp4"):
        marks = verify(video)
        assert marks.statement is not None and marks.xmp and marks.credentials is not None
        assert marks.credentials.action == "evaluate"
        assert [source["role"] for source in marks.credentials.sources] == ["portrait", "driving"]
    assert "<svg" in page and "copy the driver" in page and not re.search(r'src="(?!data:)', page)
    for link in re.findall(r'href="([^"]+)"', page):
        assert Path("here", link).is_file()
    assert "| GRID on astronaut | 8 |" in Path("here/report.md").read_text()


@pytest.mark.slow
def test_several_weights_stand_in_one_table(xnemo: Callable[..., Outcome], data: Path, tiny_weights: Path) -> None:
    other = Path("other")
    shutil.copytree(tiny_weights, other)
    words = ["evaluate", "ablation", data, data, other, tiny_weights, "--limit", "1", "workers=1", "resamples=100"]
    outcome = xnemo(*words)
    assert outcome.code == 2 and "not weights=" in outcome.err  # the fixture of these tests adds weights=

    from apps.cli import main

    assert main([str(word) for word in words]) == 0
    part = report()["ablation"]
    assert list(part["methods"]) == ["other", "tiny", "copy the reference", "copy the driver", "paste the driving face"]
    assert len(part["records"]) == 5
    assert value(part, "other", "aed") == value(part, "tiny", "aed")
    assert part["paper_rows"]["the paper, without the GAN head"] == {"aed": 0.045, "apd": 4.64}  # no stand-in's figures
    about = report()["provenance"]
    assert about["weights"] == "other, tiny"
    assert {name.split("/")[0] for name in about["weight_files"]} == {"other", "tiny"}


def test_numbers_stand_under_their_names() -> None:
    columns = [{"key": "l1", "label": "L1", "digits": 3}, {"key": "aed", "label": "AED", "digits": 4}]
    figures = {"l1": {"value": 0.04}, "aed": {"value": 12.5}}
    methods = {"mine": {"figures": figures}, "another": {"figures": {"l1": {"value": None}}}}
    result = {
        "self": {"columns": columns, "methods": methods, "skipped": {}},
        "latent": {"not_measured": "no head"},
        "report": {"html": "report.html"},
    }
    table, _, rest = summary(result).partition("\n\n")
    assert table.splitlines() == ["self        L1      AED", "mine     0.040  12.5000", "another      –        –"]
    assert rest.splitlines() == ["latent is not measured: no head", "", "report: report.html"]


def test_wrong_words_are_wrong_usage(xnemo: Callable[..., Outcome], tmp_path: Path) -> None:
    assert xnemo("evaluate", "self").code == 2
    assert xnemo("evaluate", "self", tmp_path, "--limit", "none").code == 2
    assert xnemo("evaluate", "cross", tmp_path).code == 2
    assert "needs one more word" in xnemo("evaluate").error


def test_inputs_that_are_not_there_are_named(
    xnemo: Callable[..., Outcome], tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = f"models={shared_data / 'models'}"
    assert "nothing: no such file or folder" in xnemo("evaluate", "self", "nothing", models).error
    assert (
        "no such folder of results"
        in xnemo(
            "evaluate", "self", shared_data / "clips" / "GRID_01_neutral_01.mp4", models, "--results", "nowhere"
        ).error
    )
    monkeypatch.setenv("XNEMO_HOME", str(tmp_path))
    assert "lpips_alexnet.safetensors" in xnemo("evaluate", "self", "nothing").error
    assert not Path("outputs").exists()
