"""Contact sheets of a report: the right clips, in their order, beside what was drawn before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from animator.errors import XNeMoError
from animator.evaluation.config import SheetsConfig
from animator.evaluation.measuring import SHEET_SIDE
from animator.evaluation.sheets import write_sheets
from animator.image import read_image, write_image
from animator.visuals import Row, contact_sheet, tiles_of

COLUMNS = [
    {"key": "l1", "label": "L1", "digits": 3, "better": "low"},
    {"key": "ssim", "label": "SSIM", "digits": 3, "better": "high"},
]


def grey(level: int) -> np.ndarray:
    return np.full((SHEET_SIDE, SHEET_SIDE, 3), level, np.uint8)


def make_report(folder: Path, errors: dict[str, float], level: int) -> Path:
    """A report of `method` and a baseline; results are grey, and lighter by 10 for each clip in turn."""
    records = []
    (folder / "records").mkdir(parents=True)
    for number, (clip, error) in enumerate(errors.items()):
        metrics = {"l1": error, "ssim": 1 - error}
        records.append({"clip": clip, "portrait": None, "method": "method", "metrics": metrics, "stem": clip})
        records.append({"clip": clip, "portrait": None, "method": "copy", "metrics": {"l1": 0.0}, "stem": "no"})
        rows = [Row("driver", [grey(0), grey(250)]), Row("result", [grey(0), grey(level + 10 * number)])]
        write_image(folder / "records" / f"{clip}.jpg", contact_sheet(rows, side=SHEET_SIDE))
    found = {"columns": COLUMNS, "methods": {"method": {}, "copy": {}}, "records": records}
    (folder / "report.json").write_text(json.dumps({"self": found}))
    return folder


def shown(path: Path, rows: int) -> list[int]:
    """How bright the second picture of each row is."""
    return [round(float(row[1].mean()), -1) for row in tiles_of(read_image(path), rows, SHEET_SIDE)]  # type: ignore[misc]


def test_the_best_and_the_worst_stand_beside_what_they_were(tmp_path: Path) -> None:
    errors = {"a": 0.03, "b": 0.01, "c": 0.02, "d": 0.05}
    after = make_report(tmp_path / "after", errors, 100)
    before = make_report(tmp_path / "before", dict.fromkeys("abc", 0.1), 10)
    paths = write_sheets(after, None, tmp_path / "made", SheetsConfig(clips=2))
    assert shown(paths["best"], 4) == [250, 110, 250, 120]  # b, c
    assert shown(paths["worst"], 4) == [250, 130, 250, 100]  # d, a
    # d was not measured before.
    paths = write_sheets(after, before, tmp_path / "made", SheetsConfig(clips=1, by="ssim"))
    assert shown(paths["best"], 3) == [250, 20, 110] and shown(paths["worst"], 3) == [250, 10, 100]


def test_sheets_are_as_small_as_is_asked(tmp_path: Path) -> None:
    report = make_report(tmp_path / "report", {"a": 0.03}, 100)
    noise = np.random.default_rng(0).integers(0, 256, (SHEET_SIDE, SHEET_SIDE, 3), dtype=np.uint8)
    rows = [Row("driver", [noise] * 8), Row("result", [noise] * 8)]
    write_image(report / "records" / "a.jpg", contact_sheet(rows, side=SHEET_SIDE))
    paths = write_sheets(report, None, tmp_path, SheetsConfig(kilobytes=100))
    assert 50_000 < paths["best"].stat().st_size <= 100_000
    with pytest.raises(XNeMoError, match="does not fit into kilobytes=20"):
        write_sheets(report, None, tmp_path, SheetsConfig(kilobytes=20))


def test_what_is_no_report_is_told(tmp_path: Path) -> None:
    with pytest.raises(XNeMoError, match="holds no report of the experiment self"):
        write_sheets(tmp_path, None, tmp_path, SheetsConfig())
    report = make_report(tmp_path / "report", {"a": 0.03}, 100)
    with pytest.raises(XNeMoError, match="by=speed: .* it has l1, ssim"):
        write_sheets(report, None, tmp_path, SheetsConfig(by="speed"))
