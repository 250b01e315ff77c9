"""What reconstruction errors look like: the animator draws a clip's motion before and after the tokenizer.

Both results are compared frame by frame at 256 x 256, so the animator's own errors are in neither. A picture of how
much there was to lose stands beside them: the same portrait with the clip's first frame held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animator.errors import XNeMoError
from animator.evaluation.following import follow, mean_following
from animator.evaluation.landmarks import FaceLandmarker, FaceMeasures
from animator.evaluation.lpips import Lpips
from animator.evaluation.metrics import at_measured_size, l1, lpips_distance
from animator.face import FaceDetector
from animator.motion_clip import MotionClip
from animator.pipeline import XNeMoPipeline
from animator.portrait import PortraitPictures, portrait_pictures
from motion_tokenizer.evaluation.config import PixelConfig

Frames = NDArray[np.uint8]
Draw = Callable[[PortraitPictures, MotionClip], Iterator[Frames]]

SIGNALS = ("mouth", "yaw", "pitch", "blink", "smile", "jaw_open")
_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(frozen=True, eq=False)
class _Measured:
    """Errors of the frames of one clip, and its face, where a landmarker looked."""

    l1: NDArray[np.float64]
    lpips: NDArray[np.float64]
    face: FaceMeasures | None


def pixel_report(
    config: PixelConfig,
    pipeline: XNeMoPipeline,
    motions: Sequence[MotionClip],
    reconstruct: Callable[[MotionClip], MotionClip],
) -> dict[str, Any]:
    """Render held-out clips and compare.

    Args:
        config: which portraits, how many clips, which measures.
        pipeline: the animator, of the encoder that made the motions.
        motions: held-out clips.
        reconstruct: the tokenizer, there and back; it sees the whole clip.
    Returns:
        For each renderer ("gan", "diffusion") the clips that were drawn and, for "tokens" and "first_frame_held": `l1`
        (0 to 1), `lpips`, and `following` by signal, see `animator.evaluation.following`; what was not measured is
        None.
    Raises:
        XNeMoError: a portrait without a face, or networks that cannot be read.
    """
    portraits = _portraits(config.portraits)
    chosen = np.unique(np.linspace(0, len(motions) - 1, min(config.clips, len(motions))).round().astype(int))
    pairs = [(motions[n], portraits[k % len(portraits)]) for k, n in enumerate(chosen)]
    lpips = Lpips(Path(config.lpips_weights)).to(pipeline.device) if config.lpips_weights else None
    with ExitStack() as stack:
        detector = stack.enter_context(FaceDetector())
        landmarker = stack.enter_context(FaceLandmarker(config.landmarker)) if config.landmarker else None
        report: dict[str, Any] = {}
        for name, (draw, count) in _renderers(config, pipeline).items():
            measured = [
                _compare(pipeline, motion, portrait, reconstruct, draw, config.seconds, lpips, landmarker, detector)
                for motion, portrait in pairs[:count]
            ]
            report[name] = {
                "pairs": [{"clip": motion.source, "portrait": path.name} for motion, path in pairs[:count]],
                "frames": sum(len(kinds["tokens"].l1) for kinds in measured),
                **{
                    kind: _summary([m[kind] for m in measured], [m["original"] for m in measured])
                    for kind in ("tokens", "first_frame_held")
                },
            }
    return report


def _renderers(config: PixelConfig, pipeline: XNeMoPipeline) -> dict[str, tuple[Draw, int]]:
    """What can draw with these weights, and how many clips it is asked for."""
    renderers: dict[str, tuple[Draw, int]] = {}
    if pipeline.gan_head is not None:
        renderers["gan"] = (pipeline.stream_preview, config.clips)
    if config.diffusion and pipeline.unet is not None:
        renderers["diffusion"] = (
            lambda portrait, motion: pipeline.stream(portrait, motion, num_inference_steps=config.steps),
            config.diffusion_clips,
        )
    return renderers


def _compare(
    pipeline: XNeMoPipeline,
    motion: MotionClip,
    portrait: Path,
    reconstruct: Callable[[MotionClip], MotionClip],
    draw: Draw,
    seconds: float,
    lpips: Lpips | None,
    landmarker: FaceLandmarker | None,
    detector: FaceDetector,
) -> dict[str, _Measured]:
    """Draw one clip three times with one portrait; errors are of frames against the original motion's."""
    side = pipeline.config.image_size
    pictures = portrait_pictures(portrait, (side, side), pipeline.motion_encoder.config.image_size, detector=detector)
    stop = max(2, round(seconds * motion.fps))
    original = motion[:stop]
    frames = len(original)
    kinds = {
        "original": original,
        "tokens": reconstruct(motion)[:frames],
        "first_frame_held": replace(
            original, latents=original.latents[:1].repeat(frames, 1), boxes=original.boxes[:1].repeat(frames, 1)
        ),
    }
    errors: dict[str, list[NDArray[np.float64]]] = {f"{kind}/{name}": [] for kind in kinds for name in ("l1", "lpips")}
    faces: dict[str, list[FaceMeasures]] = {kind: [] for kind in kinds}
    for chunks in zip(*(draw(pictures, clip) for clip in kinds.values()), strict=True):
        shown = [at_measured_size(chunk) for chunk in chunks]
        for kind, ours in zip(kinds, shown, strict=True):
            errors[f"{kind}/l1"].append(l1(ours, shown[0]))
            if lpips is not None:
                errors[f"{kind}/lpips"].append(lpips_distance(lpips, ours, shown[0], pipeline.device))
            if landmarker is not None:
                faces[kind].append(landmarker.measure(ours))
    return {
        kind: _Measured(
            np.concatenate(errors[f"{kind}/l1"]),
            np.concatenate([np.zeros(0), *errors[f"{kind}/lpips"]]),
            FaceMeasures.joined(faces[kind]) if landmarker is not None else None,
        )
        for kind in kinds
    }


def _summary(measured: Sequence[_Measured], originals: Sequence[_Measured]) -> dict[str, Any]:
    """Means in which every clip counts the same."""
    following = None
    if all(m.face is not None for m in (*measured, *originals)):
        means = mean_following(
            follow(a.face, b.face) for a, b in zip(originals, measured, strict=True) if a.face and b.face
        )
        following = {name: asdict(means[name]) for name in SIGNALS if name in means}
    return {
        "l1": float(np.mean([m.l1.mean() for m in measured])),
        "lpips": float(np.mean([m.lpips.mean() for m in measured])) if len(measured[0].lpips) else None,
        "following": following,
    }


def _portraits(names: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for name in names:
        path = Path(name)
        inside = [p for p in sorted(path.iterdir()) if p.suffix.lower() in _PICTURES] if path.is_dir() else [path]
        if not inside or not path.exists():
            raise XNeMoError(f"{name}: no such picture, or no picture in that folder; see pixels.portraits")
        found += inside
    return found
