"""Compiled networks learn what they learn uncompiled, under the same names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from animator.training import validation
from animator.training.recipe import train
from tests.animator.training.runs import settings, stage_of


@pytest.mark.slow
def test_a_compiled_run_has_the_weights_of_one_that_is_not(
    crops_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PAIRS": 2, "SHOWN": 1, "DDIM_STEPS": 1}.items():
        monkeypatch.setattr(validation, name, value)
    real, modes = torch.compile, []

    def traced(*words: Any, mode: str, **options: Any) -> Any:
        """The graphs are made as ever, but not brought into machine code, which takes minutes."""
        modes.append(mode)
        return real(*words, backend="eager", **options)

    monkeypatch.setattr(torch, "compile", traced)
    weights: dict[str, dict[str, Tensor]] = {}
    for mode in ("no", "reduce-overhead"):
        config = settings("image", crops_folder, tmp_path / mode, 2, f"compile={mode}")
        weights[mode] = train(config, stage_of(config, shaken=True)).modules["unet"].state_dict()
    torch._dynamo.reset()
    assert modes == ["reduce-overhead"] * 3
    assert weights["no"].keys() == weights["reduce-overhead"].keys()
    assert all(torch.equal(value, weights["reduce-overhead"][name]) for name, value in weights["no"].items())
