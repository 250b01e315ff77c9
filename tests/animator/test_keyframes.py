"""Keys are read as they are written, and the way through them is smooth, even and closed where it is a loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from animator.errors import XNeMoError
from animator.keyframes import EASINGS, KeySource, frame_of, parse_key, parse_time, through
from animator.motion_clip import MotionClip


def key(value: float, encoder_id: str = "e") -> MotionClip:
    """A frame whose latent and place are one number."""
    return MotionClip(torch.full((1, 512), float(value)), torch.tensor([[value, 0.0, 1 + value]]), 25.0, encoder_id)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("face.png", KeySource("face.png")),
        ("a/clip.mp4@3.2", KeySource("a/clip.mp4", seconds=3.2)),
        ("clip.mp4@0:03.2", KeySource("clip.mp4", seconds=3.2)),
        ("me@home.mp4@1:02:03", KeySource("me@home.mp4", seconds=3723.0)),
        ("clip.mp4@2s", KeySource("clip.mp4", seconds=2.0)),
        ("x.motion.safetensors@7", KeySource("x.motion.safetensors", frame=7)),
        ("x.motion.safetensors@-1", KeySource("x.motion.safetensors", frame=-1)),
    ],
)
def test_keys_are_read_as_written(text: str, source: KeySource) -> None:
    assert parse_key(text) == source


def test_a_file_with_an_at_in_its_name_is_itself(tmp_path: Path) -> None:
    path = tmp_path / "me@home.png"
    path.touch()
    assert parse_key(str(path)) == KeySource(str(path))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clip.mp4@noon", "noon is no time"),
        ("clip.mp4@", "nothing is no time"),
        ("clip.mp4@-1", "-1 is no time"),
        ("x.motion.safetensors@1.5", "1.5 is no frame"),
        ("x.motion.safetensors", "which frame"),
    ],
)
def test_what_is_no_key_is_told(text: str, says: str) -> None:
    with pytest.raises(XNeMoError, match=says):
        parse_key(text)


def test_times_and_frames() -> None:
    assert parse_time("90", "t") == parse_time("1:30", "t") == 90
    clip = MotionClip.concatenate([key(0), key(1), key(2)], rebase=False)
    assert float(frame_of(clip, KeySource("c", frame=-1)).latents[0, 0]) == 2
    with pytest.raises(XNeMoError, match="c: has frames 0 to 2, but 3 was asked for"):
        frame_of(clip, KeySource("c", frame=3))
    with pytest.raises(XNeMoError, match="but -4 was asked for"):
        frame_of(clip, KeySource("c", frame=-4))


def test_a_linear_way_is_even_and_hits_its_keys() -> None:
    clip = through([key(0), key(1), key(3)], 0.4, 25, "linear", "linear")
    assert (len(clip), clip.t0, clip.fps) == (21, 1, 25)
    expected = torch.cat([torch.linspace(0, 1, 11), torch.linspace(1, 3, 11)[1:]])
    torch.testing.assert_close(clip.latents[:, 0], expected)
    torch.testing.assert_close(clip.boxes[:, 2], 1 + expected)


def test_a_loop_ends_one_step_before_its_beginning_and_keys_are_held() -> None:
    clip = through([key(0), key(1)], 0.4, 25, "linear", "linear", hold=0.2, loop=True)
    assert len(clip) == 2 * (5 + 10)
    assert clip.latents[:6, 0].tolist() == [0] * 6 and clip.latents[15:21, 0].tolist() == [1] * 6
    assert float(clip.latents[-1, 0]) == pytest.approx(0.1)


@pytest.mark.parametrize("name", EASINGS)
def test_easings_rise_from_0_to_1(name: str) -> None:
    way = EASINGS[name](torch.linspace(0, 1, 101)[:, None])[:, 0]
    assert way[0] == 0 and way[-1] == 1 and bool((way.diff() > 0).all())
    assert (float(way.diff()[0]) < 0.002) == (name in ("smooth", "in")), "at rest in the beginning"
    assert (float(way.diff()[-1]) < 0.002) == (name in ("smooth", "out")), "at rest in the end"


def test_slerp_keeps_the_length_on_its_way() -> None:
    generator = torch.Generator().manual_seed(0)
    ends = []
    for _ in range(2):
        latent = torch.randn(1, 512, generator=generator)
        ends.append(MotionClip(latent / latent.norm(), torch.tensor([[0.0, 0.0, 1.0]]), 25.0, "e"))
    torch.testing.assert_close(through(ends, 1, 25).latents.norm(dim=1), torch.ones(26))
    assert float(through(ends, 1, 25, "linear").latents.norm(dim=1).min()) < 0.8


def test_one_key_and_keys_of_two_encoders_are_refused() -> None:
    with pytest.raises(XNeMoError, match="two key frames"):
        through([key(0)], 1, 25)
    with pytest.raises(XNeMoError, match="motion encoder e .* by f"):
        through([key(0), key(1, "f")], 1, 25)
