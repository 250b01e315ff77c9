"""A continuation keeps the driving to the last bit, fits behind it, and is the same in pieces as at once."""

from __future__ import annotations

import gc
from itertools import islice

import pytest
import torch

from animator.errors import XNeMoError
from animator.motion_clip import MotionClip
from motion_gpt.continuation import read_prefix, smooth_starts
from motion_gpt.outpainting import NULL, continue_motion, stream_motion
from motion_gpt.rollout import Item
from motion_gpt.sampling import as_decoder, generate
from motion_gpt.seam import SeamSettings, jerk, real_limit, seam_roughness
from motion_gpt.settings import Sampling
from motion_gpt.vocabulary import Condition
from motion_tokenizer.features import to_features
from tests.motion_gpt.talking import speaker_of, speakers
from tests.motion_tokenizer import tiny

PLAIN = SeamSettings(attempts=1)


def features(clip: MotionClip) -> torch.Tensor:
    return to_features(clip.latents, clip.boxes)


@pytest.mark.parametrize("fps", [25.0, 30.0])
@pytest.mark.parametrize("frames", [50, 51, 53])
def test_the_driving_stays_as_it_is_to_the_last_bit(fps: float, frames: int) -> None:
    tokenizer, generator = speakers()
    driving = tiny.motion(frames, fps=fps)
    (clip,) = continue_motion(generator, tokenizer, driving, 37, Sampling(seed=5))
    assert len(clip) == frames + 37
    assert (clip.fps, clip.t0, clip.seed) == (fps, frames, 5)
    assert torch.equal(clip.latents[:frames], driving.latents)
    assert torch.equal(clip.boxes[:frames], driving.boxes)


def test_new_tokens_are_decoded_behind_those_of_the_prefix() -> None:
    """Beyond the fade the continuation is what the tokenizer decodes from prefix and new tokens together."""
    tokenizer, generator = speakers()
    driving = tiny.motion(51)
    (clip,) = continue_motion(generator, tokenizer, driving, 40, Sampling(seed=1, detail=0), seam=PLAIN)
    prefix = tokenizer.encode(driving[3:]).tokens  # the end is on the grid, three frames at the start are left out
    tokens = torch.cat([prefix, generate(generator, prefix, NULL, 10, Sampling(seed=1))[0]])
    with torch.inference_mode():
        decoded = tokenizer.model.decode(tokens[None])[0]
    torch.testing.assert_close(features(clip)[51 + 10 :], decoded[48 + 10 :], rtol=1e-4, atol=1e-4)
    error = features(driving)[-1] - decoded[47]
    near = features(clip)[51] - decoded[48]
    assert float(torch.nn.functional.cosine_similarity(error, near, dim=0)) > 0.5, "the offset is carried over"


def test_the_seam_is_smoother_than_plain_decoding() -> None:
    tokenizer, generator = speakers()
    driving = tiny.motion(52)
    (plain,) = continue_motion(generator, tokenizer, driving, 20, Sampling(), seam=SeamSettings(fade=1, attempts=1))
    (faded,) = continue_motion(generator, tokenizer, driving, 20, Sampling(), seam=PLAIN)
    assert float(seam_roughness(features(faded), 52)) < 0.7 * float(seam_roughness(features(plain), 52))


def test_candidates_differ_and_the_first_is_the_one_alone() -> None:
    tokenizer, generator = speakers()
    driving = tiny.motion(40)
    alone = continue_motion(generator, tokenizer, driving, 24, Sampling(seed=3))[0]
    several = continue_motion(generator, tokenizer, driving, 24, Sampling(seed=3), candidates=3)
    assert torch.equal(several[0].latents, alone.latents)
    assert not torch.equal(several[0].latents, several[1].latents)
    assert not torch.equal(several[1].latents, several[2].latents)


