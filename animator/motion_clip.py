"""MotionClip: the motion of one clip, the object that everything in the suite passes through."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from animator.errors import XNeMoError
from animator.files import atomic_path

SCHEMA = 1
SUFFIX = ".motion.safetensors"
LATENT_DIM = 512
BOX_DIM = 3

# Two frame rates closer than this (relative) are the same rate: 30000/1001 and 29.97 must join.
_FPS_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class MotionClip:
    """Motion latents and head placement of T >= 1 frames, with where they come from.

    Attributes:
        latents: motion latents before f_rts fusion (X-NeMo section 3.2), (T, 512), float32 on the CPU, finite.
        boxes: the f_rts triplets (dx / s_r, dy / s_r, s_d / s_r), (T, 3), float32 on the CPU, finite, third column
            above 0: head centre relative to a reference frame, right and down positive, and head size, both in units
            of the reference frame's head size. (0, 0, 1) is the reference itself, normally the source's first frame.
        fps: frames a second, above 0.
        encoder_id: id of the motion encoder that made the latents; latents of different encoders never mix.
        source: name of the file that the motion comes from, "" if there is none.
        source_sha256: checksum of that file, "" if there is none or there are several.
        crop: the encoder's crop (x, y, width, height) in pixels of the source, at the frame that `boxes` refer to;
            None for motion that was not read from a picture.
        t0: for generated motion the first frame that was not given; None if all frames were observed.
        seed: the seed of generated motion.

    Raises:
        ValueError: the values break the promises above.
    """

    latents: Tensor
    boxes: Tensor
    fps: float
    encoder_id: str
    source: str = ""
    source_sha256: str = ""
    crop: tuple[int, int, int, int] | None = None
    t0: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, tensor, width in (("latents", self.latents, LATENT_DIM), ("boxes", self.boxes, BOX_DIM)):
            if tensor.ndim != 2 or tensor.shape[1] != width:
                raise ValueError(f"{name} must be (frames, {width}), not {tuple(tensor.shape)}")
            if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
                raise ValueError(f"{name} must be float32 on the CPU, not {tensor.dtype} on {tensor.device}")
            bad = (~torch.isfinite(tensor).all(dim=1)).nonzero()
            if len(bad):
                raise ValueError(f"{name} hold NaN or infinity in {len(bad)} frames (first: frame {int(bad[0])})")
        if len(self.latents) == 0:
            raise ValueError("a motion clip has at least one frame")
        if len(self.latents) != len(self.boxes):
            raise ValueError(f"{len(self.latents)} frames of latents but {len(self.boxes)} of boxes")
        if (self.boxes[:, 2] <= 0).any():
            raise ValueError("boxes: the third column is a size and must be above 0")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps must be above 0, not {self.fps}")
        if not self.encoder_id:
            raise ValueError("encoder_id is empty")
        if self.crop is not None and (len(self.crop) != 4 or min(self.crop[2:]) <= 0):
            raise ValueError(f"crop must be (x, y, width, height), not {self.crop}")
        if self.t0 is not None and not 0 <= self.t0 < len(self):
            raise ValueError(f"t0 must be a frame of the clip (0 to {len(self) - 1}), not {self.t0}")

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.latents)

    @property
    def seconds(self) -> float:
        """Length in seconds: frames / fps."""
        return len(self) / self.fps

    def __getitem__(self, frames: slice) -> MotionClip:
        """The frames `motion[a:b]` as a clip of their own.

        The boxes keep referring to the frame they referred to before, so `crop` stays valid. `t0` moves along, and is
        None in a part that holds only given frames.

        Raises:
            TypeError: not a slice, or a slice with a step.
            ValueError: no frame is left.
        """
        if not isinstance(frames, slice) or frames.step not in (None, 1):
            raise TypeError("a motion clip is cut with motion[a:b], without a step")
        start, stop, _ = frames.indices(len(self))
        t0 = None if self.t0 is None or self.t0 >= stop else max(0, self.t0 - start)
        return replace(self, latents=self.latents[start:stop], boxes=self.boxes[start:stop], t0=t0)

    def save(self, path: str | Path) -> Path:
        """Write the clip as safetensors; by custom the name ends in `.motion.safetensors`.

        The file holds the tensors `latents` and `boxes` and, as metadata, every other field and the schema version.
        Equal clips give equal bytes. It appears under its name only when it is whole.

        Raises:
            XNeMoError: the file cannot be written.
        """
        metadata = {"schema": str(SCHEMA), "fps": repr(float(self.fps)), "encoder_id": self.encoder_id}
        metadata |= {"source": self.source, "source_sha256": self.source_sha256}
        optional = {"crop": self.crop, "t0": self.t0, "seed": self.seed}
        metadata |= {name: json.dumps(value) for name, value in optional.items() if value is not None}
        # A slice shares its storage with the whole clip; safetensors wants tensors that own theirs.
        data = to_safetensors({"latents": self.latents.detach().clone(), "boxes": self.boxes.clone()}, metadata)
        with atomic_path(path) as temporary:
            temporary.write_bytes(_in_order(data))
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, encoder_id: str | None = None) -> MotionClip:
        """Read what `save` wrote.

        Args:
            path: the file.
            encoder_id: if given, the encoder that the latents must come from.
        Raises:
            XNeMoError: the file is missing, is not a motion file, is of a newer schema or of another encoder, or holds
                values that a MotionClip does not allow.
        """
        if not Path(path).is_file():
            raise XNeMoError(f"{path}: no such motion file")
        try:
            with safe_open(str(path), framework="pt", device="cpu") as file:
                metadata: dict[str, str] = file.metadata() or {}
                _check_schema(path, metadata)
                tensors = {name: _read_tensor(file, name) for name in ("latents", "boxes")}
        except (SafetensorError, OSError) as error:
            raise XNeMoError(f"{path}: not a motion file ({error})") from error
        except ValueError as error:
            raise XNeMoError(f"{path}: damaged motion file: {error}") from error
        try:
            crop = json.loads(metadata.get("crop", "null"))
            clip = cls(
                **tensors,
                fps=float(metadata["fps"]),
                encoder_id=metadata["encoder_id"],
                source=metadata.get("source", ""),
                source_sha256=metadata.get("source_sha256", ""),
                crop=None if crop is None else (int(crop[0]), int(crop[1]), int(crop[2]), int(crop[3])),
                t0=_optional_int(metadata, "t0"),
                seed=_optional_int(metadata, "seed"),
            )
        except KeyError as error:
            raise XNeMoError(f"{path}: damaged motion file: its metadata has no {error}") from error
        except (ValueError, TypeError, IndexError) as error:
            raise XNeMoError(f"{path}: damaged motion file: {error}") from error
        if encoder_id is not None and clip.encoder_id != encoder_id:
            raise XNeMoError(
                f"{path}: made by motion encoder {clip.encoder_id}, but the model in use has {encoder_id}; "
                "extract the motion again with this model, or load the model it was made with"
            )
        return clip

    @staticmethod
    def concatenate(clips: Sequence[MotionClip], rebase: bool = True) -> MotionClip:
        """Join clips in time.

        With `rebase` the head of each clip starts where, and as large as, the previous one ended: its displacements,
        measured in head sizes of its own first frame, and its relative sizes are carried on from there. Without, the
        boxes are joined as they are, which is right for parts of one clip. `crop` is the first clip's.

        Raises:
            ValueError: no clip was given.
            XNeMoError: the clips differ in frame rate or encoder.
        """
        if not clips:
            raise ValueError("concatenate needs at least one clip")
        first = clips[0]
        boxes = [first.boxes]
        starts = [0]
        for previous, clip in pairwise(clips):
            _check_same_encoder(first, clip)
            if abs(clip.fps - first.fps) > _FPS_TOLERANCE * first.fps:
                raise XNeMoError(
                    f"{_name(first)} has {first.fps:g} frames a second and {_name(clip)} {clip.fps:g}; "
                    "resample one first"
                )
            boxes.append(_continue_boxes(boxes[-1][-1], clip.boxes) if rebase else clip.boxes)
            starts.append(starts[-1] + len(previous))
        placed = zip(starts, clips, strict=True)
        generated = [(start + clip.t0, clip.seed) for start, clip in placed if clip.t0 is not None]
        t0, seed = generated[0] if generated else (None, None)
        checksums = {clip.source_sha256 for clip in clips}
        return replace(
            first,
            latents=torch.cat([clip.latents for clip in clips]),
            boxes=torch.cat(boxes),
            source=" + ".join(dict.fromkeys(clip.source for clip in clips if clip.source)),
            source_sha256=first.source_sha256 if len(checksums) == 1 else "",
            t0=t0,
            seed=seed,
        )

    def resample(self, fps: float) -> MotionClip:
        """The same motion at another frame rate, by linear interpolation of latents and boxes in time.

        Frame i of the result shows time i / fps. The length in seconds is kept as nearly as whole frames allow;
        a time after the last frame shows the last frame.
        """
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"fps must be above 0, not {fps}")
        frames = max(1, round(len(self) * fps / self.fps))
        position = np.minimum(np.arange(frames) * (self.fps / fps), len(self) - 1)
        before = np.floor(position).astype(np.int64)
        after = np.minimum(before + 1, len(self) - 1)
        weight = torch.from_numpy(position - before).float()[:, None]
        t0 = None if self.t0 is None else min(frames - 1, round(self.t0 * fps / self.fps))
        return replace(
            self,
            latents=torch.lerp(self.latents[before], self.latents[after], weight),
            boxes=torch.lerp(self.boxes[before], self.boxes[after], weight),
            fps=float(fps),
            t0=t0,
        )

    @staticmethod
    def interpolate(
        start: MotionClip,
        end: MotionClip,
        frames: int,
        mode: Literal["linear", "slerp"] = "linear",
        easing: Callable[[Tensor], Tensor] | None = None,
    ) -> MotionClip:
        """A transition from the last frame of `start` to the first frame of `end`.

        Linear mixes the latents. Slerp turns the direction of the latent at constant speed on the arc between the
        two and lets its length grow linearly from one length to the other; where the arc is not defined (a zero
        latent, or exactly opposite ones) it mixes linearly. Boxes are mixed linearly, as they are, in both modes.

        Args:
            start: clip or key frame to come from; gives fps and crop.
            end: clip or key frame to go to.
            frames: length of the result, at least 2; both key frames are part of it.
            mode: "linear" or "slerp".
            easing: maps the share of time that has passed to the share of the way, both from 0 to 1, (frames, 1);
                None is constant speed.
        Returns:
            A clip of `frames` frames; the first is given, so `t0` is 1 where there are frames in between.
        Raises:
            ValueError: fewer than 2 frames, or an unknown mode.
            XNeMoError: the encoders differ.
        """
        if frames < 2:
            raise ValueError(f"a transition has at least its two key frames, not {frames}")
        _check_same_encoder(start, end)
        weight = torch.linspace(0, 1, frames)[:, None]
        if easing is not None:
            weight = easing(weight)
        a, b = start.latents[-1:], end.latents[:1]
        if mode == "linear":
            latents = torch.lerp(a, b, weight)
        elif mode == "slerp":
            latents = _slerp(a, b, weight)
        else:
            raise ValueError(f"mode must be linear or slerp, not {mode!r}")
        return MotionClip(
            latents=latents,
            boxes=torch.lerp(start.boxes[-1:], end.boxes[:1], weight),
            fps=start.fps,
            encoder_id=start.encoder_id,
            source=" to ".join(name for name in (start.source, end.source) if name),
            source_sha256=start.source_sha256 if start.source_sha256 == end.source_sha256 else "",
            crop=start.crop,
            t0=1 if frames > 2 else None,
        )


def _slerp(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Spherical interpolation of directions with linear interpolation of lengths; (1, D), (1, D), (T, 1) -> (T, D)."""
    a64, b64, w = a.double(), b.double(), weight.double()
    length_a, length_b = a64.norm(), b64.norm()
    if length_a == 0 or length_b == 0:
        return torch.lerp(a, b, weight)
    u, v = a64 / length_a, b64 / length_b
    # atan2 keeps its precision for nearly equal and nearly opposite directions, where acos(u . v) loses it.
    angle = 2 * torch.atan2((u - v).norm(), (u + v).norm())
    if torch.sin(angle) < 1e-6:
        return torch.lerp(a, b, weight)
    direction = (torch.sin((1 - w) * angle) * u + torch.sin(w * angle) * v) / torch.sin(angle)
    return (torch.lerp(length_a, length_b, w) * direction).float()


