"""The Python blocks of docs/motion-tokens.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.motion_tokenizer import tiny

PAGE = (REPOSITORY / "docs" / "motion-tokens.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights = tiny.tokenizer().save_pretrained(tmp_path / "weights")
    monkeypatch.setattr("motion_tokenizer.tokenizer.DEFAULT_TOKENIZER", weights)
    motion = tiny.motion(30)
    motion.save("talk.motion.safetensors")
    names: dict[str, object] = {
        "camera": [(motion.latents[part], motion.boxes[part]) for part in (slice(7), slice(7, 30))]
    }
    assert BLOCKS
    for block in BLOCKS:
        exec(compile(block, "motion-tokens.md", "exec"), names)
    assert Path("talk.tokens.json").is_file()
