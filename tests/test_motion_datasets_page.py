"""The Python blocks of docs/motion-datasets.md run as they stand, on a dataset of a few clips."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from animator.dataset import MotionRecord, write_dataset
from animator.motion_clip import MotionClip

PAGE = Path(__file__).resolve().parents[1] / "docs" / "motion-datasets.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split()[1])
def test_python_blocks_run(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    generator = torch.Generator().manual_seed(0)
    records = [
        MotionRecord(
            name,
            name,
            "happy",
            3,
            split,
            None,
            MotionClip(
                torch.randn(5, 512, generator=generator), 1 + torch.rand(5, 3, generator=generator), 25.0, "encoder"
            ),
        )
        for name, split in (("a", "train"), ("b", "train"), ("c", "validation"))
    ]
    write_dataset("motion_dataset", records)
    exec(compile(block, PAGE.name, "exec"), {})
