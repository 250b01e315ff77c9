"""Words become conditions, and scripts change on the grid of tokens without changing their length."""

from __future__ import annotations

import pytest
import torch

from animator.errors import XNeMoError
from animator.motion_clip import MotionClip
from motion_gpt.emotion import Scene, every_feeling, feeling, parse_script, plan_passages
from motion_gpt.outpainting import stream_motion
from motion_gpt.settings import Sampling
from motion_gpt.vocabulary import EMOTIONS, Condition
from tests.motion_gpt.talking import speakers
from tests.motion_tokenizer import tiny


def test_a_script_is_read_as_written() -> None:
    assert parse_script("neutral:2s happy@3:1.5s, sad:2", intensity=2) == [
        Scene(Condition("neutral", 1), 2.0),
        Scene(Condition("happy", 3), 1.5),
        Scene(Condition("sad", 2), 2.0),
    ]
    assert parse_script("neutral:1s") == [Scene(Condition("neutral", None), 1.0)]
    assert feeling("happy", 3, "sad:0.3") == Condition("happy", 3, "sad", 0.3)
    assert [condition.emotion for condition in every_feeling(3)] == list(EMOTIONS)
    assert {condition.intensity for condition in every_feeling(3)} == {1, 3}, "neutral has one level"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the script is empty"),
        ("happy", "happy is not understood; a script is EMOTION:SECONDS"),
        ("happy:", "not understood"),
        ("happy:two", "not understood"),
        ("happy@:2s", "not understood"),
        ("happy@x:2s", "not understood"),
        ("happy:-1s", "must last for more than 0 seconds"),
        ("happy:inf", "must last for more than 0 seconds"),
        ("joyful:2s", "the emotions are angry, contempt, disgusted, fear, happy, neutral, sad, surprised"),
        ("neutral@3:2s", "neutral has intensity 1 only"),
        ("happy@7:2s", "intensity=7"),
    ],
)
def test_what_is_no_script_is_told(text: str, says: str) -> None:
    with pytest.raises(XNeMoError, match=says):
        parse_script(text)


@pytest.mark.parametrize(("blend", "says"), [("sad", "such as sad:0.3"), ("glad:0.5", "unknown"), ("sad:2", "0 to 1")])
def test_what_is_no_blend_is_told(blend: str, says: str) -> None:
    with pytest.raises(XNeMoError, match=says):
        feeling("happy", 2, blend)


@pytest.mark.parametrize("fps", [25.0, 30.0])
def test_scenes_change_at_the_nearest_token_and_last_as_long_as_asked(fps: float) -> None:
    tokenizer, _ = speakers()
    scenes = parse_script("neutral:2s happy:3s surprised:2.3s")
    passages, frames = plan_passages(scenes, tokenizer, fps)
    assert frames == round(7.3 * fps)
    assert [length for _, length in passages] == [13, 18, 15]  # ends at 12.5, 31.25 and 45.6 tokens of 0.16 s
    assert [condition.emotion for condition, _ in passages] == ["neutral", "happy", "surprised"]
    with pytest.raises(XNeMoError, match="sad for 0.05 s: shorter than a token"):
        plan_passages(parse_script("happy:2s sad:0.05s happy:2s"), tokenizer, fps)


def test_a_script_goes_its_way_up_to_each_change_whatever_follows() -> None:
    tokenizer, generator = speakers()

    def act(text: str) -> MotionClip:
        passages, frames = plan_passages(parse_script(text, 2), tokenizer, 25.0)
        pieces = list(stream_motion(generator, tokenizer, tiny.motion(40), frames, Sampling(seed=1), passages))
        return MotionClip.concatenate(pieces, rebase=False)

    first, second, steady = act("happy:0.8s sad:0.8s"), act("happy:0.8s angry:0.8s"), act("happy:1.6s")
    assert len(first) == len(second) == len(steady) == 40
    torch.testing.assert_close(first.latents[:20], second.latents[:20])
    torch.testing.assert_close(first.latents[:20], steady.latents[:20])
    assert not torch.allclose(first.latents[20:], second.latents[20:])
