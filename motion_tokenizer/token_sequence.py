"""TokenSequence: the tokens of one clip, with what is needed to turn them back into motion."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from animator.errors import XNeMoError
from animator.files import atomic_path

SCHEMA = 1
SUFFIX = ".tokens.json"


@dataclass(frozen=True, eq=False)
class TokenSequence:
    """The tokens of n >= 1 steps of time, and where they come from.

    The end of the clip is on the grid of tokens: n tokens of s frames decode to n * s frames, of which the first
    n * s - frames are padding and are dropped, so that what continues a clip begins with a token of its own.

    Attributes:
        tokens: (n, levels), int64 on the CPU, 0 or above.
        frames: frames of the clip, (n - 1) * s < frames <= n * s.
        fps: frames a second of the clip that the tokens decode to, above 0.
        tokenizer_id: id of the tokenizer that made them; tokens mean nothing to another one.
        encoder_id: id of the motion encoder that the tokenizer was trained for.
        source, source_sha256, crop, seed: as of `MotionClip`.
        t0: for generated tokens the first frame that was not given; None if all frames were observed.

    Raises:
        ValueError: the values break the promises above.
    """

    tokens: Tensor
    frames: int
    fps: float
    tokenizer_id: str
    encoder_id: str
    source: str = ""
    source_sha256: str = ""
    crop: tuple[int, int, int, int] | None = None
    t0: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.tokens.ndim != 2 or 0 in self.tokens.shape:
            raise ValueError(f"tokens must be (steps, levels), at least one of each, not {tuple(self.tokens.shape)}")
        if self.tokens.dtype != torch.int64 or self.tokens.device.type != "cpu":
            raise ValueError(f"tokens must be int64 on the CPU, not {self.tokens.dtype} on {self.tokens.device}")
        if (self.tokens < 0).any():
            raise ValueError(f"tokens must be 0 or above, not {int(self.tokens.min())}")
        if self.frames < len(self.tokens):
            raise ValueError(f"{len(self.tokens)} steps of tokens cannot hold {self.frames} frames")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps must be above 0, not {self.fps}")
        if not (self.tokenizer_id and self.encoder_id):
            raise ValueError("tokenizer_id or encoder_id is empty")
        if self.crop is not None and (len(self.crop) != 4 or min(self.crop[2:]) <= 0):
            raise ValueError(f"crop must be (x, y, width, height), not {self.crop}")
        if self.t0 is not None and not 0 <= self.t0 < self.frames:
            raise ValueError(f"t0 must be a frame of the clip (0 to {self.frames - 1}), not {self.t0}")

    def __len__(self) -> int:
        """Number of steps, which is the number of tokens where there is one level."""
        return len(self.tokens)

    @property
    def seconds(self) -> float:
        """Length of the clip in seconds: frames / fps."""
        return self.frames / self.fps

    def save(self, path: str | Path) -> Path:
        """Write the tokens as JSON; by custom the name ends in `.tokens.json`.

        The file appears under its name only when it is whole. With one level its `tokens` are a list of numbers,
        with more a list of lists.

        Raises:
            XNeMoError: the file cannot be written.
        """
        single = self.tokens.shape[1] == 1
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "tokenizer_id": self.tokenizer_id,
            "encoder_id": self.encoder_id,
            "fps": float(self.fps),
            "frames": self.frames,
            "source": self.source,
            "source_sha256": self.source_sha256,
        }
        optional = {"crop": self.crop, "t0": self.t0, "seed": self.seed}
        content |= {name: value for name, value in optional.items() if value is not None}
        content["tokens"] = (self.tokens[:, 0] if single else self.tokens).tolist()
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, tokenizer_id: str | None = None) -> TokenSequence:
        """Read what `save` wrote.

        Args:
            path: the file.
            tokenizer_id: if given, the tokenizer that the tokens must come from.
        Raises:
            XNeMoError: the file is missing, is not a token file, is of a newer schema or of another tokenizer, or
                holds values that a TokenSequence does not allow.
        """
        if not Path(path).is_file():
            raise XNeMoError(f"{path}: no such token file")
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise XNeMoError(f"{path}: not a token file ({error})") from error
        if not (isinstance(content, dict) and isinstance(content.get("schema"), int)):
            raise XNeMoError(f"{path}: not a token file (JSON without a token schema)")
        if content["schema"] > SCHEMA:
            raise XNeMoError(
                f"{path}: token schema {content['schema']} is newer than {SCHEMA}, the newest known here; update xnemo"
            )
        try:
            sequence = _from_json(content)
        except KeyError as error:
            raise XNeMoError(f"{path}: damaged token file: it has no {error}") from error
        except (ValueError, TypeError, OverflowError) as error:
            raise XNeMoError(f"{path}: damaged token file: {error}") from error
        if tokenizer_id is not None and sequence.tokenizer_id != tokenizer_id:
            raise XNeMoError(
                f"{path}: made by tokenizer {sequence.tokenizer_id}, but the one in use is {tokenizer_id}; tokenise "
                "the clip again with this one, or name the folder of the other with tokenizer_weights=FOLDER"
            )
        return sequence


def _from_json(content: dict[str, Any]) -> TokenSequence:
    crop = content.get("crop")
    return TokenSequence(
        tokens=_read_tokens(content["tokens"]),
        frames=_whole(content["frames"], "frames"),
        fps=float(content["fps"]),
        tokenizer_id=_text(content["tokenizer_id"], "tokenizer_id"),
        encoder_id=_text(content["encoder_id"], "encoder_id"),
        source=_text(content.get("source", ""), "source"),
        source_sha256=_text(content.get("source_sha256", ""), "source_sha256"),
        crop=None if crop is None else _read_crop(crop),
        t0=None if content.get("t0") is None else _whole(content["t0"], "t0"),
        seed=None if content.get("seed") is None else _whole(content["seed"], "seed"),
    )


def _read_tokens(values: Any) -> Tensor:
    if not isinstance(values, list) or not values:
        raise ValueError("tokens must be a list of numbers, or of lists of numbers")
    rows = [value if isinstance(value, list) else [value] for value in values]
    if len({len(row) for row in rows}) != 1:
        raise ValueError("tokens must have the same number of levels everywhere")
    return torch.tensor([[_whole(token, "tokens") for token in row] for row in rows], dtype=torch.int64)


def _read_crop(values: Any) -> tuple[int, int, int, int]:
    if not isinstance(values, list) or len(values) != 4:
        raise ValueError(f"crop must be [x, y, width, height], not {values!r}")
    x, y, width, height = (_whole(value, "crop") for value in values)
    return x, y, width, height


def _whole(value: Any, name: str) -> int:
    # JSON's true is Python's 1.
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} must be whole numbers, not {value!r}")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, not {value!r}")
    return value