@pytest.mark.parametrize("fps", [25.0, 30.0])
def test_pieces_are_what_comes_at_once(fps: float) -> None:
    tokenizer, generator = speakers()
    driving = tiny.motion(45, fps=fps)
    for candidate, whole in enumerate(continue_motion(generator, tokenizer, driving, 41, Sampling(), candidates=2)):
        pieces = list(stream_motion(generator, tokenizer, driving, 41, Sampling(), candidate=candidate))
        assert max(map(len, pieces)) <= 5
        joined = MotionClip.concatenate([driving, *pieces], rebase=False)
        assert (len(joined), joined.t0) == (len(whole), whole.t0)
        torch.testing.assert_close(joined.latents, whole.latents, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(joined.boxes, whole.boxes, rtol=1e-5, atol=1e-5)


def test_memory_does_not_grow_with_the_continuation() -> None:
    tokenizer, generator = speakers()
    pieces = stream_motion(generator, tokenizer, tiny.motion(40), None, Sampling())

    def held() -> int:
        gc.collect()
        return sum(thing.nbytes for thing in gc.get_objects() if type(thing) is torch.Tensor)

    def pass_by(count: int) -> int:
        for _ in islice(pieces, count):
            pass
        return held()

    early = pass_by(35)  # the context of 32 rows has slid by then
    assert pass_by(70) == early


def test_rejection_takes_a_smoother_beginning_of_the_same_distribution() -> None:
    tokenizer, generator = speakers()
    decoder, driving = as_decoder(generator), tiny.motion(60)
    prefix = read_prefix(tokenizer, driving)
    limit = real_limit(prefix.driving, 99)
    assert limit is not None

    def roughnesses(seam: SeamSettings) -> list[float]:
        clips = continue_motion(generator, tokenizer, driving, 8, Sampling(), candidates=6, seam=seam)
        return [float(seam_roughness(features(clip), len(driving))) for clip in clips]

    first, chosen = roughnesses(PLAIN), roughnesses(SeamSettings(attempts=8))
    for before, after in zip(first, chosen, strict=True):
        assert after <= before
        assert after == before or before > limit, "what is smooth enough stays as it is"
    items = [Item(prefix.tokens, NULL, 0, candidate) for candidate in range(6)]
    assert smooth_starts(decoder, tokenizer, prefix, items, Sampling(temperature=0), SeamSettings()) == items
    assert sum(chosen) < sum(first)


def test_a_still_or_very_short_driving_is_continued_too() -> None:
    tokenizer, generator = speakers()
    clip = tiny.motion(4)
    assert len(continue_motion(generator, tokenizer, clip, 10, Sampling())[0]) == 14
    still = MotionClip(clip.latents[:1].repeat(50, 1), clip.boxes[:1].repeat(50, 1), 25.0, clip.encoder_id)
    (continued,) = continue_motion(generator, tokenizer, still, 10, Sampling())
    assert float(jerk(continued.latents[:50]).max()) == 0


def test_several_levels_and_conditions_go_the_same_way() -> None:
    tokenizer, generator = speakers("tokenizer.levels=2")
    driving = tiny.motion(41)
    happy = Condition("happy", 3, "sad", 0.3)
    (whole,) = continue_motion(generator, tokenizer, driving, 30, Sampling(guidance_scale=2.0), happy)
    pieces = stream_motion(generator, tokenizer, driving, 30, Sampling(guidance_scale=2.0), [(happy, None)])
    joined = MotionClip.concatenate(list(pieces), rebase=False)
    torch.testing.assert_close(joined.latents, whole[41:].latents, rtol=1e-4, atol=1e-4)
    (other,) = continue_motion(generator, tokenizer, driving, 30, Sampling())
    assert not torch.equal(other.latents, whole.latents)


def test_greedy_is_the_same_whatever_the_seed() -> None:
    tokenizer, generator = speakers()
    first, second = (
        continue_motion(generator, tokenizer, tiny.motion(40), 24, Sampling(seed=seed, temperature=0))[0]
        for seed in (0, 1)
    )
    assert torch.equal(first.latents, second.latents)


def test_nothing_is_a_prefix_too() -> None:
    tokenizer, generator = speakers()
    (first, *others) = stream_motion(generator, tokenizer, None, 30, Sampling(seed=2))
    assert first.boxes[0].tolist() == [0.0, 0.0, 1.0]
    assert (first.t0, first.seed, first.fps, first.encoder_id) == (0, 2, 25.0, tiny.ENCODER)
    assert len(first) + sum(map(len, others)) == 30


def test_what_does_not_belong_together_is_refused_by_name() -> None:
    tokenizer, generator = speakers()
    other = tiny.tokenizer(seed=1)
    with pytest.raises(XNeMoError, match=f"{tokenizer.id}.*{other.id}"):
        continue_motion(generator, other, tiny.motion(40), 10, Sampling())
    with pytest.raises(XNeMoError, match=f"{other.id}.*{tokenizer.id}"):
        stream_motion(speaker_of(other), tokenizer, tiny.motion(40), 10, Sampling())
    with pytest.raises(XNeMoError, match=r"f{16}.*0123456789abcdef"):
        continue_motion(generator, tokenizer, tiny.motion(40, encoder_id="f" * 16), 10, Sampling())


@pytest.mark.parametrize(
    ("frames", "wanted", "candidates", "temperature", "says"),
    [
        (3, 10, 1, 1.0, "has 3 frames.*a token stands for 4; give a longer clip"),
        (40, 0, 1, 1.0, "0 frames asked for"),
        (40, -5, 1, 1.0, "-5 frames asked for"),
        (40, 10, 0, 1.0, "candidates=0"),
        (40, 10, 1, -1.0, "temperature=-1"),
    ],
)
def test_bad_input_is_one_clear_line(frames: int, wanted: int, candidates: int, temperature: float, says: str) -> None:
    tokenizer, generator = speakers()
    with pytest.raises(XNeMoError, match=says):
        settings = Sampling(temperature=temperature)
        continue_motion(generator, tokenizer, tiny.motion(frames), wanted, settings, candidates=candidates)
