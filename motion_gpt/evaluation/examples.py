"""Examples to look at: what was generated, drawn on a portrait by the GAN preview head."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from animator.builders import load_pipeline
from animator.errors import XNeMoError
from animator.pipeline import XNeMoPipeline
from animator.portrait import PortraitPictures, portrait_pictures
from animator.provenance.marks import Marks, identity_of
from animator.video import VideoWriter
from animator.visuals import Row, contact_sheet, side_by_side
from motion_gpt.evaluation.cases import as_clip, evenly
from motion_gpt.evaluation.config import EvaluateGenerationConfig
from motion_gpt.evaluation.continuations import GENERATOR, REAL
from motion_gpt.evaluation.emotion import generate_asked
from motion_gpt.evaluation.protocol import Evaluation
from motion_gpt.vocabulary import EMOTIONS, INTENSITIES

Frames = NDArray[np.uint8]

_COLUMNS = 8
_SIDE = 160
_QUALITY = 85  # of the JPEGs


@dataclass(frozen=True)
class Example:
    """Something to show.

    Attributes:
        title: what it is.
        sheet: a JPEG.
        video: an mp4; None where there is none.
    """

    title: str
    sheet: bytes
    video: bytes | None = None


@dataclass(frozen=True, eq=False)
class Stage:
    """A portrait and what draws it."""

    pipeline: XNeMoPipeline
    pictures: PortraitPictures
    marks: Marks

    @staticmethod
    def set_up(config: EvaluateGenerationConfig, portrait: str, encoder_id: str) -> Stage:
        """Load the animator and read the portrait.

        Raises:
            XNeMoError: weights without a GAN head, or of another encoder than the motion's; no face in the portrait;
                a certificate for the marks that cannot be used.
        """
        identity_of(config.marks)
        pipeline = load_pipeline(config)
        pipeline.set_progress_bar_config(disable=True)
        if pipeline.gan_head is None:
            raise XNeMoError(
                "examples: these weights have no GAN head; name others with weights=, or take examples.clips=0"
            )
        if pipeline.encoder_id != encoder_id:
            raise XNeMoError(
                f"examples: the dataset is of motion encoder {encoder_id}, the animator's weights have "
                f"{pipeline.encoder_id}; name weights= that belong to it, or take examples.clips=0"
            )
        side = pipeline.config.image_size
        face = pipeline.motion_encoder.config.image_size
        return Stage(
            pipeline,
            portrait_pictures(portrait, (side, side), face),
            Marks("evaluate", (("portrait", portrait),), config.marks),
        )

    def draw(self, features: Tensor, fps: float) -> Frames:
        """Pictures of motion features (T, 515), (T, side, side, 3)."""
        motion = as_clip(features, fps, self.pipeline.encoder_id)
        return np.concatenate(list(self.pipeline.stream_preview(self.pictures, motion)))


def draw_examples(config: EvaluateGenerationConfig, evaluation: Evaluation, stage: Stage) -> list[Example]:
    """Draw real and generated continuations beside each other, and every emotion once."""
    examples = []
    fps = evaluation.subject.tokenizer.fps
    shown = evenly(len(evaluation.cases), config.examples.clips)
    for count, number in enumerate(shown):
        case = evaluation.cases[number]
        parts = {name: evaluation.continued[name][number, 0] for name in (REAL, GENERATOR)}
        rows = []
        for name, frames in parts.items():
            chosen = torch.cat([case.prefix[-1:], frames[_spread(len(frames), _COLUMNS - 1)]])
            label = f"{name}: the last given frame, then {len(frames) / fps:.1f} s"
            rows.append(Row(label, list(stage.draw(chosen, fps))))
        video = _video(stage, case.prefix, parts, fps) if count < config.examples.videos else None
        examples.append(Example(case.name, _jpeg(contact_sheet(rows, _SIDE)), video))
    if config.emotion.clips:
        sheet = contact_sheet(_emotions(config, evaluation, stage), _SIDE)
        examples.append(Example("Every emotion, from nothing", _jpeg(sheet)))
    return examples


def _emotions(config: EvaluateGenerationConfig, evaluation: Evaluation, stage: Stage) -> list[Row]:
    """The first clip of each emotion at its highest level."""
    subject = evaluation.subject
    asked = generate_asked(config, subject.decoder, subject.tokenizer, clips=1)
    rows = []
    for number, emotion in enumerate(EMOTIONS):
        level = INTENSITIES[0] if emotion == "neutral" else INTENSITIES[-1]
        (place,) = ((asked.classes == number) & (asked.levels == level)).nonzero()[0].tolist()
        frames = asked.clips[place]
        pictures = stage.draw(frames[_spread(len(frames), _COLUMNS)], subject.tokenizer.fps)
        rows.append(Row(f"{emotion} {level}", list(pictures)))
    return rows


def _spread(frames: int, wanted: int) -> list[int]:
    """Frames evenly spaced, the last one with them."""
    return torch.linspace(frames / wanted - 1, frames - 1, wanted).round().long().clamp(min=0).tolist()


def _video(stage: Stage, prefix: Tensor, parts: dict[str, Tensor], fps: float) -> bytes:
    """Real and generated beside each other: the prefix, and how it goes on."""
    given = stage.draw(prefix, fps)
    drawn = {name: np.concatenate([given, stage.draw(frames, fps)]) for name, frames in parts.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "example.mp4"
        with VideoWriter(path, fps, crf=26, marks=stage.marks) as writer:
            for number in range(len(next(iter(drawn.values())))):
                mark = "given" if number < len(given) else ""
                tiles = [(f"{name} {mark}".strip(), frames[number]) for name, frames in drawn.items()]
                writer.write(side_by_side(tiles, drawn[REAL].shape[1]))
        return path.read_bytes()


def _jpeg(picture: Frames) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
