"""Which differences decide, and what becomes of candidates."""

from __future__ import annotations

import math

import numpy as np
import pytest

from animator.evaluation.gate import (
    BETTER,
    DECISIVE,
    SAME,
    UNKNOWN,
    WORSE,
    Comparison,
    as_markdown,
    compare_figure,
    compare_videos,
    reasons_against,
)


def records(change: dict[str, float], clips: int = 12) -> list[dict]:
    """Videos of very different difficulty, whose figures are changed by so much."""
    random = np.random.default_rng(0)
    base = random.uniform(0.1, 0.9, clips)
    noise = random.normal(0, 0.002, (clips, len(DECISIVE["self"])))
    return [
        {
            "clip": f"clip{n}",
            "portrait": None,
            "metrics": {
                key: base[n] + change.get(key, 0) + (noise[n, k] - noise[:, k].mean() if change else 0)
                for k, key in enumerate(DECISIVE["self"])
            },
        }
        for n in range(clips)
    ]


def verdicts(change: dict[str, float]) -> dict[str, str]:
    found = compare_videos("self", records({}), records({"ssim": 0.0} | change), 500, 0)
    return dict(zip(DECISIVE["self"], (comparison.verdict for comparison in found), strict=True))


def test_small_steady_differences_show_although_clips_differ_far_more() -> None:
    found = verdicts({"l1": -0.01, "ssim": 0.01, "lpips": 0.01, "follow_yaw": -0.01})
    assert [found[key] for key in ("l1", "ssim", "lpips", "follow_yaw")] == [BETTER, BETTER, WORSE, WORSE]
    assert found["follow_pitch"] == SAME


def test_clips_are_compared_with_themselves() -> None:
    before, after = records({}), records({"l1": -0.01})
    expected = compare_videos("self", before, after, 200, 0)
    assert compare_videos("self", before, after[::-1], 200, 0) == expected
    fewer = compare_videos("self", before, after[:5], 200, 0)
    assert fewer[0].clips == 5
    assert fewer[0].shipped == pytest.approx(np.mean([record["metrics"]["l1"] for record in before[:5]]))


def test_what_a_clip_has_nothing_to_say_of_does_not_count() -> None:
    before, after = records({}), records({"l1": -0.01})
    for record in after[:4]:
        record["metrics"]["follow_blink"] = None
    for record in after:
        record["metrics"]["follow_yaw"] = None
    found = dict(zip(DECISIVE["self"], compare_videos("self", before, after, 200, 0), strict=True))
    assert found["follow_blink"].clips == 8
    assert found["follow_yaw"].verdict == UNKNOWN and math.isnan(found["follow_yaw"].candidate)


@pytest.mark.parametrize(
    ("better", "candidate", "verdict"),
    [
        ("low", 9.9, SAME),
        ("low", 9.0, BETTER),
        ("low", 11.0, WORSE),
        ("high", 11.0, BETTER),
        ("high", 9.0, WORSE),
        ("high", math.nan, UNKNOWN),
    ],
)
def test_single_figures_change_beyond_a_tolerance(better: str, candidate: float, verdict: str) -> None:
    assert compare_figure("tokenizer", "x", better, 10.0, candidate, 0.02).verdict == verdict


def test_candidates_pass_if_nothing_is_worse_and_something_better() -> None:
    def of(*values: float) -> list[Comparison]:
        return [compare_figure("tokenizer", f"figure {n}", "high", 1.0, value, 0.02) for n, value in enumerate(values)]

    assert reasons_against(of(1.1, 1.0)) == []
    assert reasons_against(of(1.0, 1.0)) == ["better in nothing"]
    assert reasons_against(of(1.5, 0.9)) == ["worse in tokenizer figure 1"]
    assert reasons_against(of(1.5, math.nan)) == ["no longer measured: tokenizer figure 1"]
    table = as_markdown(of(1.1, math.nan))
    assert "| tokenizer | figure 0 ↑ | 1.000 | 1.100 |  |  | better |" in table and "| – |" in table
