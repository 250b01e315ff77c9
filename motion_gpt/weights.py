"""Folders of trained generators: the network, and the record of its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from animator.errors import XNeMoError
from animator.files import replaced_folder
from motion_gpt.models.motion_gpt import MotionGpt
from motion_tokenizer.tokenizer import MotionTokenizer

DEFAULT_GPT = Path(__file__).resolve().parent / "pretrained" / "lite"
RECORD = "training.json"


def load_gpt(folder: str | Path | None = None, tokenizer: MotionTokenizer | None = None) -> MotionGpt:
    """Load what `save_gpt` wrote, in evaluation mode, float32, on the CPU.

    Args:
        folder: where; None is the packaged generator, size lite.
        tokenizer: if given, the tokenizer that it must speak.
    Raises:
        XNeMoError: no generator there, one that is damaged, or one that speaks another tokenizer's tokens.
    """
    path = find_gpt(folder)
    try:
        model, report = MotionGpt.from_pretrained(
            path, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        wrong: dict[str, Any] = {kind: report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")}
        for kind, names in wrong.items():
            if names:
                raise ValueError(f"{kind.replace('_', ' ')}: {', '.join(map(str, names[:3]))}")
    except (OSError, ValueError, RuntimeError, TypeError, AttributeError, ArithmeticError, SafetensorError) as error:
        # diffusers and safetensors report damage by all of these.
        raise XNeMoError(f"{path}: this generator cannot be loaded: {str(error)[:300]}") from error
    if tokenizer is not None and model.config.tokenizer_id != tokenizer.id:
        raise XNeMoError(
            f"{path}: speaks tokens of tokenizer {model.config.tokenizer_id or '(none)'}, but the one in use is "
            f"{tokenizer.id}; name the tokenizer that it was trained with, tokenizer_weights=FOLDER"
        )
    return model.float().eval()


def save_gpt(model: MotionGpt, folder: str | Path, record: str | None = None) -> Path:
    """Write a folder for `load_gpt`; a generator that is there is replaced, when the new one is whole.

    Args:
        model: the generator.
        folder: where.
        record: content of `training.json`; None for none.
    Raises:
        XNeMoError: the folder holds something else, or cannot be written.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not is_gpt(target))):
        raise XNeMoError(f"{target}: holds something that is no generator; name a new folder")
    with replaced_folder(target) as temporary:
        model.save_pretrained(temporary)
        if record is not None:
            (temporary / RECORD).write_text(record, encoding="utf-8")
    return target


def find_gpt(folder: str | Path | None) -> Path:
    """Locate a folder with a generator; None is the packaged one.

    Raises:
        XNeMoError: there is no such folder, or it holds no generator.
    """
    path = DEFAULT_GPT if folder is None else Path(folder).expanduser()
    if not is_gpt(path):
        what = "the packaged generator is missing" if folder is None else "no generator here"
        raise XNeMoError(
            f"{path}: {what} (config.json of a MotionGpt not found); name a folder with gpt_weights=FOLDER"
        )
    return path


def is_gpt(folder: Path) -> bool:
    """Whether a folder looks like one that `save_gpt` wrote."""
    path = folder / MotionGpt.config_name
    try:
        return f'"{MotionGpt.__name__}"' in path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
