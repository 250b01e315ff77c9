"""Settings come in through one door: typed, documented, and wrong ones refused in one line that helps."""

from __future__ import annotations

import dataclasses

import pytest

from animator import config
from animator.builders import animator_config
from animator.config_loader import describe, load_config
from animator.errors import XNeMoError

ROOTS = ["animate", "extract", "demo", "doctor"]


def test_defaults_are_plain_dataclasses() -> None:
    settings = load_config("animate")
    assert isinstance(settings, config.AnimateConfig)
    assert isinstance(settings.face, config.FaceConfig)
    assert settings.seed == 0


@pytest.mark.parametrize("root", ROOTS)
def test_every_key_is_documented_and_its_default_is_allowed(root: str) -> None:
    keys = describe(root)
    assert keys
    for info in keys:
        assert len(info.help) > 4, f"{root}: {info.name} has no help text"
        if info.choices and info.default is not None:
            assert info.default in info.choices
    assert load_config(root) is not None


def test_guidance_says_what_it_is_in_the_papers_terms() -> None:
    text = {info.name: info.help for info in describe("animate")}["guidance_scale"]
    assert "w = guidance_scale - 1" in text


def test_overrides_are_typed() -> None:
    settings = load_config("animate", ["steps=3", "guidance_scale=1.5", "seconds=null", "face.max_gap=2"])
    assert (settings.steps, settings.guidance_scale, settings.seconds, settings.face.max_gap) == (3, 1.5, None, 2)


@pytest.mark.parametrize("path", ["/a b/c=d", "x'y\"(z)", "${oc.env:HOME}", "C:\\weights\\new", "a,b", "[1]", "null.d"])
def test_text_is_taken_as_it_stands(path: str) -> None:
    assert load_config("animate", [f"weights={path}"]).weights == path


def test_lists_of_texts_are_lists() -> None:
    blocks = animator_config("tiny", "animator.vae.block_out_channels=[8,8]").vae
    assert blocks.block_out_channels == [8, 8]
    kinds = load_config("architecture", ["animator.unet.down_block_types=[A, B]"]).animator.unet.down_block_types
    assert kinds == ["A", "B"]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("stepz=3", "did you mean steps"),
        ("max_gap=3", "did you mean face.max_gap"),
        ("steps=many", "steps=many: must be a whole number"),
        ("steps=0", "must be at least 1"),
        ("crf=99", "must be at most 51"),
        ("guidance_scale=nan", "finite"),
        ("device=abacus", "not one of auto, cpu, cuda, mps"),
        ("face=none", "face may be default"),
        ("+new=1", "unknown key"),
        ("~seed=1", "unknown key"),
        ("seed=null", "whole number"),
        ("seed=${steps}", "not allowed"),
        ("steps=1,2", "whole number"),
        ("steps", "key=value"),
        ("hydra.run.dir=/tmp", "unknown key"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(word: str, says: str) -> None:
    with pytest.raises(XNeMoError) as caught:
        load_config("animate", [word])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_demo_has_every_key_of_animate() -> None:
    def names(cls: type) -> set[str]:
        return {field.name for field in dataclasses.fields(cls)}

    assert names(config.AnimateConfig) < names(config.DemoConfig)