def _continue_boxes(last: Tensor, boxes: Tensor) -> Tensor:
    """Move and scale a clip's boxes (T, 3) so that their first frame equals `last` (3,)."""
    ratio = last[2] / boxes[0, 2]
    centres = last[:2] + (boxes[:, :2] - boxes[0, :2]) * ratio
    return torch.cat([centres, boxes[:, 2:] * ratio], dim=1)


def _check_same_encoder(first: MotionClip, other: MotionClip) -> None:
    if first.encoder_id != other.encoder_id:
        raise XNeMoError(
            f"{_name(first)} was made by motion encoder {first.encoder_id} and {_name(other)} by {other.encoder_id}; "
            "extract both with one model"
        )


def _name(clip: MotionClip) -> str:
    return clip.source or "a clip without a name"


def _check_schema(path: str | Path, metadata: dict[str, str]) -> None:
    if "schema" not in metadata:
        raise XNeMoError(f"{path}: not a motion file (a safetensors file without a motion schema)")
    try:
        schema = int(metadata["schema"])
    except ValueError as error:
        raise XNeMoError(f"{path}: damaged motion file: schema {metadata['schema']!r}") from error
    if schema > SCHEMA:
        raise XNeMoError(f"{path}: motion schema {schema} is newer than {SCHEMA}, the newest known here; update xnemo")


def _in_order(data: bytes) -> bytes:
    """The same safetensors file with its metadata in alphabetical order; the library's own differs from run to run."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def _read_tensor(file: safe_open, name: str) -> Tensor:
    if name not in file.keys():  # noqa: SIM118 (safe_open is not a mapping)
        raise ValueError(f"it has no tensor {name!r}")
    return file.get_tensor(name)


def _optional_int(metadata: dict[str, str], name: str) -> int | None:
    return int(metadata[name]) if name in metadata else None
