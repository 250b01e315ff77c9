"""`xnemo extract FOLDER|MANIFEST -o DATASET`: the order of things.

A finished clip is kept as `DATASET/.parts/CLIP.parquet` until all are done; then the dataset is put together from the
parts and from what it held before. So a run that is killed goes on where it was, and ends with the very same files.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from tqdm import tqdm

from animator.audio import write_wav
from animator.config import ExtractConfig
from animator.dataset import MotionDataset, SplitSummary
from animator.dataset_format import AUDIO, MIRRORED, MotionRecord
from animator.errors import XNeMoError
from animator.extraction.encoding import ClipCollector, ClipEncoder, ClipMotion, EncodeJob, load_encoder
from animator.extraction.local import OnePiece, run_local
from animator.extraction.on_ray import run_ray
from animator.extraction.reading import SOUND_RATE, ReadJob, ReadSettings
from animator.extraction.sources import ClipSource, list_clips
from animator.extraction.target import Target

# Parameters. An encoder with fewer takes a processor about as long as reading a frame does: a worker that does both in
# turns keeps a core busy, where one encoder for all workers would let them wait.
SMALL = 20_000_000


@dataclass(frozen=True)
class Extraction:
    """What a call of `extract_dataset` leaves behind.

    Attributes:
        folder: the dataset.
        splits: how much is in it, earlier calls included.
        extracted: number of clips that this call read.
        failed: file and reason of each clip that was skipped.
    """

    folder: Path
    splits: dict[str, SplitSummary]
    extracted: int
    failed: dict[str, str]


def extract_dataset(source: Path, folder: Path, config: ExtractConfig) -> Extraction:
    """Extract the clips of a folder or manifest into a dataset, beside those that it holds already.

    Clips that the dataset holds, of the same bytes and settings, are not read again; their labels and splits are
    brought up to date.

    Args:
        source: a folder of videos or a manifest, see `animator.extraction.sources.list_clips`.
        folder: the dataset.
        config: settings.
    Raises:
        XNeMoError: the source makes no sense, the folder holds something else or latents of another encoder or frame
            rate, it cannot be written, or not one clip could be extracted.
    """
    clips = list_clips(source)
    encoder = load_encoder(config)
    target = Target(folder, encoder.encoder_id, config)
    splits = target.splits(clips, config)
    failed: dict[str, str] = {}
    with target.opened():
        waiting = {clip.path.absolute(): clip for clip in clips if not target.holds(clip)}
        with (
            closing(_results(list(waiting), config, encoder)) as results,
            _Bar(len(clips), len(waiting)) as bar,
        ):
            for path, result in results:
                clip = waiting[path]
                if isinstance(result, XNeMoError):
                    failed[str(clip.path)] = str(result)
                    bar.skipped(result)
                else:
                    target.keep(_records(clip, splits, result, target))
                    bar.done(result.frames)
        if len(failed) == len(clips):
            raise XNeMoError(f"none of the {len(clips)} clips could be extracted: {'; '.join(failed.values())}")
        target.put_together(clips, splits)
    return Extraction(folder, MotionDataset.open(folder).summary(), len(waiting) - len(failed), failed)


def _results(
    paths: Sequence[Path], config: ExtractConfig, encoder: ClipEncoder
) -> Generator[tuple[Path, ClipMotion | XNeMoError], None, None]:
    settings = ReadSettings(
        select=config.face.select,
        min_score=config.face.min_score,
        max_gap=config.face.max_gap,
        preprocessing=config.face.preprocessing,
        reader=cast(Literal["auto", "decord", "pyav"], config.reader),
        side=encoder.encoder.config.image_size,
        audio=config.audio,
    )
    if not paths:
        return
    if config.engine.kind == "ray":
        yield from run_ray(paths, EncodeJob(config, settings), config.engine)
    elif encoder.device.type == "cpu" and encoder.encoder.num_parameters() < SMALL:
        yield from run_local(paths, EncodeJob(config, settings, threads=1), OnePiece, config.engine.workers)
    else:
        yield from run_local(paths, ReadJob(settings), lambda path: ClipCollector(path, encoder), config.engine.workers)


def _records(clip: ClipSource, splits: Mapping[str, str], result: ClipMotion, target: Target) -> list[MotionRecord]:
    """The rows of one clip; its sound is written on the way."""
    sound = None
    if result.sound is not None:
        sound = target.folder / AUDIO / f"{clip.clip_id}.wav"
        write_wav(sound, result.sound, SOUND_RATE)
    record = MotionRecord(
        clip.clip_id,
        clip.identity,
        clip.emotion,
        clip.intensity,
        splits[clip.identity],
        sound,
        result.motion,
        settings=target.settings,
    )
    if result.mirrored is None:
        return [record]
    return [record, replace(record, clip_id=clip.clip_id + MIRRORED, motion=result.mirrored, mirrored=True)]


class _Bar(tqdm):  # type: ignore[type-arg]
    """Progress in clips, with the frames a second beside it."""

    def __init__(self, clips: int, waiting: int) -> None:
        super().__init__(total=clips, initial=clips - waiting, unit="clip", desc="extracting")
        self.begun = time.monotonic()
        self.frames = 0

    def done(self, frames: int) -> None:
        """One more clip."""
        self.frames += frames
        self.set_postfix_str(f"{self.frames / (time.monotonic() - self.begun):.0f} frames/s", refresh=False)
        self.update()

    def skipped(self, error: XNeMoError) -> None:
        """A clip that could not be extracted."""
        self.write(f"skipped: {error}", file=sys.stderr)
        self.update()
