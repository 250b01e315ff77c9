"""The page for people: what is best, what the paper has, what was not measured, and other parts' own tables."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from animator.evaluation.baselines import COPY_DRIVER
from animator.evaluation.following import STILL
from animator.evaluation.html_pieces import from_markdown
from animator.evaluation.html_report import html_report
from animator.evaluation.report import markdown
from animator.evaluation.summary import METRICS, PAPER_ABLATION

ABOUT = {
    "commit": None,
    "weights": "one, two",
    "encoder_id": "abc",
    "seed": 0,
    "networks": {
        "face": {"name": "a net", "stands_for": "ArcFace", "path": "a.net", "known": False, "sha256": "1" * 64}
    },
    "finished": "today",
    "seconds": 2.0,
}


def method(aed: float, flicker: float) -> dict[str, Any]:
    figures = {
        key: {"value": value, "low": value / 2, "high": value * 2}
        for key, value in (("aed", aed), ("flicker", flicker))
    }
    still = {signal: {"correlation": 0.5, "extent": 0.25, "clips": 3} for signal in STILL}
    return {"clips": 3, "figures": figures, "following": still}


@pytest.fixture
def report() -> dict[str, Any]:
    part = {
        "columns": [asdict(metric) for metric in METRICS if metric.key in ("aed", "flicker")],
        "paper": {"aed": 0.039},
        "paper_rows": {"the paper, without a < b": PAPER_ABLATION["without augmentation"]},
        "methods": {"one": method(0.08, 0.7), "two": method(0.06, 1.5), COPY_DRIVER: method(0.0, 1.0)},
        "records": [],
        "skipped": {"one, cross, <clip>": "it is not square"},
    }
    return {"provenance": ABOUT, "ablation": part, "generation": {"not_measured": "no weights"}}


def rows(page: str) -> list[str]:
    return re.findall(r"<tr>.*?</tr>", page)


def test_the_best_is_bold_and_baselines_do_not_compete(report: dict[str, Any], tmp_path: Path) -> None:
    found = rows(html_report(report, tmp_path, "records"))
    assert any("<b>two</b>" in row and "<b>0.0600</b>" in row for row in found)
    assert any("<b>one</b>" in row and "<b>0.70</b>" in row for row in found)  # nearer to 1
    assert not any(COPY_DRIVER in row and "<b>" in row for row in found)
    assert any("0.0300 to 0.1200" in row for row in found)
    assert any("0.50 <small>(0.25)</small>" in row for row in found)


def test_one_row_alone_is_not_the_best(report: dict[str, Any], tmp_path: Path) -> None:
    del report["ablation"]["methods"]["two"]
    assert "<b>0.0800</b>" not in html_report(report, tmp_path, "records")


def test_the_papers_rows_stand_below_and_words_are_escaped(report: dict[str, Any], tmp_path: Path) -> None:
    page = html_report(report, tmp_path, "records")
    assert any("X-NeMo, the paper" in row and "0.0390" in row for row in rows(page))
    assert any("without a &lt; b" in row and "0.0420" in row for row in rows(page))
    assert "a < b" not in page and "&lt;clip&gt;" in page
    assert "| the paper, without a < b (other data) | 0.0420 |" in markdown(report, tmp_path)


def test_what_was_not_measured_says_why_and_a_strange_network_is_told(report: dict[str, Any], tmp_path: Path) -> None:
    page = html_report(report, tmp_path, "records")
    assert "Not measured:</b> no weights" in page and "it is not square" in page
    assert "a.net (not the listed file)" in page and "1" * 64 in page
    for name in report.keys() - {"provenance"}:
        assert f"href=#{name}>" in page and f'id="{name}"' in page


def test_parts_with_a_report_of_their_own_bring_its_tables(report: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "report.md").write_text(
        "# Title\n\nSome words.\n\n## Use\n\n| | a |\n|---|---|\n| b | 3 |\n"
    )
    report["tokenizer"] = {"own_report": "tokenizer/", "deep": {"numbers": 1}}
    page = html_report(report, tmp_path, "records")
    assert "<h3>Use</h3>" in page and "<td>b</td><td>3</td>" in page and "deep" not in page
    assert 'href="tokenizer/report.md"' in page and "Title" not in page
    text = markdown(report, tmp_path)
    assert "\n### Use\n" in text and "| b | 3 |" in text and "# Title" not in text


def test_markdown_becomes_html() -> None:
    text = "one\ntwo\n\n- a & b\n- c\n\n| x | y |\n|---|---|\n| 1 | |\n"
    assert from_markdown(text) == [
        "<p>one two</p>",
        "<ul><li>a &amp; b</li><li>c</li></ul>",
        '<div class="scroll"><table><tr><th>x</th><th>y</th></tr><tr><td>1</td><td></td></tr></table></div>',
    ]
