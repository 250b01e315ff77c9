"""`xnemo prepare`: videos of talking heads -> face-centred squares with labels, clip after clip, on many processes.

Workers (`animator.training.clip_job`) make of each clip a part (`animator.training.parts`) or a reason why it is no
good; this process writes both. Interrupted, it goes on with the clips that have neither. Whoever works, the processes
of this machine or a Ray cluster, the files are the same.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from tqdm import tqdm

from animator.errors import XNeMoError
from animator.extraction.local import OnePiece, count_workers, run_local
from animator.extraction.on_ray import run_ray
from animator.files import sha256_of
from animator.training.clip_job import ClipJob
from animator.training.clip_table import write_table
from animator.training.config import PrepareConfig
from animator.training.layouts import Found, find_clips
from animator.training.parts import (
    ClipPart,
    Rejection,
    assemble,
    outcome_of,
    rejections,
    save_part,
    save_rejection,
)
from animator.training.picture_folder import sha256_of_clip
from animator.training.sources import Source


@dataclass(frozen=True)
class Prepared:
    """What a call of `prepare_crops` leaves behind.

    Attributes:
        folder: the crops folder.
        clips, frames: how many are in it, those of earlier calls included.
        rejected: file and reason of each clip of this call that a filter rejected, now or before.
        reasons: how many each filter rejected.
        failed: file and reason of each clip that could not be read; the next call tries it again.
        missing: what the layouts of the folders let one expect and is not there.
        ignored: what is there and means nothing.
    """

    folder: Path
    clips: int
    frames: int
    rejected: dict[str, str]
    reasons: dict[str, int]
    failed: dict[str, str]
    missing: tuple[str, ...]
    ignored: tuple[str, ...]


def prepare_crops(sources: Sequence[Path], folder: Path, config: PrepareConfig) -> Prepared:
    """Prepare clips into a crops folder, beside those that it holds already.

    Args:
        sources: videos, folders of videos, manifests; none only puts the finished parts together, for which neither
            the videos nor the landmarker are needed.
        folder: the crops folder, see `animator.training.crops.FaceCrops`.
        config: settings.
    Raises:
        XNeMoError: a source or the landmarker is missing, the folder cannot be written, or not one clip is usable.
    """
    if config.image_size % 2:
        raise XNeMoError(f"image_size={config.image_size}: must be even, for the clips are stored as H.264")
    if config.face.preprocessing != "tracked":
        raise XNeMoError(f"face.preprocessing={config.face.preprocessing}: training clips are tracked; face=default")
    for source in sources:
        if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
            raise XNeMoError(f"{folder}: lies in {source}, whose videos are prepared; name a folder beside it")
    found = find_clips(sources, config.layout, config.cameras)
    rejected: dict[str, Rejection] = {}
    failed: dict[str, str] = {}
    if found.sources:
        _prepare(found, folder, _job(config), config, rejected, failed)
    if len(rejected) + len(failed) == len(found.sources) > 0:
        reasons = "; ".join([*failed.values(), *(clip.message for clip in rejected.values())])
        raise XNeMoError(f"none of the {len(found.sources)} clips could be prepared: {reasons}")
    infos = assemble(folder)
    write_table(folder, infos, rejections(folder))
    if config.autoencoder is not None:
        from animator.training.latent_cache import cache_latents  # diffusers takes long to import

        cache_latents(folder, Path(config.autoencoder), config.device, config.mixed_precision)
    return Prepared(
        folder,
        len(infos),
        sum(info.frames for info in infos),
        {path: clip.message for path, clip in rejected.items()},
        dict(sorted(Counter(clip.reason for clip in rejected.values()).items())),
        failed,
        found.missing,
        found.ignored,
    )


def _prepare(
    found: Found,
    folder: Path,
    job: ClipJob,
    config: PrepareConfig,
    rejected: dict[str, Rejection],
    failed: dict[str, str],
) -> None:
    """Prepare what is not there yet; notes what is rejected and what fails."""
    waiting: list[Source] = []
    with tqdm(total=len(found.sources), unit="clip", desc="preparing") as bar:
        for source in found.sources:
            try:
                there = outcome_of(folder, source.name)
                if there is None or there.made_from != job.made_from(source, sha256_of_clip(source.path)):
                    waiting.append(source)
                    continue
                if isinstance(there, Rejection):
                    rejected[str(source)] = there
            except XNeMoError as error:
                failed[str(source)] = _skipped(str(error))
            bar.update()
        if not waiting:
            return
        with closing(_results(waiting, job, config)) as results:
            for source, made in results:
                if isinstance(made, ClipPart):
                    save_part(folder, made)
                elif isinstance(made, Rejection):
                    save_rejection(folder, made)
                    rejected[str(source)] = made
                    _skipped(f"{made.message} ({made.reason})")
                else:
                    failed[str(source)] = _skipped(str(made))
                bar.update()


def _skipped(why: str) -> str:
    tqdm.write(f"skipped: {why}", file=sys.stderr)
    return why


def _results(
    sources: Sequence[Source], job: ClipJob, config: PrepareConfig
) -> Generator[tuple[Source, ClipPart | Rejection | XNeMoError], None, None]:
    engine = config.engine
    if engine.kind == "ray":
        yield from run_ray(sources, job, engine)
    elif min(len(sources), count_workers(engine.workers)) == 1:
        yield from _one_by_one(sources, job)
    else:
        yield from run_local(sources, job, OnePiece, engine.workers)


def _one_by_one(sources: Sequence[Source], job: ClipJob) -> Iterator[tuple[Source, ClipPart | Rejection | XNeMoError]]:
    """Prepare clips in this process."""
    prepare = job.start()
    for source in sources:
        try:
            (made,) = prepare(source)
        except XNeMoError as error:
            yield source, error
        else:
            yield source, made


def _job(config: PrepareConfig) -> ClipJob:
    face = config.face
    about: dict[str, Any] = {
        "face": vars(face),
        "filters": asdict(config.filters),
        # The videos must be there, but the landmarker is looked for only where clips wait; its absence is said there.
        "landmarker": sha256_of(config.landmarker) if config.landmarker and Path(config.landmarker).is_file() else None,
    }
    about |= {name: getattr(config, name) for name in ("image_size", "stride", "max_frames", "crf", "pictures_fps")}
    return ClipJob(
        landmarker=None if config.landmarker is None else Path(config.landmarker),
        select=face.select,
        min_score=face.min_score,
        max_gap=face.max_gap,
        reader=cast(Literal["auto", "decord", "pyav"], config.reader),
        image_size=config.image_size,
        stride=config.stride,
        max_frames=config.max_frames,
        crf=config.crf,
        pictures_fps=config.pictures_fps,
        filters=config.filters,
        settings=json.dumps(about, sort_keys=True),
    )
