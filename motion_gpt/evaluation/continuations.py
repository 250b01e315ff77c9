"""Prefixes continued in every way that is compared: really, through the tokenizer, by the generator, by baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import tqdm

from animator.dataset import MotionDataset
from animator.motion_clip import MotionClip
from motion_gpt.continuation import Continuation, derived_seed, read_prefix
from motion_gpt.decoder import Decoder
from motion_gpt.evaluation.baselines import (
    Baseline,
    CountedTokens,
    LinearAutoregression,
    NearestClip,
    PingPong,
    RepeatLast,
)
from motion_gpt.evaluation.cases import Case, as_clip
from motion_gpt.evaluation.config import EvaluateGenerationConfig
from motion_gpt.evaluation.features import MotionSpace
from motion_gpt.models.motion_gpt import MotionGpt
from motion_gpt.ngrams import TokenModel, fit_token_models
from motion_gpt.outpainting import continue_motion
from motion_gpt.training.clips import LabelledClips, read_labelled_clips
from motion_gpt.training.validation import ClipTokens, counting_cuts
from motion_gpt.weights import load_gpt
from motion_tokenizer.features import FEATURES, from_features, to_features
from motion_tokenizer.tokenizer import MotionTokenizer

GENERATOR, REAL, RECONSTRUCTION = "generator", "real", "reconstruction"
_VAR_DIMENSIONS = 64


@dataclass(frozen=True, eq=False)
class Subject:
    """What is measured, and on what.

    Attributes:
        trained, held_out: both splits.
        tokenizer, model: the weights.
        decoder: the model, ready to sample.
        space: of the motion features.
        counted: token models that count, by name.
    """

    trained: LabelledClips
    held_out: LabelledClips
    tokenizer: MotionTokenizer
    model: MotionGpt
    decoder: Decoder
    space: MotionSpace
    counted: Mapping[str, TokenModel]

    @staticmethod
    def read(config: EvaluateGenerationConfig, dataset: MotionDataset) -> Subject:
        """Load weights and data.

        Raises:
            XNeMoError: they are not there, damaged, or do not go together.
        """
        tokenizer = MotionTokenizer.from_pretrained(config.tokenizer_weights)
        model = load_gpt(config.gpt_weights, tokenizer)
        trained = read_labelled_clips(dataset, "train", tokenizer)
        held_out = read_labelled_clips(dataset, "validation", tokenizer)
        every = ClipTokens.of(trained, tokenizer, counting_cuts(tokenizer))
        counted = fit_token_models(every.tokens, every.identities, tokenizer.codes)
        space = MotionSpace.fit(trained.clips.clips(), config.dimensions)
        return Subject(trained, held_out, tokenizer, model, Decoder(model), space, counted)

    def motion(self, features: Tensor) -> MotionClip:
        """Features (T, 515) as a clip."""
        return as_clip(features, self.tokenizer.fps, self.tokenizer.encoder_id)


def baselines_of(config: EvaluateGenerationConfig, subject: Subject) -> dict[str, Baseline]:
    """The simple ways to go on, by name."""
    clips = subject.trained.clips.clips()
    wide = MotionSpace.fit(clips, _VAR_DIMENSIONS, columns=slice(0, FEATURES))
    ways: list[Baseline] = [
        RepeatLast(),
        PingPong(),
        NearestClip(clips, wide, config.seam),
        LinearAutoregression(clips, wide),
    ]
    counted = {
        name: CountedTokens(subject.counted[name], subject.tokenizer, config.seam) for name in ("unigram", "bigram")
    }
    return {way.name: way for way in ways} | counted


def continue_all(
    config: EvaluateGenerationConfig,
    subject: Subject,
    cases: Sequence[Case],
    baselines: Mapping[str, Baseline],
    frames: int,
) -> dict[str, Tensor]:
    """Continue all prefixes.

    Returns:
        By method (cases, samples, frames, 515); one sample where nothing is drawn.
    """
    made = [
        _generated(config, subject, case, number, frames, config.samples)
        for number, case in enumerate(tqdm(cases, desc="continuing", unit="prefix"))
    ]
    done = {
        REAL: torch.stack([case.truth for case in cases])[:, None],
        RECONSTRUCTION: torch.stack([_reconstructed(config, subject, case) for case in cases])[:, None],
        GENERATOR: torch.stack(made),
    }
    for name, baseline in baselines.items():
        samples = config.samples if baseline.random else 1
        done[name] = torch.stack(
            [
                torch.stack([baseline.go_on(case.prefix, frames, _drawing(config, n, k)) for k in range(samples)])
                for n, case in enumerate(cases)
            ]
        )
    return done


def roll_out(
    config: EvaluateGenerationConfig,
    subject: Subject,
    cases: Sequence[Case],
    baselines: Mapping[str, Baseline],
    frames: int,
) -> dict[str, Tensor]:
    """Continue prefixes for a long time, once each; by method (cases, frames, 515).

    The nearest clip is left out, for hardly any clip goes on for so long.
    """
    made = [
        _generated(config, subject, case, number, frames, 1)[0]
        for number, case in enumerate(tqdm(cases, desc="rolling out", unit="clip"))
    ]
    done = {GENERATOR: torch.stack(made)}
    for name, baseline in baselines.items():
        if name != NearestClip.name:
            done[name] = torch.stack(
                [baseline.go_on(case.prefix, frames, _drawing(config, n, 0)) for n, case in enumerate(cases)]
            )
    return done


def _generated(
    config: EvaluateGenerationConfig, subject: Subject, case: Case, number: int, frames: int, samples: int
) -> Tensor:
    """Continuations by the generator, (samples, frames, 515)."""
    settings = replace(config.sampling, seed=derived_seed(config.seed, number))
    clips = continue_motion(
        subject.decoder,
        subject.tokenizer,
        subject.motion(case.prefix),
        frames,
        settings,
        candidates=samples,
        seam=config.seam,
    )
    return torch.stack([to_features(clip.latents, clip.boxes)[len(case.prefix) :] for clip in clips])


def _reconstructed(config: EvaluateGenerationConfig, subject: Subject, case: Case) -> Tensor:
    """The true continuation through the tokenizer, joined as a generated one is."""
    tokenizer = subject.tokenizer
    prefix = read_prefix(tokenizer, subject.motion(case.prefix))
    stride = tokenizer.frames_per_token
    stream = tokenizer.stream()
    stream.push_motion(*from_features(case.prefix[len(case.prefix) % stride :]))
    # The prefix has the tokens that it has by itself; a search that waits would change the last ones.
    stream.settle()
    truth = torch.cat([case.truth, case.truth[-1:].expand(-len(case.truth) % stride, -1)])
    tokens = torch.cat([stream.push_motion(*from_features(truth)), stream.last_tokens()])
    return Continuation(tokenizer, prefix, config.seam).push(tokens)[: len(case.truth)]


def _drawing(config: EvaluateGenerationConfig, case: int, sample: int) -> torch.Generator:
    """Random numbers of one continuation by a baseline."""
    return torch.Generator().manual_seed(derived_seed(derived_seed(config.seed, case + 1), sample + 1))
