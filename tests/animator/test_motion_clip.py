"""MotionClip: values survive files, cuts and joins; what does not belong together is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from animator.errors import XNeMoError
from animator.motion_clip import SCHEMA, SUFFIX, MotionClip


def _clip(frames: int = 10, rng: int = 0, **fields: object) -> MotionClip:
    generator = torch.Generator().manual_seed(rng)
    boxes = torch.randn(frames, 3, generator=generator) * 0.1 + torch.tensor([0.0, 0.0, 1.0])
    values: dict[str, object] = {"fps": 25.0, "encoder_id": "encoder-a", "source": "a.mp4", "source_sha256": "ab" * 32}
    latents = torch.randn(frames, 512, generator=generator)
    return MotionClip(latents, boxes, **(values | fields))  # type: ignore[arg-type]


def _same(a: MotionClip, b: MotionClip) -> bool:
    tensors = torch.equal(a.latents, b.latents) and torch.equal(a.boxes, b.boxes)
    names = ("fps", "encoder_id", "source", "source_sha256", "crop", "t0", "seed")
    return tensors and all(getattr(a, name) == getattr(b, name) for name in names)


# Files


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"crop": (12, -3, 180, 180), "t0": 0, "seed": 2**40, "fps": 30000 / 1001},
        {"source": "Ünïcode – name.mp4", "source_sha256": ""},
    ],
)
def test_saved_clip_comes_back_unchanged(tmp_path: Path, fields: dict[str, object]) -> None:
    clip = _clip(**fields)
    path = clip.save(tmp_path / "new" / f"clip{SUFFIX}")
    assert _same(MotionClip.load(path), clip)
    assert _same(MotionClip.load(path, encoder_id="encoder-a"), clip)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_slice_can_be_saved_without_the_rest(tmp_path: Path) -> None:
    clip = _clip(1000)
    path = clip[10:12].save(tmp_path / "part.motion.safetensors")
    assert path.stat().st_size < 10_000
    assert _same(MotionClip.load(path), clip[10:12])


def test_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("not a folder")
    with pytest.raises(XNeMoError, match="cannot be written"):
        _clip().save(folder / "clip.motion.safetensors")
    assert folder.read_text() == "not a folder"


def _write(path: Path, change: Callable[[dict, dict], None]) -> Path:
    clip = _clip()
    tensors = {"latents": clip.latents.clone(), "boxes": clip.boxes.clone()}
    metadata = {"schema": str(SCHEMA), "fps": "25.0", "encoder_id": "encoder-a"}
    change(tensors, metadata)
    save_file(tensors, path, metadata)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: t["latents"].__setitem__((3, 5), torch.nan), r"latents hold NaN .* \(first: frame 3\)"),
        (lambda t, m: t["boxes"].__setitem__((7, 0), torch.inf), r"boxes hold NaN or infinity .*frame 7"),
        (lambda t, m: t["boxes"].__setitem__((7, 2), 0), "must be above 0"),
        (lambda t, m: t.update(latents=torch.zeros(10, 511)), r"must be \(frames, 512\)"),
        (lambda t, m: t.update(latents=torch.zeros(10, 512, 1)), r"must be \(frames, 512\)"),
        (lambda t, m: t.update(latents=torch.zeros(10, 512, dtype=torch.int32)), "float32"),
        (lambda t, m: t.update(latents=torch.zeros(9, 512)), "9 frames of latents but 10 of boxes"),
        (lambda t, m: t.update(latents=torch.zeros(0, 512), boxes=torch.zeros(0, 3)), "at least one frame"),
        (lambda t, m: t.pop("boxes"), "no tensor 'boxes'"),
        (lambda t, m: m.pop("fps"), "no 'fps'"),
        (lambda t, m: m.pop("encoder_id"), "no 'encoder_id'"),
        (lambda t, m: m.pop("schema"), "not a motion file"),
        (lambda t, m: m.update(schema="one"), "schema 'one'"),
        (lambda t, m: m.update(schema=str(SCHEMA + 1)), f"schema {SCHEMA + 1} is newer than {SCHEMA}"),
        (lambda t, m: m.update(fps="0"), "fps must be above 0"),
        (lambda t, m: m.update(fps="nan"), "fps must be above 0"),
        (lambda t, m: m.update(fps="fast"), "damaged"),
        (lambda t, m: m.update(crop="[1, 2]"), "damaged"),
        (lambda t, m: m.update(crop="{}"), "damaged"),
        (lambda t, m: m.update(crop="{"), "damaged"),
        (lambda t, m: m.update(t0="10"), "t0 must be a frame"),
        (lambda t, m: m.update(seed="x"), "damaged"),
    ],
)
def test_bad_values_are_one_line_that_names_the_file(tmp_path: Path, change: Callable, message: str) -> None:
    path = _write(tmp_path / "bad.motion.safetensors", change)
    with pytest.raises(XNeMoError, match=message) as info:
        MotionClip.load(path)
    assert str(info.value).startswith(f"{path}: ")
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("content", [None, b"", b"hello, this is text", b"\xff" * 64, "truncated", "folder"])
def test_files_that_are_no_motion_files_are_named(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "clip.motion.safetensors"
    if content == "folder":
        path.mkdir()
    elif content == "truncated":
        whole = _clip().save(tmp_path / "whole").read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(XNeMoError, match=r"clip\.motion\.safetensors: (not a|no such) motion file"):
        MotionClip.load(path)


def test_motion_of_another_encoder_is_refused_by_both_names(tmp_path: Path) -> None:
    path = _clip(encoder_id="encoder-b").save(tmp_path / "clip.motion.safetensors")
    with pytest.raises(XNeMoError, match=r"encoder encoder-b, but the model in use has encoder-a"):
        MotionClip.load(path, encoder_id="encoder-a")


def test_metadata_can_be_read_by_anybody(tmp_path: Path) -> None:
    path = _clip(crop=(1, 2, 30, 30), t0=4, seed=7).save(tmp_path / "clip.motion.safetensors")
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    metadata = header["__metadata__"]
    assert {name: metadata[name] for name in ("schema", "fps", "encoder_id", "crop", "t0", "seed")} == {
        "schema": "1",
        "fps": "25.0",
        "encoder_id": "encoder-a",
        "crop": "[1, 2, 30, 30]",
        "t0": "4",
        "seed": "7",
    }


# Values


def test_wrong_values_cannot_become_a_clip() -> None:
    clip = _clip()
    with pytest.raises(ValueError, match="float32 on the CPU"):
        replace(clip, latents=clip.latents.double())
    with pytest.raises(ValueError, match="float32 on the CPU"):
        replace(clip, boxes=clip.boxes.to("meta"))
    with pytest.raises(ValueError, match="encoder_id is empty"):
        replace(clip, encoder_id="")
    with pytest.raises(ValueError, match="crop must be"):
        replace(clip, crop=(0, 0, 0, 0))


def test_length_and_seconds() -> None:
    clip = _clip(50)
    assert len(clip) == 50
    assert clip.seconds == 2


def test_cuts_joined_again_are_the_clip() -> None:
    clip = _clip(crop=(0, 0, 40, 40))
    assert _same(MotionClip.concatenate([clip[:4], clip[4:5], clip[5:]], rebase=False), clip)
    assert torch.equal(clip[-3:].latents, clip.latents[7:])


def test_cut_moves_the_first_generated_frame_along() -> None:
    clip = _clip(t0=6, seed=1)
    assert [clip[a:b].t0 for a, b in ((0, 10), (2, 10), (0, 6), (0, 7), (8, 10))] == [6, 4, None, 6, 0]


@pytest.mark.parametrize("cut", [slice(0, 10, 2), slice(None, None, -1), 3])
def test_only_plain_cuts_are_allowed(cut: slice) -> None:
    with pytest.raises(TypeError, match="without a step"):
        _clip()[cut]


def test_empty_cut_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        _clip()[4:4]


# Joining


def test_joined_head_goes_on_where_and_as_large_as_it_was() -> None:
    first, second = _clip(rng=1), _clip(rng=2, source="b.mp4", source_sha256="cd" * 32)
    joined = MotionClip.concatenate([first, second])
    assert len(joined) == 20
    torch.testing.assert_close(joined.boxes[10], first.boxes[-1])
    ratio = first.boxes[-1, 2] / second.boxes[0, 2]
    # Movement in units of the head at the join, and growth, are those of the second clip.
    torch.testing.assert_close(
        joined.boxes[11:, :2] - joined.boxes[10, :2], (second.boxes[1:, :2] - second.boxes[0, :2]) * ratio
    )
    torch.testing.assert_close(joined.boxes[10:, 2] / joined.boxes[10, 2], second.boxes[:, 2] / second.boxes[0, 2])
    assert torch.equal(joined.latents[10:], second.latents)
    assert (joined.source, joined.source_sha256) == ("a.mp4 + b.mp4", "")


def test_joined_clips_tell_the_first_generated_frame() -> None:
    joined = MotionClip.concatenate([_clip(), _clip(t0=3, seed=8), _clip(t0=0, seed=9)])
    assert (joined.t0, joined.seed) == (13, 8)
    assert MotionClip.concatenate([_clip(), _clip()]).t0 is None


def test_clips_that_do_not_belong_together_are_not_joined() -> None:
    with pytest.raises(XNeMoError, match=r"a\.mp4 was made by motion encoder encoder-a and b\.mp4 by encoder-b"):
        MotionClip.concatenate([_clip(), _clip(source="b.mp4", encoder_id="encoder-b")])
    with pytest.raises(XNeMoError, match=r"a\.mp4 has 25 frames a second and b\.mp4 30; resample"):
        MotionClip.concatenate([_clip(), _clip(source="b.mp4", fps=30.0)])
    assert len(MotionClip.concatenate([_clip(fps=30000 / 1001), _clip(fps=29.97)])) == 20
    with pytest.raises(ValueError, match="at least one"):
        MotionClip.concatenate([])


# Time


def test_resampling_to_the_same_rate_changes_nothing() -> None:
    clip = _clip()
    assert _same(clip.resample(25), clip)


def test_linear_motion_stays_linear_at_any_rate() -> None:
    time = torch.arange(61)[:, None] / 60
    clip = _clip(61, fps=60.0)
    clip = replace(clip, latents=time * torch.ones(512), boxes=time * torch.tensor([1.0, -1.0, 2.0]) + 0.5 * (time < 2))
    slow = clip.resample(25)
    assert slow.fps == 25
    assert len(slow) == 25
    torch.testing.assert_close(slow.latents[:, 0], torch.arange(25) / 25)
    torch.testing.assert_close(slow.boxes[:, 2], 2 * torch.arange(25) / 25 + 0.5)


@pytest.mark.parametrize(("frames", "fps", "new_fps"), [(1, 25, 60), (1, 60, 1), (230, 60, 25), (100, 23.976, 25)])
def test_resampling_keeps_the_length_in_seconds(frames: int, fps: float, new_fps: float) -> None:
    clip = _clip(frames, fps=fps, t0=0)
    again = clip.resample(new_fps)
    assert abs(again.seconds - clip.seconds) <= max(0.5 / new_fps, 1 / new_fps if frames == 1 else 0)
    assert torch.equal(again.latents[0], clip.latents[0])
    assert again.t0 == 0


def test_resampling_needs_a_rate() -> None:
    for fps in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="fps must be above 0"):
            _clip().resample(fps)


# Transitions


@pytest.mark.parametrize("mode", ["linear", "slerp"])
def test_transition_starts_and_ends_at_its_key_frames(mode: str) -> None:
    start, end = _clip(5, rng=1), _clip(7, rng=2, source="b.mp4")
    move = MotionClip.interpolate(start, end, 9, mode)  # type: ignore[arg-type]
    assert len(move) == 9
    torch.testing.assert_close(move.latents[[0, -1]], torch.stack([start.latents[-1], end.latents[0]]))
    torch.testing.assert_close(move.boxes[[0, -1]], torch.stack([start.boxes[-1], end.boxes[0]]))
    assert (move.t0, move.source) == (1, "a.mp4 to b.mp4")


def test_slerp_turns_at_constant_speed_and_mixes_lengths() -> None:
    start, end = _clip(1, rng=1), _clip(1, rng=2)
    end = replace(end, latents=3 * end.latents)
    latents = MotionClip.interpolate(start, end, 11, "slerp").latents.double()
    lengths = latents.norm(dim=1)
    torch.testing.assert_close(lengths, torch.linspace(float(lengths[0]), float(lengths[-1]), 11, dtype=torch.float64))
    cosines = torch.cosine_similarity(latents[1:], latents[:-1])
    torch.testing.assert_close(cosines, cosines[:1].expand(10), rtol=1e-5, atol=0)
    linear = MotionClip.interpolate(start, end, 11).latents
    torch.testing.assert_close(linear[5], (start.latents[0] + end.latents[0]) / 2)


@pytest.mark.parametrize("factor", [0.0, 1.0, 2.0, -1.0])
def test_slerp_without_an_arc_mixes_linearly(factor: float) -> None:
    start = _clip(1)
    end = replace(start, latents=start.latents * factor)
    slerp, linear = (MotionClip.interpolate(start, end, 5, mode).latents for mode in ("slerp", "linear"))  # type: ignore[arg-type]
    torch.testing.assert_close(slerp, linear)


def test_transition_refuses_what_cannot_be_mixed() -> None:
    with pytest.raises(XNeMoError, match="encoder-b"):
        MotionClip.interpolate(_clip(), _clip(encoder_id="encoder-b"), 4)
    with pytest.raises(ValueError, match="two key frames"):
        MotionClip.interpolate(_clip(), _clip(), 1)
    with pytest.raises(ValueError, match="linear or slerp"):
        MotionClip.interpolate(_clip(), _clip(), 4, "cubic")  # type: ignore[arg-type]
