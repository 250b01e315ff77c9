"""What a step sees: packed clips, wrong tokens where they are allowed, and labels that are left out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from animator.dataset import MotionDataset
from animator.motion_clip import MotionClip
from motion_gpt.training.batches import IGNORED, BatchSampler, corrupt, drop_conditions
from motion_gpt.training.clips import LabelledClips, draw_weights, read_labelled_clips, tokens_of
from motion_gpt.training.config import ConditionDropoutConfig, CorruptionConfig, TrainGptConfig
from motion_gpt.training.losses import Neighbours
from motion_gpt.training.pool import TokenPool
from motion_gpt.vocabulary import CONDITION_ROWS, Condition, Vocabulary
from motion_tokenizer.features import from_features, to_features
from motion_tokenizer.tokenizer import MotionTokenizer
from motion_tokenizer.training.clips import FeatureClips
from tests.motion_gpt.toy import toy_tokenizer
from tests.motion_gpt.training.conftest import Settings
from tests.motion_tokenizer.tiny import motion, tokenizer


def sampler(config: TrainGptConfig) -> BatchSampler:
    tokenizer = MotionTokenizer.from_pretrained(config.tokenizer_weights)
    clips = read_labelled_clips(MotionDataset.open(config.dataset), "train", tokenizer)
    near = Neighbours.of(tokenizer.codebooks, 4)
    return BatchSampler(TokenPool(clips, tokenizer, config), near.codes, config)


def test_each_row_of_a_packed_sequence_predicts_the_next_token_of_its_own_clip(settings: Settings) -> None:
    drawn = sampler(settings("corruption.most=0"))
    batch = drawn.draw(0)
    vocabulary = drawn.vocabulary
    assert batch.ids.shape == (2, 32, 1)
    for ids, clips, targets in zip(batch.ids[..., 0], batch.clips, batch.targets[..., 0], strict=True):
        for number in clips.unique().tolist():
            rows = (clips == number).nonzero()[:, 0]
            if ids[rows[0]] == vocabulary.pad:
                assert (targets[rows] == IGNORED).all()
                continue
            assert ids[rows[0]] == vocabulary.bos
            assert (targets[rows[: CONDITION_ROWS - 1]] == IGNORED).all()
            assert torch.equal(targets[rows[CONDITION_ROWS - 1 : -1]], ids[rows[CONDITION_ROWS:]])
            assert (ids[rows[CONDITION_ROWS:]] < vocabulary.codes).all()


def test_the_end_of_a_clip_is_predicted_where_it_was_not_cut(settings: Settings) -> None:
    drawn = sampler(settings("gpt.context=64", "augment.mix=0"))
    batch = drawn.draw(0)
    ends = batch.targets == drawn.vocabulary.codes
    assert ends.any()
    # EOS is a target and never an input: the row behind it begins another clip.
    assert not (batch.ids == drawn.vocabulary.eos).any()
    for sequence, row, _ in ends.nonzero().tolist():
        assert row + 1 == 64 or batch.clips[sequence, row + 1] != batch.clips[sequence, row]


def test_batches_depend_on_seed_and_step_alone(settings: Settings) -> None:
    first, second = sampler(settings()), sampler(settings())
    stream = first.stream()
    batches = [next(stream) for _ in range(5)]
    assert torch.equal(batches[4].ids, second.draw(4).ids)
    assert not torch.equal(batches[0].ids, batches[1].ids)
    assert not torch.equal(batches[4].ids, sampler(settings("seed=1")).draw(4).ids)


def test_residual_tokens_are_delayed_by_level(settings: Settings, tmp_path: Path) -> None:
    folder = toy_tokenizer(tmp_path / "levels", "tokenizer.levels=2")
    drawn = sampler(settings(f"tokenizer_weights={folder}", "corruption.most=0"))
    batch = drawn.draw(0)
    ids, targets = batch.ids[0], batch.targets[0]
    first = CONDITION_ROWS
    assert ids[first, 1] == drawn.vocabulary.pad
    assert targets[first - 1, 1] == IGNORED
    assert targets[first, 1] == ids[first + 1, 1] - drawn.vocabulary.codes


def test_corruption_takes_near_codes_and_any_codes_in_the_shares_asked_for() -> None:
    generator = torch.Generator().manual_seed(0)
    near = Neighbours.of(torch.arange(1000.0)[None, :, None], 4).codes
    tokens = torch.full((20000, 1), 500)
    settings = CorruptionConfig(most=0.5, near=0.5)
    shares = []
    for _ in range(30):
        seen = corrupt(tokens, near, settings, generator)
        wrong = seen != tokens
        shares.append(float(wrong.float().mean()))
        if shares[-1] > 0.1:
            close = (seen[wrong] - 500).abs() <= 2
            assert float(close.float().mean()) == pytest.approx(0.5, abs=0.05)
    assert 0 <= min(shares) < 0.1 and 0.4 < max(shares) <= 0.51
    assert torch.equal(tokens, torch.full((20000, 1), 500))
    assert torch.equal(corrupt(tokens, near, CorruptionConfig(most=0), generator), tokens)


def test_conditions_are_left_out_as_often_as_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    settings = ConditionDropoutConfig(emotion=0.1, intensity=0.15, both=0.05)
    counts: Counter[Condition] = Counter(
        drop_conditions(Condition("happy", 3), settings, generator) for _ in range(20000)
    )
    shares = {condition: count / 20000 for condition, count in counts.items()}
    assert shares[Condition()] == pytest.approx(0.05 + 0.95 * 0.1 * 0.15, abs=0.01)
    assert shares[Condition(intensity=3)] == pytest.approx(0.95 * 0.1 * 0.85, abs=0.01)
    assert shares[Condition("happy")] == pytest.approx(0.95 * 0.9 * 0.15, abs=0.01)
    assert drop_conditions(Condition(), settings, generator) == Condition()


def test_every_emotion_is_drawn_as_often_and_of_each_every_person() -> None:
    clips = FeatureClips(
        torch.zeros(100, 515),
        torch.tensor([0, 10, 20, 60]),
        torch.tensor([10, 10, 40, 40]),
        ("a", "b", "c", "d"),
        ("ann", "bob", "bob", "cem"),
        ("happy", "happy", "sad", None),
        torch.zeros(4, dtype=torch.bool),
    )
    labelled = LabelledClips(clips, (Condition("happy"), Condition("happy"), Condition("sad"), Condition()))
    assert draw_weights(labelled, 0.0, 1.0).tolist() == pytest.approx([0.25, 0.25, 0.5, 0.0])
    assert draw_weights(labelled, 0.0, 0.0).tolist() == pytest.approx([0.1, 0.1, 0.4, 0.4])
    assert draw_weights(labelled, 1.0, 0.0).tolist() == pytest.approx([1 / 3, 1 / 15, 4 / 15, 1 / 3])
    assert float(draw_weights(labelled, 0.5, 0.4).sum()) == pytest.approx(1)


def test_a_sum_of_two_clips_keeps_a_label_only_where_it_is_true(settings: Settings) -> None:
    config = settings("augment.keep_label=0.9")
    pool = sampler(config).pool
    happy, sad = Condition("happy", 3), Condition("sad", 3)
    assert pool._label(happy, sad, 0.99) == happy
    assert pool._label(happy, sad, 0.1) == sad
    assert pool._label(happy, sad, 0.7) == Condition()
    assert pool._label(happy, Condition("happy", 3), 0.5) == happy
    assert pool._label(happy, Condition("happy", 1), 0.5) == Condition("happy")
    assert pool._label(Condition(), Condition(), 0.5) == Condition()


def test_pools_are_refreshed_and_hold_tokens_that_the_network_can_say(settings: Settings) -> None:
    config = settings()
    pool = sampler(config).pool
    first, second = pool.pool(0), pool.pool(1)
    assert len(first) == len(second) == 8
    assert any(not torch.equal(a.tokens, b.tokens) for a, b in zip(first, second, strict=False))
    vocabulary = Vocabulary(pool.tokenizer.codes, 1)
    for clip in first + second:
        assert 1 <= len(clip.tokens) <= 32 - CONDITION_ROWS
        vocabulary.to_ids(clip.tokens)
    again = pool.pool(0)
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(first, again, strict=True))


def test_shuffled_labels_are_the_same_labels_on_other_clips(settings: Settings) -> None:
    clips = sampler(settings()).pool.clips
    shuffled = clips.with_shuffled_labels(1)
    assert Counter(shuffled.conditions) == Counter(clips.conditions)
    assert shuffled.conditions != clips.conditions
    assert torch.equal(shuffled.labelled, clips.labelled)


@pytest.mark.parametrize("overrides", [(), ("tokenizer.search_paths=3", "tokenizer.search_delay=2")])
def test_clips_are_tokenised_together_as_they_are_alone(overrides: tuple[str, ...]) -> None:
    speaker = tokenizer("tokenizer.search=4", *overrides)
    lengths = [37, 9, 64, 64, 150, 4]
    clips = [to_features(m.latents, m.boxes) for m in (motion(n, seed) for seed, n in enumerate(lengths))]
    for clip, tokens in zip(clips, tokens_of(clips, speaker), strict=True):
        latents, boxes = from_features(clip)
        alone = speaker.encode(MotionClip(latents, boxes, 25.0, speaker.encoder_id))
        assert torch.equal(tokens, alone.tokens)
