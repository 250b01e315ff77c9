"""MotionTokenizer: clips of any length to tokens and back, in one go or in pieces, and nothing of another model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from animator.errors import XNeMoError
from animator.motion_clip import MotionClip
from motion_tokenizer.features import from_features, to_features
from motion_tokenizer.tokenizer import DEFAULT_TOKENIZER, MotionTokenizer
from tests.motion_tokenizer import tiny

WEIGHTS = "diffusion_pytorch_model.safetensors"


def pieces(length: int, seed: int) -> list[slice]:
    """Cut a length at random, into pieces of 0 to 12."""
    generator = np.random.default_rng(seed)
    stops = [0]
    while stops[-1] < length:
        stops.append(min(length, stops[-1] + int(generator.integers(0, 13))))
    return [slice(a, b) for a, b in pairwise(stops)]


def difference(a: MotionClip, latents: Tensor, boxes: Tensor) -> float:
    return max(float((a.latents - latents).abs().max()), float((a.boxes - boxes).abs().max()))


@pytest.mark.parametrize("frames", range(4, 12))
def test_the_end_of_a_clip_is_on_the_grid_of_tokens(frames: int) -> None:
    tokenizer = tiny.tokenizer()
    clip = tiny.motion(frames)
    tokens = tokenizer.encode(clip)
    assert (len(tokens), tokens.frames, tokens.fps) == (-(-frames // 4), frames, 25.0)
    # What its last four frames do is in the last token alone, so that what follows begins with a token of its own.
    other = MotionClip.concatenate([clip[: frames - 4], tiny.motion(4, seed=3)], rebase=False) if frames > 4 else clip
    assert torch.equal(tokenizer.encode(other).tokens[:-1], tokens.tokens[:-1])
    decoded = tokenizer.decode(tokens)
    assert (len(decoded), decoded.fps, decoded.encoder_id) == (frames, 25.0, tiny.ENCODER)
    whole = tokenizer.decode(replace(tokens, frames=4 * len(tokens)))
    assert torch.equal(decoded.latents, whole.latents[-frames:]), "the first decoded frames are the padding"


def test_the_first_frame_is_repeated_before_a_clip_that_does_not_fill_its_tokens() -> None:
    tokenizer, clip = tiny.tokenizer(), tiny.motion(10)
    longer = MotionClip.concatenate([clip[:1], clip[:1], clip], rebase=False)
    assert torch.equal(tokenizer.encode(clip).tokens, tokenizer.encode(longer).tokens)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("tokenizer.levels=2",),
        ("tokenizer.quantizer.kind=fsq",),
        ("tokenizer.search=4", "tokenizer.search_paths=3", "tokenizer.search_delay=2"),
    ],
)
def test_a_stream_gives_what_the_whole_clip_gives(overrides: tuple[str, ...], seed: int) -> None:
    tokenizer = tiny.tokenizer(*overrides)
    clip = tiny.motion(150 + seed, seed)
    whole = tokenizer.encode(clip)
    stream = tokenizer.stream(len(clip))
    decided = [stream.push_motion(clip.latents[part], clip.boxes[part]) for part in pieces(len(clip), seed)]
    tokens = torch.cat([*decided, stream.last_tokens()])
    assert torch.equal(tokens, whole.tokens)
    assert len(whole.tokens.unique()) > 5
    decoded = [stream.push_tokens(tokens[part]) for part in pieces(len(tokens), seed + 50)]
    latents, boxes = (torch.cat([part[side] for part in decoded]) for side in (0, 1))
    assert difference(tokenizer.decode(whole), latents, boxes) < 1e-5


@pytest.mark.parametrize("seed", range(3))
def test_streamed_vectors_equal_those_of_the_whole(seed: int) -> None:
    """Before the quantiser, which could hide small differences."""
    from motion_tokenizer.models.blocks import StreamState

    model, data = tiny.model(), tiny.features(2, 160, seed)
    state = StreamState()
    parts = [slice(4 * part.start, 4 * part.stop) for part in pieces(40, seed) if part.stop > part.start]
    with torch.no_grad():
        streamed = torch.cat([model.encode_continuous(data[:, part], state) for part in parts], dim=1)
        assert float((streamed - model.encode_continuous(data)).abs().max()) < 1e-5


@pytest.mark.parametrize("frames", [20, 22])
def test_the_papers_form_tokenises_whole_clips(frames: int) -> None:
    tokenizer, clip = tiny.tokenizer("tokenizer.causal=false"), tiny.motion(frames)
    tokens = tokenizer.encode(clip)
    assert (len(tokens), len(tokenizer.decode(tokens))) == (-(-frames // 4), frames)


def test_a_stream_of_unknown_length_begins_with_a_token() -> None:
    tokenizer, clip = tiny.tokenizer(), tiny.motion(22)
    stream = tokenizer.stream()
    assert torch.equal(stream.push_motion(clip.latents, clip.boxes), tokenizer.encode(clip[:20]).tokens)
    assert len(stream.push_motion(clip.latents[:1], clip.boxes[:1])) == 0
    assert len(stream.push_motion(clip.latents[:1], clip.boxes[:1])) == 1


def test_a_stream_that_is_asked_for_late_tokens_goes_on_as_if_it_had_not_been() -> None:
    tokenizer = tiny.tokenizer("tokenizer.search=4", "tokenizer.search_paths=3", "tokenizer.search_delay=2")
    clip = tiny.motion(48)
    stream = tokenizer.stream()
    decided = []
    for part in (slice(0, 20), slice(20, 32), slice(32, 48)):
        decided.append(stream.push_motion(clip.latents[part], clip.boxes[part]))
        heard = torch.cat([*decided, stream.last_tokens()])
        assert torch.equal(heard, tokenizer.encode(clip[: part.stop]).tokens)


def test_a_stream_goes_on_behind_tokens_that_were_settled() -> None:
    words = ("tokenizer.search=4", "tokenizer.search_paths=3", "tokenizer.search_delay=2")
    tokenizer, clip = tiny.tokenizer(*words), tiny.motion(48)
    stream = tokenizer.stream()
    before = torch.cat([stream.push_motion(clip.latents[:20], clip.boxes[:20]), stream.settle()])
    assert torch.equal(before, tokenizer.encode(clip[:20]).tokens)
    assert len(stream.last_tokens()) == len(stream.settle()) == 0
    rest = torch.cat([stream.push_motion(clip.latents[20:], clip.boxes[20:]), stream.last_tokens()])
    assert len(before) + len(rest) == 12


def test_a_stream_that_settles_each_token_follows_one_way() -> None:
    words = ("tokenizer.search=4", "tokenizer.search_paths=3", "tokenizer.search_delay=2")
    several, clip = tiny.tokenizer(*words), tiny.motion(48)
    stream = several.stream()
    settled = []
    for begin in range(0, 48, 4):
        part = slice(begin, begin + 4)
        assert len(stream.push_motion(clip.latents[part], clip.boxes[part])) == 0
        settled.append(stream.settle())
    several.model.register_to_config(search_paths=1, search_delay=0)
    assert torch.equal(torch.cat(settled), several.encode(clip).tokens)


def test_streams_refuse_what_cannot_be_motion_or_tokens() -> None:
    tokenizer, clip = tiny.tokenizer(), tiny.motion(8)
    stream = tokenizer.stream()
    broken = clip.latents.clone()
    broken[3, 5] = torch.nan
    with pytest.raises(ValueError, match="latents hold NaN"):
        stream.push_motion(broken, clip.boxes)
    with pytest.raises(ValueError, match="latents and boxes must be"):
        stream.push_motion(clip.latents, clip.boxes[:4])
    with pytest.raises(ValueError, match="size and must be above 0"):
        stream.push_motion(clip.latents, -clip.boxes)
    with pytest.raises(ValueError, match=r"token \[256\] at step 1 is not 0 to 255"):
        stream.push_tokens(torch.tensor([[3], [256]]))
    with pytest.raises(ValueError, match="tokens must be"):
        stream.push_tokens(torch.tensor([3]))
    with pytest.raises(XNeMoError, match="looks ahead"):
        tiny.tokenizer("tokenizer.causal=false").stream()
    # None of it has left a trace.
    assert torch.equal(stream.push_motion(clip.latents, clip.boxes), tokenizer.encode(clip).tokens)


def test_head_placement_survives_the_features() -> None:
    boxes = torch.tensor([[0.0, 0.0, 1.0], [-0.7, 0.4, 0.02], [3.0, -2.0, 40.0]])
    latents = torch.randn(3, 512, generator=torch.Generator().manual_seed(0))
    back = from_features(to_features(latents, boxes))
    assert torch.equal(back[0], latents)
    torch.testing.assert_close(back[1], boxes)
    assert (from_features(torch.full((1, 515), -1e30))[1][:, 2] > 0).all(), "any number is a size above 0"
    assert torch.isfinite(from_features(torch.full((1, 515), 1e30))[1]).all()


def test_origin_and_generation_travel() -> None:
    tokenizer = tiny.tokenizer()
    clip = replace(tiny.motion(9), source="a.mp4", source_sha256="f" * 64, crop=(1, 2, 3, 4), t0=5, seed=11)
    tokens = tokenizer.encode(clip)
    for carried in (tokens, tokenizer.decode(tokens)):
        assert (carried.source, carried.source_sha256, carried.crop) == ("a.mp4", "f" * 64, (1, 2, 3, 4))
        assert (carried.t0, carried.seed, carried.encoder_id) == (5, 11, tiny.ENCODER)


def test_other_frame_rates_are_resampled() -> None:
    tokenizer, clip = tiny.tokenizer(), tiny.motion(60, fps=50)
    tokens = tokenizer.encode(clip)
    assert (tokens.frames, tokens.fps, len(tokens)) == (30, 25.0, 8)
    assert torch.equal(tokens.tokens, tokenizer.encode(clip.resample(25)).tokens)
    ntsc = replace(tiny.motion(12), fps=25.001)
    assert torch.equal(tokenizer.encode(ntsc).tokens, tokenizer.encode(tiny.motion(12)).tokens)


@pytest.mark.parametrize("kind", ["ema", "simvq", "fsq", "cosine"])
def test_a_saved_tokenizer_is_the_same_tokenizer(kind: str, tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer(f"tokenizer.quantizer.kind={kind}")
    folder = tokenizer.save_pretrained(tmp_path / "tokenizer")
    read = MotionTokenizer.from_pretrained(folder)
    assert (read.id, read.encoder_id, read.fps) == (tokenizer.id, tiny.ENCODER, 25.0)
    assert (read.codes, read.levels, read.frames_per_token) == (256, 1, 4)
    assert read.bits_per_second == pytest.approx(50)
    torch.testing.assert_close(read.codebook, tokenizer.codebook)
    assert read.codebook.shape == (256, 8)
    clip = tiny.motion(41)
    assert torch.equal(read.encode(clip).tokens, tokenizer.encode(clip).tokens)
    expected = tokenizer.reconstruct(clip)
    assert difference(read.reconstruct(clip), expected.latents, expected.boxes) < 1e-5
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer"]
    assert {path.name for path in folder.iterdir()} == {"config.json", "tokenizer.json", WEIGHTS}


def test_a_tokenizer_is_replaced_whole_and_other_folders_are_left_alone(tmp_path: Path) -> None:
    first, second = tiny.tokenizer(), tiny.tokenizer(seed=1)
    for tokenizer in (first, second):
        tokenizer.save_pretrained(tmp_path / "weights")
        assert MotionTokenizer.from_pretrained(tmp_path / "weights").id == tokenizer.id
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("keep")
    with pytest.raises(XNeMoError, match="holds something that is no tokenizer"):
        first.save_pretrained(tmp_path / "mine")
    assert (tmp_path / "mine" / "diary.txt").read_text() == "keep"


def test_an_id_belongs_to_one_tokenizer() -> None:
    ids = [
        tiny.tokenizer().id,
        tiny.tokenizer(seed=1).id,
        tiny.tokenizer(encoder_id="another").id,
        MotionTokenizer(tiny.model(), tiny.ENCODER, fps=30).id,
        tiny.tokenizer("tokenizer.causal=false").id,
    ]
    assert len(set(ids)) == len(ids)
    changed = tiny.tokenizer()
    changed.model.set_statistics(changed.model.mean + 1, changed.model.std)
    assert changed.id != tiny.tokenizer().id
    assert tiny.tokenizer("tokenizer.search=4").id == tiny.tokenizer().id, "tokens mean the same however they are found"
    assert all(len(name) == 16 for name in ids)


def test_what_belongs_to_another_model_is_refused() -> None:
    tokenizer, clip = tiny.tokenizer(), tiny.motion(12)
    with pytest.raises(XNeMoError, match="made by motion encoder feed, but this tokenizer was trained for 0123"):
        tokenizer.encode(tiny.motion(12, encoder_id="feed"))
    tokens = tokenizer.encode(clip)
    with pytest.raises(XNeMoError, match=f"tokens of tokenizer {tokens.tokenizer_id}, but the one in use is"):
        tiny.tokenizer(seed=1).decode(tokens)
    with pytest.raises(XNeMoError, match=r"token \[256\] at step 1 is not 0 to 255"):
        tokenizer.decode(replace(tokens, tokens=torch.tensor([[0], [256], [3]])))
    with pytest.raises(XNeMoError, match=r"tokens must be \(steps, 1\)"):
        tokenizer.decode(replace(tokens, tokens=tokens.tokens.expand(-1, 2)))
    for frames in (8, 13):
        with pytest.raises(XNeMoError, match=f"3 tokens of 4 frames cannot make {frames} frames"):
            tokenizer.decode(replace(tokens, frames=frames))
    with pytest.raises(ValueError, match="has no tokens"):
        tiny.tokenizer("tokenizer.quantizer.kind=none")


@pytest.mark.parametrize("frames", [1, 3])
def test_clips_shorter_than_a_token_are_refused(frames: int) -> None:
    with pytest.raises(XNeMoError, match=f"a.mp4: has {frames} frames at 25 a second, but a token stands for 4"):
        tiny.tokenizer().encode(replace(tiny.motion(frames), source="a.mp4"))
    with pytest.raises(XNeMoError, match="has 3 frames at 25 a second"):
        tiny.tokenizer().encode(tiny.motion(6, fps=50))


def test_neighbours_of_a_code_are_found_in_order() -> None:
    tokenizer = tiny.tokenizer()
    near = tokenizer.nearest(17, 5)
    distances = (tokenizer.codebook - tokenizer.codebook[17]).norm(dim=1)
    expected = distances.argsort()
    assert torch.equal(near, expected[expected != 17][:5])
    many = tokenizer.nearest(torch.tensor([[17, 3], [0, 255]]), 5)
    assert many.shape == (2, 2, 5) and torch.equal(many[0, 0], near)
    assert tokenizer.nearest(torch.zeros(0, dtype=torch.int64), 2).shape == (0, 2)
    for code, k in ((256, 1), (-1, 1), (0, 0), (0, 256)):
        with pytest.raises(ValueError):
            tokenizer.nearest(code, k)


def cut(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return damage


def rewritten(name: str, **changes: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | changes))

    return damage


def without_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors["decoder.leave.weight"]
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


def with_a_tensor_too_many(folder: Path) -> None:
    save_file(load_file(folder / WEIGHTS) | {"surprise": torch.zeros(2)}, folder / WEIGHTS, {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut(WEIGHTS), "cannot be loaded"),
        (cut("tokenizer.json"), "cannot be loaded"),
        (cut("config.json"), "cannot be loaded"),
        (rewritten("tokenizer.json", schema=2), "schema 2 is newer"),
        (rewritten("tokenizer.json", fps="often"), "cannot be loaded"),
        (rewritten("tokenizer.json", encoder_id=None), "encoder_id must be a text"),
        (rewritten("config.json", width=24), "cannot be loaded"),
        (rewritten("config.json", quantizer={"kind": "magic"}), "no quantizer kind 'magic'"),
        (lambda folder: (folder / WEIGHTS).unlink(), "cannot be loaded"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer.json has no 'schema'"),
        (without_a_tensor, "missing keys: decoder.leave.weight"),
        (with_a_tensor_too_many, "unexpected keys: surprise"),
    ],
)
def test_damaged_weights_are_refused_in_one_line(damage: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    folder = tiny.tokenizer().save_pretrained(tmp_path / "tokenizer")
    damage(folder)
    with pytest.raises(XNeMoError, match=says) as caught:
        MotionTokenizer.from_pretrained(folder)
    assert str(folder) in str(caught.value)


def test_a_missing_tokenizer_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(XNeMoError, match="no tokenizer here.*tokenizer_weights=FOLDER"):
        MotionTokenizer.from_pretrained(tmp_path)
    monkeypatch.setattr("motion_tokenizer.tokenizer.DEFAULT_TOKENIZER", tmp_path / "lite")
    with pytest.raises(XNeMoError, match="the packaged tokenizer is missing.*tokenizer_weights=FOLDER"):
        MotionTokenizer.from_pretrained()


@pytest.mark.skipif(not DEFAULT_TOKENIZER.is_dir(), reason="no tokenizer is packaged yet")
def test_the_packaged_tokenizer_goes_with_the_packaged_encoder() -> None:
    from animator.builders import load_pipeline
    from animator.config import RuntimeConfig

    tokenizer = MotionTokenizer.from_pretrained()
    assert tokenizer.encoder_id == load_pipeline(RuntimeConfig(device="cpu")).encoder_id
    assert (tokenizer.fps, tokenizer.frames_per_token, tokenizer.codebook.shape[1]) == (25.0, 4, 8)


def test_results_can_be_trained_on() -> None:
    tokenizer = tiny.tokenizer()
    tokens = tokenizer.encode(tiny.motion(20))
    for result in (tokens.tokens, tokenizer.decode(tokens).latents):
        assert not result.requires_grad and not result.is_inference()
