"""Folders of trained tokenizers: networks, what they were trained for, and the record of the training.

`MotionTokenizer` reads them; this module also reads and writes those without a quantiser, which have no tokens.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from animator.dataset import MotionDataset
from animator.errors import XNeMoError
from animator.files import replaced_folder
from animator.training.clock import best_validation
from animator.training.state import TrainingState
from motion_tokenizer.models.vqvae import MotionVQVAE
from motion_tokenizer.tokenizer import ABOUT, SCHEMA, find_tokenizer
from motion_tokenizer.training.config import TrainTokenizerConfig

RECORD = "training.json"
WEIGHTS = "weights"  # folder of the finished weights, inside a run's output
# Settings that say where things were on the machine, and nothing about the weights.
_PLACES = ("dataset", "output", "start_from")


@dataclass(frozen=True, eq=False)
class TrainedNetworks:
    """What a folder of weights holds.

    Attributes:
        folder: where it is.
        model: the networks, in evaluation mode.
        encoder_id: motion encoder that they were trained for.
        fps: frames a second that they were trained at.
        record: of the training, as `training_record` makes it; empty if the folder has none.
    """

    folder: Path
    model: MotionVQVAE
    encoder_id: str
    fps: float
    record: dict[str, Any]


def load_networks(folder: str | Path | None) -> TrainedNetworks:
    """Read a folder of weights, whatever the quantiser; None is the packaged one.

    Raises:
        XNeMoError: nothing is there, or it cannot be read.
    """
    path = find_tokenizer(folder)
    try:
        about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
        model, report = MotionVQVAE.from_pretrained(path, local_files_only=True, output_loading_info=True)
        if report["missing_keys"] or report["unexpected_keys"]:
            raise ValueError("the weights do not fit the configuration")
        record = path / RECORD
        history = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
        return TrainedNetworks(path, model.eval(), about["encoder_id"], float(about["fps"]), history)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        raise XNeMoError(f"{path}: this tokenizer cannot be loaded: {str(error)[:300]}") from error


def start_from(model: MotionVQVAE, folder: Path, encoder_id: str) -> None:
    """Load trained weights, statistics included, into networks of the same architecture.

    Raises:
        XNeMoError: another architecture, or trained for another encoder.
    """
    trained = load_networks(folder)
    if trained.encoder_id != encoder_id:
        raise XNeMoError(
            f"{folder}: trained for motion encoder {trained.encoder_id}, but the dataset is of {encoder_id}; extract "
            "the dataset with that encoder, or start from fresh weights"
        )
    try:
        model.load_state_dict(trained.model.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise XNeMoError(
            f"{folder}: does not fit this architecture; choose tokenizer= as it was trained ({reason})"
        ) from error


def save_weights(
    model: MotionVQVAE, config: TrainTokenizerConfig, state: TrainingState, dataset: MotionDataset, folder: Path
) -> Path:
    """Write a folder that `tokenizer_weights=` takes; one that is there is replaced when the new one is whole.

    Raises:
        XNeMoError: it cannot be written.
    """
    about = {"schema": SCHEMA, "encoder_id": dataset.encoder_id, "fps": float(config.tokenizer.fps)}
    record = training_record(config, state, dataset)
    with replaced_folder(folder) as temporary:
        model.save_pretrained(temporary)
        for name, content in ((ABOUT, about), (RECORD, record)):
            (temporary / name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return folder


def training_record(config: TrainTokenizerConfig, state: TrainingState, dataset: MotionDataset) -> dict[str, Any]:
    """What is kept of a training: its settings, its data in numbers, and the figures of every validation."""
    settings = {name: value for name, value in asdict(config).items() if name not in _PLACES}
    return {
        "settings": settings,
        "data": data_report(dataset, config.tokenizer.fps, config.tokenizer.stride),
        "steps": state.step,
        "minutes": round(state.seconds / 60, 2),
        "best": best_validation(state),
        "history": state.history,
    }


def data_report(dataset: MotionDataset, fps: float, stride: int) -> dict[str, Any]:
    """How much data there is: by split clips, identities, frames, hours, and tokens (whole ones, at `fps`).

    Mirrored copies are counted apart, as they are no new data.
    """
    splits = {}
    for name, split in dataset.summary().items():
        tokens = int(split.frames * fps / dataset.fps) // stride
        splits[name] = asdict(split) | {"tokens": tokens}
    return splits
