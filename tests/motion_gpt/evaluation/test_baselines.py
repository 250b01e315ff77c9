"""The simple ways to go on do what their names say."""

from __future__ import annotations

from dataclasses import replace

import torch

from motion_gpt.evaluation.baselines import (
    CountedTokens,
    LinearAutoregression,
    NearestClip,
    PingPong,
    RepeatLast,
)
from motion_gpt.evaluation.features import MotionSpace
from motion_gpt.ngrams import fit_token_models
from motion_gpt.seam import SeamSettings
from motion_gpt.training.clips import tokens_of
from tests.motion_tokenizer.tiny import features, tokenizer

CLIPS = list(features(8, 240))
WIDE = MotionSpace.fit(CLIPS, 16, columns=slice(0, 515))
SEAM = SeamSettings()


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_last_frame_is_held() -> None:
    made = RepeatLast().go_on(CLIPS[0][:50], 100, draws())
    assert torch.equal(made, CLIPS[0][49:50].expand(100, -1))


def test_ping_pong_goes_back_and_forth() -> None:
    made = PingPong().go_on(CLIPS[0][:5], 10, draws())
    assert torch.equal(made, CLIPS[0][[3, 2, 1, 0, 1, 2, 3, 4, 3, 2]])


def test_the_nearest_clip_is_found_again_and_played_on() -> None:
    nearest = NearestClip(CLIPS, WIDE, SEAM)
    # A part of a training clip, a little beside where it was: the offset fades, the motion is the clip's.
    prefix = CLIPS[3][40:90] + 0.01
    made = nearest.go_on(prefix, 100, draws())
    assert torch.allclose(made[SEAM.fade :], CLIPS[3][90 + SEAM.fade : 190], atol=1e-5)
    assert torch.allclose(made[0], CLIPS[3][90] + 0.01, atol=1e-3)
    assert torch.equal(nearest.go_on(prefix, 5000, draws())[-1], prefix[-1]), "nothing is as long as that"


def test_var2_goes_on_smoothly_with_training_like_spread_for_a_long_time() -> None:
    var = LinearAutoregression(CLIPS, WIDE)
    prefix = CLIPS[0][:50]
    quiet = LinearAutoregression(CLIPS, WIDE)
    quiet.recursion = replace(quiet.recursion, noise=torch.zeros_like(quiet.recursion.noise))
    step = quiet.go_on(prefix, 1, draws())[0] - prefix[-1]
    true = CLIPS[0][50] - prefix[-1]
    assert float((step - true).norm()) < 0.5 * float(true.norm())
    long = var.go_on(prefix, 1500, draws())
    spread = float(WIDE.project(long[500:]).std())
    assert 0.2 < spread / float(WIDE.project(torch.cat(CLIPS)).std()) < 3
    assert torch.equal(long, var.go_on(prefix, 1500, draws()))
    assert not torch.equal(long, var.go_on(prefix, 1500, draws(1)))


def test_counted_tokens_begin_where_the_prefix_ends() -> None:
    speaker = tokenizer()
    tokens = tokens_of(CLIPS, speaker)
    bigram = fit_token_models(tokens, [str(n) for n in range(8)], speaker.codes)["bigram"]
    made = CountedTokens(bigram, speaker, SEAM).go_on(CLIPS[0][:50], 30, draws())
    assert made.shape == (30, 515)
    # The offset of the tokenizer's reconstruction is carried over the seam.
    step = float((made[0] - CLIPS[0][49]).norm())
    assert step < 0.5 * float((made[0] - CLIPS[0][:50].mean(dim=0)).norm()) + float(
        CLIPS[0].diff(dim=0).norm(dim=1).max()
    )
