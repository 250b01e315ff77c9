"""Where a report's numbers come from: code, weights, seeds, networks, machine and time."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from animator.builders import find_weights, resolve_device
from animator.evaluation.config import MeasureConfig
from animator.evaluation.records import DEFINITIONS
from animator.files import sha256_of
from animator.models.identity import encoder_id
from animator.models.motion_encoder import MotionEncoder

PACKAGES = ("torch", "diffusers", "mediapipe", "scikit-image", "numpy")


def provenance(
    config: MeasureConfig, networks: dict[str, Any], weights: Sequence[str | None], seconds: float
) -> dict[str, Any]:
    """Everything that is needed to get the same numbers again.

    Args:
        config: the settings.
        networks: role -> what was measured with, as `NetworkFile.plain` gives it.
        weights: the weights under test, one or more, as `find_weights` takes them.
        seconds: how long it took; records that were there already count nothing.
    """
    folders = [find_weights(name).resolve() for name in weights]
    device = resolve_device(config.device)
    return {
        "project": _version("xnemo-motion-suite"),
        "commit": commit(),
        "definitions": DEFINITIONS,
        "weights": ", ".join(folder.name for folder in folders),
        "encoder_id": ", ".join(_encoder_id(folder) for folder in folders),
        "weight_files": {
            f"{folder.name}/{path}": digest for folder in folders for path, digest in weight_hashes(folder).items()
        },
        "seed": config.seed,
        "networks": networks,
        "versions": {name: _version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{device.type}, {platform.machine()}",
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
    }


def weight_hashes(folder: Path) -> dict[str, str]:
    """Checksum of every file of a weights folder that says how they draw, by its path in it."""
    suffixes = {".safetensors", ".bin", ".json"}
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in suffixes and path.is_file()
    }


def commit() -> str | None:
    """The commit of this code, with "+" where files differ from it; None where it is not a git checkout."""
    folder = Path(__file__).resolve().parent
    try:
        head = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed else "")


def one_line(about: dict[str, Any]) -> str:
    """The provenance in one line for the foot of a report."""
    networks = ", ".join(f"{found['name']} {found['sha256'][:12]}" for found in about["networks"].values())
    return (
        f"commit {(about['commit'] or 'unknown')[:13]}, weights {about['weights']} (encoder {about['encoder_id']}), "
        f"seed {about['seed']}; {networks}; {about['finished']}, {about['seconds']:.0f} s"
    )


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()


def _encoder_id(folder: Path) -> str:
    if not (folder / "motion_encoder").is_dir():  # driven by pictures
        return "none"
    return encoder_id(MotionEncoder.from_pretrained(folder, subfolder="motion_encoder"))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
