"""`xnemo evaluate gate` on tiny weights and real clips."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.gate import compare_reports
from tests.apps.conftest import Outcome
from tests.apps.test_evaluate import data as data


@pytest.mark.slow
def test_weights_are_no_better_than_themselves(
    xnemo: Callable[..., Outcome], data: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_weights, tmp_path / "candidates" / "animator")
    card = tmp_path / "card.md"
    card.write_text("# Card\n")
    models = tmp_path / "models"  # all but the head, whose pictures would take most of the time
    models.mkdir()
    for path in (data / "models").iterdir():
        if not path.name.startswith("ict"):
            (models / path.name).symlink_to(path)
    words = ["evaluate", "gate", tmp_path / "candidates", data, f"models={models}", "workers=1", "resamples=100"]
    outcome = xnemo(*words, "--card", card, "--json")
    result = json.loads(outcome.out)
    assert outcome.code == 1 and "refused: better in nothing" in outcome.err
    assert {found["verdict"] for found in result["comparisons"]} == {"same", "not measured"}
    assert result["passed"] is False and result["table"] in Path("outputs/evaluation/gate.md").read_text()
    assert card.read_text() == "# Card\n"

    shipped, worse = (
        json.loads(Path("outputs/evaluation", name, "report.json").read_text()) for name in ("shipped", "candidate")
    )
    for record in worse["self"]["records"]:
        record["metrics"]["ssim"] -= 0.1
    changed = {(c.part, c.label): c.verdict for c in compare_reports(shipped, worse, 100, 0, 0.02)}
    assert changed.pop(("self", "SSIM")) == "worse"
    assert set(changed.values()) == {"same", "not measured"}


def test_a_folder_without_weights_and_a_missing_card_are_told_first(
    xnemo: Callable[..., Outcome], tmp_path: Path
) -> None:
    outcome = xnemo("evaluate", "gate", tmp_path, tmp_path)
    assert outcome.code == 1 and "holds no weights" in outcome.err and "motion_tokenizer" in outcome.err
    (tmp_path / "motion_gpt").mkdir()
    outcome = xnemo("evaluate", "gate", tmp_path, tmp_path, "--card", "card.md")
    assert outcome.code == 1 and "card.md: no such model card" in outcome.err
