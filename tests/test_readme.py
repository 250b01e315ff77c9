"""What the README shows works: its Python blocks run as they stand, its commands and links exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from animator.assets import asset_path
from animator.builders import DEFAULT_WEIGHTS, animator_config, build_pipeline
from apps.cli import VERBS, main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.slow
def test_python_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portrait: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("driving.mp4").symlink_to(asset_path("single-face-video"))
    Path("portrait.png").symlink_to(portrait)
    if not (DEFAULT_WEIGHTS / "model_index.json").is_file():
        build_pipeline(animator_config("tiny")).save_pretrained("weights")
        monkeypatch.setattr("animator.builders.DEFAULT_WEIGHTS", tmp_path / "weights")
    assert main(["extract", "driving.mp4", "-o", "."]) == 0
    assert BLOCKS
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), {})
    assert Path("result.mp4").is_file()
    assert Path("edited.motion.safetensors").is_file()


def test_every_command_is_in_the_readme() -> None:
    for name in VERBS:
        assert f"`xnemo {name}" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target
