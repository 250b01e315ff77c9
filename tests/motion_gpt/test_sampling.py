"""Rollouts: seeds, windows, guidance, marks that never appear, gaps and scores."""

from __future__ import annotations

import gc
import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from animator.errors import XNeMoError
from motion_gpt.decoder import Decoder
from motion_gpt.delay import apply_delay
from motion_gpt.models.motion_gpt import MotionGpt
from motion_gpt.rollout import window_start
from motion_gpt.sampling import Item, generate, generate_items, infill, stream
from motion_gpt.scoring import score
from motion_gpt.settings import Sampling
from motion_gpt.vocabulary import Condition
from tests.motion_gpt.tiny import CODES, sequence, tiny_gpt, tokens

HAPPY = Condition("happy", 3)
GREEDY = Sampling(temperature=0)
FREE = Sampling(seed=4, temperature=1.5, top_k=None, top_p=1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_a_candidate_is_the_same_however_many_there_are(dtype: torch.dtype, scale: float) -> None:
    decoder, settings = Decoder(tiny_gpt(), dtype), replace(FREE, guidance_scale=scale)
    # Nine are more than are made at once, and 32 rows are more than the window holds.
    many = generate(decoder, tokens(20), HAPPY, 12, settings, candidates=9)
    assert torch.equal(generate(decoder, tokens(20), HAPPY, 12, settings, candidates=3), many[:3])
    assert torch.equal(generate(decoder, tokens(20), HAPPY, 12, settings), many[:1])
    assert len({tuple(one.flatten().tolist()) for one in many}) == 9


def test_an_item_is_the_same_whatever_else_is_in_the_batch() -> None:
    decoder = Decoder(tiny_gpt())
    items = [
        Item(tokens(5, seed=1), HAPPY, seed=4),
        Item(tokens(9, seed=2), Condition("sad", 1), seed=5),
        Item(tokens(5, seed=3), Condition("happy", 2, "sad", 0.3), seed=4),
        Item(tokens(5, seed=1), Condition(), seed=6),
        Item(tokens(0), Condition("fear"), seed=4),
    ]
    together = generate_items(decoder, items, 30, FREE)
    for item, made in zip(items, together, strict=True):
        alone = generate(decoder, item.prefix, item.condition, 30, replace(FREE, seed=item.seed))
        assert torch.equal(alone[0], made)


def test_seeds_differ_and_repeat() -> None:
    model = tiny_gpt()
    first, again = (generate(model, tokens(5), HAPPY, 30, FREE) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(generate(model, tokens(5), HAPPY, 30, replace(FREE, seed=5)), first)


def test_the_global_random_state_plays_no_part() -> None:
    model, before = tiny_gpt(), torch.get_rng_state()
    generate(model, tokens(5), HAPPY, 5, FREE)
    assert torch.equal(torch.get_rng_state(), before)


def test_guidance_of_1_is_bit_equal_to_none() -> None:
    decoder = Decoder(tiny_gpt())
    unguided = generate(decoder, tokens(5), HAPPY, 40, FREE)
    assert torch.equal(generate(decoder, tokens(5), HAPPY, 40, replace(FREE, guidance_scale=1.0)), unguided)
    assert not torch.equal(generate(decoder, tokens(5), HAPPY, 40, replace(FREE, guidance_scale=3.0)), unguided)


def test_guidance_of_0_ignores_the_condition() -> None:
    model, settings = tiny_gpt(), replace(GREEDY, guidance_scale=0.0)
    assert torch.equal(
        generate(model, tokens(5), HAPPY, 25, settings), generate(model, tokens(5), Condition(), 25, settings)
    )


def test_both_branches_of_guidance_see_the_prefix() -> None:
    model, prefix = tiny_gpt(), tokens(6)
    with torch.no_grad():
        happy, null = (
            model(sequence(model, condition, model.vocabulary.to_ids(prefix)))[0, -1, 0, :CODES].log_softmax(dim=-1)
            for condition in (HAPPY, Condition())
        )
    expected = (null + 2.5 * (happy - null)).argmax()
    assert generate(model, prefix, HAPPY, 1, replace(GREEDY, guidance_scale=2.5))[0, 0, 0] == expected


def by_transformers(model: MotionGpt, prefix: Tensor, condition: Condition, length: int, context: int) -> Tensor:
    """Greedy continuation by whole forward passes over an explicit window; one level."""
    rows, capacity = prefix, context - 3
    for _ in range(length):
        window = rows[window_start(len(rows), capacity) :]
        with torch.no_grad():
            logits = model(sequence(model, condition, window))[0, -1, :, :CODES]
        rows = torch.cat([rows, logits.argmax(dim=-1)[None]])
    return rows[len(prefix) :]


@pytest.mark.parametrize("n", [0, 4, 29, 30, 75])
def test_over_many_slides_the_condition_stays_in_front(n: int) -> None:
    model = tiny_gpt()
    expected = by_transformers(model, tokens(n), HAPPY, 60, context=32)
    assert torch.equal(generate(model, tokens(n), HAPPY, 60, GREEDY)[0], expected)


def test_a_windowed_rollout_is_the_plain_one_until_the_first_slide() -> None:
    decoder, windowed = Decoder(tiny_gpt()), replace(FREE, max_context=16)
    plain = generate(decoder, tokens(4), HAPPY, 25, FREE)[0]
    slid = generate(decoder, tokens(4), HAPPY, 25, windowed)[0]
    # 13 rows fit behind the condition; the 14th is still drawn from all of them, and makes the window slide.
    assert torch.equal(slid[:10], plain[:10])
    assert not torch.equal(slid, plain)


def test_the_window_drops_a_quarter_when_it_is_full() -> None:
    starts = [window_start(rows, 12) for rows in (0, 12, 13, 15, 16, 18, 19, 100)]
    assert starts == [0, 0, 3, 3, 6, 6, 9, 90]


@pytest.mark.parametrize("levels", [1, 3])
def test_continued_in_two_goes_is_as_in_one(levels: int) -> None:
    decoder, prefix = Decoder(tiny_gpt(levels)), tokens(5, levels)
    whole = generate(decoder, prefix, HAPPY, 60, GREEDY)[0]
    # Not for several levels at a point where the finer levels of the prefix's end were not drawn yet.
    first = generate(decoder, prefix, HAPPY, 20, GREEDY)[0]
    rest = generate(decoder, torch.cat([prefix, first]), HAPPY, 40, GREEDY)[0]
    assert torch.equal(torch.cat([first, rest]), whole)


def test_levels_are_drawn_in_the_delay_pattern() -> None:
    model, prefix = tiny_gpt(levels=3), tokens(4, 3)
    made = generate(model, prefix, HAPPY, 6, GREEDY)[0]
    words = model.vocabulary
    rows = apply_delay(words.to_ids(torch.cat([prefix, made])), words.pad)
    with torch.no_grad():
        predicted = model(sequence(model, HAPPY, rows))[0, 2:-1, :, :CODES].argmax(dim=-1)
    for level in range(3):
        assert torch.equal(predicted[4 + level : 10 + level, level], made[:, level])


@pytest.mark.parametrize("levels", [1, 2])
def test_marks_are_never_drawn(levels: int) -> None:
    model = tiny_gpt(levels)
    words = model.vocabulary
    with torch.no_grad():
        # Whatever the last layer says, it now points at the marks and away from all codes.
        model.transformer.ln_f.bias.fill_(3.0)
        model.transformer.wte.weight[words.eos :] = 3.0
    ids = sequence(model, HAPPY, words.to_ids(tokens(5, levels)))
    with torch.no_grad():
        assert (model(ids)[0, -1].argmax(dim=-1) == CODES).all()
    made = generate(model, tokens(5, levels), HAPPY, 50, replace(FREE, temperature=10.0), candidates=2)
    assert made.shape == (2, 50, levels)
    assert made.min() >= 0 and made.max() < CODES


def test_a_repetition_window_keeps_codes_from_coming_back() -> None:
    model = tiny_gpt()
    settings = replace(GREEDY, repetition_window=10, repetition_penalty=1e9)
    row = torch.cat([tokens(12), generate(model, tokens(12), HAPPY, 60, settings)[0]])[:, 0].tolist()
    assert all(row[at] not in row[at - 10 : at] for at in range(12, 72))


def test_a_stream_is_what_generate_makes_at_once() -> None:
    decoder = Decoder(tiny_gpt())
    expected = generate(decoder, tokens(5), HAPPY, 70, FREE)[0]
    endless = stream(decoder, tokens(5), HAPPY, FREE)
    assert torch.equal(torch.stack(list(itertools.islice(endless, 70))), expected)
    assert torch.equal(torch.stack(list(stream(decoder, tokens(5), HAPPY, FREE, length=70))), expected)


def test_a_stream_holds_no_more_after_a_minute() -> None:
    endless = stream(tiny_gpt(), tokens(5), HAPPY, FREE)

    def held() -> int:
        gc.collect()
        return sum(thing.numel() for thing in gc.get_objects() if isinstance(thing, Tensor))

    next(itertools.islice(endless, 50, None))
    before = held()
    next(itertools.islice(endless, 375, None))  # a minute
    assert held() <= before


def test_progress_counts_every_token() -> None:
    made: list[int] = []
    generate(tiny_gpt(), tokens(5), HAPPY, 7, FREE, candidates=9, progress=made.append)
    assert sum(made) == 7 * 9


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("start", [0, 3, 60])
def test_scores_are_the_likelihood_under_the_window(levels: int, start: int) -> None:
    model, given = tiny_gpt(levels), tokens(70, levels)
    words = model.vocabulary
    rows = apply_delay(words.to_ids(given), words.pad)
    expected = torch.zeros(70, levels)
    for row in range(len(rows)):
        with torch.no_grad():
            logits = model(sequence(model, HAPPY, rows[window_start(row, 29) : row]))[0, -1, :, :CODES]
        for level in range(levels):
            if 0 <= row - level < 70:
                expected[row - level, level] = -logits[level].log_softmax(dim=-1)[given[row - level, level]]
    scores = score(Decoder(model), given, HAPPY, start=start, top=5)
    torch.testing.assert_close(scores.nats, expected[start:], atol=1e-4, rtol=1e-4)
    assert scores.best.shape == scores.probabilities.shape == (70 - start, levels, 5)
    assert (scores.probabilities.diff(dim=-1) <= 0).all()


def test_the_first_choice_of_a_score_is_the_greedy_token() -> None:
    decoder = Decoder(tiny_gpt())
    made = generate(decoder, tokens(5), HAPPY, 10, GREEDY)[0]
    scores = score(decoder, torch.cat([tokens(5), made]), HAPPY, start=5, top=1)
    assert torch.equal(scores.best[..., 0], made)
    torch.testing.assert_close(scores.nats, -scores.probabilities[..., 0].log())


def test_a_gap_is_ranked_by_what_comes_after_it() -> None:
    decoder, left, right = Decoder(tiny_gpt()), tokens(6, seed=1), tokens(8, seed=2)
    filled = infill(decoder, left, right, HAPPY, 4, FREE, candidates=6, horizon=5)
    drawn = generate(decoder, left, HAPPY, 4, FREE, candidates=6)
    assert sorted(map(str, filled.tokens.tolist())) == sorted(map(str, drawn.tolist()))
    assert (filled.right_nats.diff() >= 0).all()
    for middle, nats in zip(filled.tokens, filled.right_nats, strict=True):
        whole = score(decoder, torch.cat([left, middle, right]), HAPPY)
        torch.testing.assert_close(whole.nats[10:15].mean(), nats, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prefix": torch.tensor([[CODES]])}, "use the tokenizer that it was trained with"),
        ({"prefix": torch.zeros(3, 2, dtype=torch.long)}, r"must be \(n, 1\)"),
        (
            {"condition": Condition("joy")},
            "the emotions are angry, contempt, disgusted, fear, happy, neutral, sad, sur",
        ),
        ({"condition": Condition("neutral", 3)}, "neutral has intensity 1 only"),
        ({"settings": Sampling(temperature=-1)}, "temperature=-1: must be at least 0"),
        ({"settings": Sampling(max_context=64)}, "max_context=64: this generator was trained with 32"),
        ({"length": 0}, "0 tokens asked for"),
        ({"length": -3}, "-3 tokens asked for"),
        ({"candidates": 0}, "candidates=0"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(changes: dict[str, object], message: str) -> None:
    asked = {"prefix": tokens(3), "condition": HAPPY, "length": 4, "settings": FREE} | changes
    with pytest.raises(XNeMoError, match=message) as caught:
        generate(tiny_gpt(), **asked)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_stream_refuses_before_its_first_token() -> None:
    with pytest.raises(XNeMoError, match="emotion=joy"):
        stream(tiny_gpt(), tokens(3), Condition("joy"), FREE)


def test_a_gap_without_an_end_is_refused() -> None:
    with pytest.raises(XNeMoError, match="nothing is given after the gap"):
        infill(tiny_gpt(), tokens(3), tokens(0), HAPPY, 4, FREE)


def test_the_uniform_score_of_an_untrained_head_is_the_vocabulary() -> None:
    model = tiny_gpt()
    with torch.no_grad():
        model.transformer.wte.weight.zero_()
    scores = score(Decoder(model), tokens(10), HAPPY)
    torch.testing.assert_close(scores.nats, torch.full((10, 1), math.log(CODES)))
