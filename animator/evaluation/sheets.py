"""Contact sheets of the best and the worst clips of a report: what figures stand for, as pictures for a page.

A report's records keep the sampled frames of every clip (`animator.evaluation.measuring`); nothing is drawn again. With
a second report, of other weights on the same clips, its results stand above those of the first: before and after.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from animator.errors import XNeMoError
from animator.evaluation.config import SheetsConfig
from animator.evaluation.measuring import SHEET_SIDE
from animator.files import atomic_path
from animator.image import read_image
from animator.visuals import Picture, Row, contact_sheet, tiles_of

RECORDS = "records"
SHOWN = ("l1", "ssim", "lpips", "identity", "aed", "apd")
_QUALITIES = range(90, 20, -5)

Records = dict[tuple[str, str | None], Mapping[str, Any]]
Placed = tuple[Path, Mapping[str, Any]]  # a record and the folder of its report


def write_sheets(report: Path, before: Path | None, output: Path, config: SheetsConfig) -> dict[str, Path]:
    """Write `EXPERIMENT_best.jpg` and `EXPERIMENT_worst.jpg`.

    Args:
        report: folder of a report of `xnemo evaluate self`, `cross` or `all`.
        before: likewise, of the weights to compare with; None for none. Clips that it lacks are not shown.
        output: folder for the pictures.
        config: how many clips, and by which figure.
    Returns:
        Paths by "best" and "worst"; of few clips the same may be in both.
    Raises:
        XNeMoError: a folder holds no such report, the figure is not in it, or a picture cannot be made small enough.
    """
    found = _experiment(report, config.experiment)
    columns = {column["key"]: column for column in found["columns"]}
    after = _own_records(found)
    earlier = None if before is None else _own_records(_experiment(before, config.experiment))
    known = [
        case
        for case, record in after.items()
        if record["metrics"].get(config.by) is not None and (earlier is None or case in earlier)
    ]
    if config.by not in columns or not known:
        raise XNeMoError(f"by={config.by}: {report} has no such figure of a clip; it has {', '.join(columns)}")
    sign = 1 if columns[config.by]["better"] == "low" else -1
    best_first = sorted(known, key=lambda case: (sign * after[case]["metrics"][config.by], str(case)))
    paths = {}
    for name, cases in (("best", best_first[: config.clips]), ("worst", best_first[::-1][: config.clips])):
        rows: list[Row] = []
        for case in cases:
            rows += _rows(
                columns, (report, after[case]), None if before is None or earlier is None else (before, earlier[case])
            )
        path = paths[name] = output / f"{config.experiment}_{name}.jpg"
        _write_small(path, contact_sheet(rows, side=SHEET_SIDE), config.kilobytes)
    return paths


def _experiment(report: Path, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((report / "report.json").read_text(encoding="utf-8"))[name]
        _ = found["columns"], found["methods"], found["records"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise XNeMoError(
            f"{report}: holds no report of the experiment {name}; `xnemo evaluate {name} -o {report}` makes one"
        ) from error
    return found


def _own_records(found: Mapping[str, Any]) -> Records:
    """Records of the weights themselves, which come before the baselines."""
    own = next(iter(found["methods"]), None)
    return {(one["clip"], one["portrait"]): one for one in found["records"] if one["method"] == own}


def _rows(columns: Mapping[str, Any], after: Placed, before: Placed | None) -> Sequence[Row]:
    """Driver and result of one clip, and between them what was drawn before."""
    driver, result = _tiles(after)
    record = after[1]
    case = record["clip"] if record["portrait"] is None else f"{record['clip']} on {record['portrait']}"
    rows = [Row(f"{case}, driver", driver)]
    if before is not None:
        rows.append(Row(f"before: {_figures(columns, before)}", _tiles(before)[1]))
    return [*rows, Row(f"{'result' if before is None else 'after'}: {_figures(columns, after)}", result)]


def _tiles(placed: Placed) -> list[list[Picture]]:
    report, record = placed
    return tiles_of(read_image(report / RECORDS / f"{record['stem']}.jpg"), 2, SHEET_SIDE)


def _figures(columns: Mapping[str, Any], placed: Placed) -> str:
    metrics = placed[1]["metrics"]
    shown = [columns[key] for key in SHOWN if key in columns and metrics.get(key) is not None]
    return ", ".join(f"{column['label']} {metrics[column['key']]:.{column['digits']}f}" for column in shown)


def _write_small(path: Path, picture: Picture, kilobytes: int) -> None:
    """Write a JPEG of at most so many thousand bytes, as good as that allows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for quality in _QUALITIES:
        encoded = io.BytesIO()
        Image.fromarray(picture).save(encoded, "JPEG", quality=quality, optimize=True)
        if encoded.tell() <= kilobytes * 1000:
            with atomic_path(path) as temporary:
                temporary.write_bytes(encoded.getvalue())
            return
    raise XNeMoError(f"{path}: does not fit into kilobytes={kilobytes}; allow more, or show fewer clips")
