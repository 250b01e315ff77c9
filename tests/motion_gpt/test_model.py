"""The network: its sizes, its file, and clips that share a sequence without seeing each other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from animator.config_loader import group_options
from animator.errors import XNeMoError
from motion_gpt.config import gpt_config
from motion_gpt.models.motion_gpt import MotionGpt, clip_positions
from motion_gpt.vocabulary import Condition
from tests.motion_gpt.tiny import CODES, sequence, tiny_gpt, tokens


def test_sizes_are_files() -> None:
    assert group_options("gpt") == ["gpt2-small", "lite", "tiny"]
    paper = gpt_config("gpt2-small")
    assert (paper.layers, paper.width, paper.heads, paper.context) == (12, 768, 12, 1024)


def test_the_papers_size_has_89_million_parameters() -> None:
    with torch.device("meta"):
        model = MotionGpt()
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == 89


@pytest.mark.parametrize("levels", [1, 3])
def test_packed_clips_are_predicted_as_if_alone(levels: int) -> None:
    model = tiny_gpt(levels)
    words = model.vocabulary
    clips = [
        sequence(model, Condition("happy", 3), words.to_ids(tokens(9, levels, seed=1)))[0],
        sequence(model, Condition(), words.to_ids(tokens(4, levels, seed=2)))[0],
        sequence(model, Condition("neutral", 1), words.to_ids(tokens(6, levels, seed=3)))[0],
    ]
    numbers = torch.cat([torch.full((len(clip),), number) for number, clip in enumerate(clips)])
    with torch.no_grad():
        packed = model(torch.cat(clips)[None], numbers[None])[0]
        alone = torch.cat([model(clip[None])[0] for clip in clips])
    assert packed.shape == (len(numbers), levels, CODES + 1)
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)


def test_the_rows_of_a_batch_may_be_packed_differently() -> None:
    clips = torch.tensor([[0, 0, 0, 1, 1, 2], [5, 5, 7, 7, 7, 7]])
    assert clip_positions(clips).tolist() == [[0, 1, 2, 0, 1, 0], [0, 1, 0, 1, 2, 3]]


def test_the_last_class_is_the_end() -> None:
    model = tiny_gpt(levels=2)
    hidden = torch.randn(5, model.config.width)
    logits = model.head(hidden)
    table = model.transformer.wte.weight
    torch.testing.assert_close(logits[:, 1, :CODES], hidden @ table[CODES : 2 * CODES].T)
    torch.testing.assert_close(logits[:, :, CODES], (hidden @ table[model.vocabulary.eos])[:, None].expand(-1, 2))


def test_a_sequence_beyond_the_context_is_refused() -> None:
    model = tiny_gpt()
    with pytest.raises(ValueError, match="33 rows, but the model was made for 32"):
        model(torch.zeros(1, 33, 1, dtype=torch.long))


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    model = tiny_gpt(levels=2)
    model.save_pretrained(tmp_path)
    loaded = MotionGpt.from_pretrained(tmp_path).eval()
    assert (loaded.config.tokenizer_id, loaded.vocabulary) == ("tokenizer-a", model.vocabulary)
    ids = sequence(model, Condition("sad", 2), model.vocabulary.to_ids(tokens(8, 2)))
    with torch.no_grad():
        assert torch.equal(loaded(ids), model(ids))
    # The head is the embedding: it is in the file once.
    stored = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    assert sum(model.vocabulary.size in tensor.shape for tensor in stored.values()) == 1


def test_tokens_of_another_tokenizer_are_refused() -> None:
    model = tiny_gpt()
    model.check_tokenizer("tokenizer-a", "clip.tokens.json")
    with pytest.raises(XNeMoError, match=r"clip.tokens.json: tokens of tokenizer tokenizer-b.*tokenizer-a"):
        model.check_tokenizer("tokenizer-b", "clip.tokens.json")
