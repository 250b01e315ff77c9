"""How a run does on people it does not train on: bits a token, beside models that only count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from animator.training.clock import ERROR
from animator.training.state import TrainingState
from motion_gpt.decoder import Decoder
from motion_gpt.models.motion_gpt import MotionGpt
from motion_gpt.ngrams import fit_token_models
from motion_gpt.scoring import score
from motion_gpt.training.clips import LabelledClips, tokens_of
from motion_gpt.vocabulary import Condition
from motion_tokenizer.tokenizer import MotionTokenizer


@dataclass(frozen=True, eq=False)
class ClipTokens:
    """Tokens of clips, each (n, levels), what they express and who is in them."""

    tokens: tuple[Tensor, ...]
    conditions: tuple[Condition, ...]
    identities: tuple[str, ...]

    @staticmethod
    def of(clips: LabelledClips, tokenizer: MotionTokenizer, cuts: Sequence[int] = (0,)) -> ClipTokens:
        """Tokenise clips, each as often as there are cuts: frames left out at the end, for another grid of tokens."""
        numbers = [number for _ in cuts for number in range(len(clips))]
        cut_clips = [clip[: len(clip) - cut] for cut in cuts for clip in clips.clips.clips()]
        tokens = tokens_of(cut_clips, tokenizer)
        return ClipTokens(
            tuple(tokens),
            tuple(clips.conditions[number] for number in numbers),
            tuple(clips.clips.identities[number] for number in numbers),
        )


def counting_cuts(tokenizer: MotionTokenizer) -> tuple[int, int]:
    """Where the grid of tokens lies for the models that count: as it is, and half a token earlier."""
    return 0, tokenizer.frames_per_token // 2


class Validator:
    """Scores weights on whole clips.

    Args:
        held_out: the validation split.
        trained: the training split; as many clips as are held out are scored, evenly spaced. All of it, with the grid
            of tokens in two places, is what the counting models count.
        tokenizer: makes the tokens.
    """

    def __init__(self, held_out: LabelledClips, trained: LabelledClips, tokenizer: MotionTokenizer) -> None:
        self.held_out = ClipTokens.of(held_out, tokenizer)
        every = ClipTokens.of(trained, tokenizer, counting_cuts(tokenizer))
        wanted = torch.linspace(0, len(trained) - 1, min(len(trained), len(held_out))).long().tolist()
        self.trained = ClipTokens(
            tuple(every.tokens[n] for n in wanted), tuple(every.conditions[n] for n in wanted), ()
        )
        models = fit_token_models(every.tokens, every.identities, tokenizer.codes)
        self.counted = {f"{name}_bits": model.bits(self.held_out.tokens) for name, model in models.items()}

    def run(self, model: MotionGpt, state: TrainingState, writer: SummaryWriter) -> dict[str, float]:
        """Figures of this moment.

        Args:
            model: with the weights that are to be scored, in evaluation mode.
            state: of the run.
            writer: gets all figures.
        Returns:
            error: bits a token of the held-out clips, each under its own label; null_bits: of the same without labels;
            labelled_bits, labelled_null_bits: the two of clips with an emotion alone, where there are any; train_bits:
            of training clips as they are; unigram_bits, bigram_bits, copy_last_bits: of the held-out clips by models
            that count (`motion_gpt.ngrams`).
        """
        decoder = Decoder(model)
        labelled = [condition.emotion is not None for condition in self.held_out.conditions]
        own = _nats(decoder, self.held_out.tokens, self.held_out.conditions)
        null = _nats(decoder, self.held_out.tokens, [Condition()] * len(self.held_out.tokens), own, labelled)
        figures = {ERROR: _bits(own), "null_bits": _bits(null)}
        if any(labelled):
            figures["labelled_bits"] = _bits([nats for nats, marked in zip(own, labelled, strict=True) if marked])
            figures["labelled_null_bits"] = _bits([nats for nats, marked in zip(null, labelled, strict=True) if marked])
        figures["train_bits"] = _bits(_nats(decoder, self.trained.tokens, self.trained.conditions))
        figures |= self.counted
        for name, value in figures.items():
            writer.add_scalar(f"validation/{name}", value, state.step)
        return {"step": float(state.step), "minutes": state.seconds / 60} | figures


def held_out_bits(decoder: Decoder, clips: ClipTokens) -> float:
    """Bits a token of clips, each under its own label."""
    return _bits(_nats(decoder, clips.tokens, clips.conditions))


def _nats(
    decoder: Decoder,
    clips: Sequence[Tensor],
    conditions: Sequence[Condition],
    known: Sequence[Tensor] | None = None,
    wanted: Sequence[bool] | None = None,
) -> list[Tensor]:
    """Nats of every token of each clip; of clips that are not wanted, those that are known already."""
    return [
        known[n] if known is not None and wanted is not None and not wanted[n] else score(decoder, clip, condition).nats
        for n, (clip, condition) in enumerate(zip(clips, conditions, strict=True))
    ]


def _bits(nats: Sequence[Tensor]) -> float:
    return float(torch.cat([each.cpu().double() for each in nats]).mean()) / math.log(2)
