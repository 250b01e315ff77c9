"""Does f_mot hold the motion and not the person? Asked on synthetic heads, where both are known.

Every head shows the same `motions` (for the ordering of distances and the reading of identity) and `own` ones that no
other head shows (for the probes). A quarter of the heads is kept from the probes and asked about: neither head nor
motion was seen before. Beside f_mot stands a yardstick: the same questions asked of the 16 x 16 grey pixels of the very
crop that the encoder sees.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from animator.builders import load_pipeline
from animator.conditions import encode_faces
from animator.errors import XNeMoError
from animator.evaluation.config import LatentConfig
from animator.evaluation.head_model import HeadModel
from animator.evaluation.networks import NetworkFile
from animator.evaluation.probes import fit_linear, ordering, r_squared, read_out
from animator.evaluation.processes import ending, processes
from animator.evaluation.records import plain
from animator.evaluation.running import worker_count
from animator.evaluation.synthetic import draw, names, random_head, random_motion
from animator.face import FaceDetector, crop_face, face_box_square, select_face
from animator.files import atomic_path
from animator.image import resize, write_image
from animator.pipeline import XNeMoPipeline
from animator.visuals import Row, contact_sheet

VERSION = 1  # of heads, motions and shader: raise it when they change, and everything is drawn again
PIXELS = 16  # side of the yardstick's pictures
SHEET_NAME = "synthetic_heads.jpg"
SHEET = 8  # heads and motions on the contact sheet

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    """Everything that one synthetic head shows.

    Attributes:
        crops: what the encoder sees of the frames in which a face was found, (n, S, S, 3).
        shown: number of the motion of each, (n,); the shared ones come first, from 0.
        values: the true motions, (n, 29), see `synthetic.names`.
        frames: number of frames that were drawn.
        examples: the first few frames, small.
    """

    crops: NDArray[np.uint8]
    shown: NDArray[np.int64]
    values: Array
    frames: int
    examples: NDArray[np.uint8]


def evaluate_latent(config: LatentConfig, model: NetworkFile, output: Path) -> dict[str, Any]:
    """Draw the heads, encode them and ask.

    Args:
        config: the settings.
        model: the parametric head.
        output: folder of the evaluation; crops go to its subfolder `records`, a contact sheet beside the report.
    Returns:
        Plain objects: `ordering` and `identity` of f_mot and of the yardstick, `probes` with R2 of each coefficient.
    Raises:
        XNeMoError: the model cannot be read, hardly any face is found in the pictures, or the weights have no latent.
    """
    pipeline = load_pipeline(config)
    if pipeline.motion_encoder is None:
        raise XNeMoError("these weights are driven by pictures and have no motion latent to ask")
    side = pipeline.motion_encoder.config.image_size
    folder = output / "records"
    folder.mkdir(parents=True, exist_ok=True)
    render = partial(head_batch, config, model, side, folder)
    left = sum(not _path(config, model, side, folder, number).is_file() for number in range(config.heads))
    batches = list(tqdm(_batches(render, config, left), total=config.heads, desc="synthetic heads", unit="head"))
    sheet = [Row(f"head {n}", list(batch.examples)) for n, batch in enumerate(batches[:SHEET])]
    write_image(output / SHEET_NAME, contact_sheet(sheet, side=96))
    crops = np.concatenate([batch.crops for batch in batches])
    heads = np.concatenate([np.full(len(batch.shown), n) for n, batch in enumerate(batches)])
    shown = np.concatenate([batch.shown for batch in batches])
    values = np.concatenate([batch.values for batch in batches])
    frames = sum(batch.frames for batch in batches)
    if len(crops) < frames / 2:
        raise XNeMoError(f"a face was found in only {len(crops)} of {frames} synthetic pictures; try a larger side=")
    spaces = {"f_mot": encode(pipeline, crops), f"{PIXELS} x {PIXELS} grey pixels": grey(crops)}
    answers = {name: ask(space, heads, shown, values, config) for name, space in spaces.items()}
    return plain(
        {
            "heads": config.heads,
            "motions": config.motions,
            "own_motions": config.own,
            "frames": frames,
            "frames_without_face": frames - len(crops),
            "ordering": [{"representation": name} | answer["ordering"] for name, answer in answers.items()],
            "identity": [{"representation": name} | answer["identity"] for name, answer in answers.items()],
            "probes": [
                {"coefficient": coefficient} | {name: answers[name]["probes"][n] for name in spaces}
                for n, coefficient in enumerate([*names(), "mean of expressions", "mean of angles"])
            ],
        }
    )


def head_batch(config: LatentConfig, model: NetworkFile, side: int, folder: Path, number: int) -> Batch:
    """Draw one head in all its motions, find its face, crop it; or read that, if it was done before.

    Args:
        config: the settings.
        model: the parametric head.
        side: of the encoder's input.
        folder: where the crops are kept.
        number: of the head.
    """
    path = _path(config, model, side, folder, number)
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as found:
                return Batch(
                    **{name: found[name] for name in ("crops", "shown", "values", "examples")},
                    frames=int(found["frames"]),
                )
        except (OSError, ValueError, KeyError):
            path.unlink()
    heads = HeadModel(model.path)
    head = random_head(heads, np.random.default_rng((config.seed, 1, number)), config.identity_spread)
    shared = np.random.default_rng((config.seed, 2))
    own = np.random.default_rng((config.seed, 3, number))
    motions = [random_motion(shared) for _ in range(config.motions)] + [random_motion(own) for _ in range(config.own)]
    crops, shown, examples = [], [], []
    with FaceDetector() as detector:
        for n, motion in enumerate(motions):
            picture = draw(heads, head, motion, config.side)
            if n < SHEET:
                examples.append(resize(picture, (96, 96)))
            faces = detector.detect(picture)
            if faces:
                box = face_box_square(select_face(faces, "largest").box, config.side, config.side)
                crops.append(crop_face(picture, box, side))
                shown.append(n)
    batch = Batch(
        np.array(crops, np.uint8).reshape(-1, side, side, 3),
        np.array(shown, np.int64),
        np.array([motions[n].values() for n in shown]).reshape(-1, len(names())),
        len(motions),
        np.stack(examples),
    )
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **vars(batch))
    return batch


def ask(
    x: Array, heads: NDArray[np.int64], shown: NDArray[np.int64], values: Array, config: LatentConfig
) -> dict[str, Any]:
    """All questions to one representation (n, D)."""
    shared = shown < config.motions
    kept = heads >= config.heads - max(1, config.heads // 4)
    train, asked = ~kept & ~shared, kept & ~shared
    r2 = r_squared(fit_linear(x[train], values[train], heads[train])(x[asked]), values[asked])
    half = shown < config.motions // 2
    known = read_out(x[shared], heads[shared], half[shared])
    return {
        "ordering": asdict(ordering(x[shared], heads[shared], shown[shared]))
        | {"nearest_by_chance": 1 / config.motions},
        "identity": {"named": known, "by_chance": 1 / config.heads},
        "probes": [*map(float, r2), float(np.nanmean(r2[:-3])), float(np.nanmean(r2[-3:]))],
    }


def encode(pipeline: XNeMoPipeline, crops: NDArray[np.uint8]) -> Array:
    """f_mot of face crops, (n, 512)."""
    with torch.no_grad():
        latents = [
            encode_faces(pipeline.motion_encoder, crops[start : start + 32], pipeline.execution_device)
            for start in range(0, len(crops), 32)
        ]
    return torch.cat(latents).double().cpu().numpy()


def grey(crops: NDArray[np.uint8]) -> Array:
    """The yardstick: what a few pixels of the same crops say, (n, 256)."""
    small = np.stack([resize(crop, (PIXELS, PIXELS), "area") for crop in crops])
    return small.mean(axis=3).reshape(len(crops), -1) / 255


def _batches(render: partial[Batch], config: LatentConfig, left: int) -> Iterator[Batch]:
    """All heads in order, of which so many are not drawn yet."""
    workers = min(worker_count(config), left)
    if workers <= 1:
        yield from map(render, range(config.heads))
        return
    with processes(workers, multiprocessing.get_context("spawn")) as executor:
        yield from executor.map(ending(render), range(config.heads))


def _path(config: LatentConfig, model: NetworkFile, side: int, folder: Path, number: int) -> Path:
    """The file of a head's crops, named after all that they depend on."""
    chosen = {name: getattr(config, name) for name in ("seed", "motions", "own", "side", "identity_spread")}
    text = json.dumps(chosen | {"model": model.sha256, "crop": side, "version": VERSION}, sort_keys=True)
    return folder / f"head_{number}_{hashlib.sha256(text.encode()).hexdigest()[:12]}.npz"
