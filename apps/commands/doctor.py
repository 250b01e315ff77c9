"""`xnemo doctor`: what is installed, which device and weights there are, and what will fit into memory."""

from __future__ import annotations

import argparse
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from animator.config import DoctorConfig
from animator.errors import XNeMoError
from apps.verb import Context, Option, Verb

PACKAGES = ("xnemo-motion-suite", "torch", "diffusers", "transformers", "accelerate", "mediapipe", "numpy")
SIZES = ("tiny", "lite", "xnemo")


def run(files: list[str], config: DoctorConfig, options: argparse.Namespace, context: Context) -> dict[str, Any]:
    """Look at everything and report; a missing part is reported, not an error."""
    if options.weights:
        from apps.weights_report import weights_report

        return weights_report()
    if options.licences:
        from apps.licences import dependency_licences

        return {"licences": dependency_licences()}
    import torch

    from animator.assets import ASSETS, cache_dir, is_cached
    from animator.builders import resolve_device, resolve_dtype

    device = resolve_device(config.device)
    dtype = resolve_dtype(config.dtype, device)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in PACKAGES},
        "readers": {"decord": _version("decord"), "pyav": _version("av")},
        "device": {
            "type": device.type,
            "name": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU",
            "threads": torch.get_num_threads(),
            "dtype": str(dtype).removeprefix("torch."),
        },
        "weights": _weights(config.weights),
        "memory": _memory(device, dtype),
        "cache": str(cache_dir()),
        "assets": {name: {"cached": is_cached(name), "licence": asset.licence} for name, asset in ASSETS.items()},
    }


def summary(result: dict[str, Any]) -> str:
    """The report for people."""
    if "sources" in result:
        from apps.weights_report import weights_summary

        return weights_summary(result)
    if "licences" in result:
        return "\n".join(f"{each['name']:<32} {each['version']:<16} {each['licence']}" for each in result["licences"])
    versions = ", ".join(f"{name} {found or 'missing'}" for name, found in result["versions"].items())
    readers = ", ".join(f"{name} {found or 'not installed'}" for name, found in result["readers"].items())
    device, weights, memory = result["device"], result["weights"], result["memory"]
    lines = [
        f"python    {result['python']} on {result['platform']}",
        f"packages  {versions}",
        f"readers   {readers}",
        f"device    {device['type']} ({device['name']}), {device['threads']} threads, {device['dtype']}",
    ]
    if weights["found"]:
        lines.append(
            f"weights   {weights['path']}: {weights['image_size']} px, {weights['size_mb']:.0f} MiB, "
            f"encoder {weights['encoder_id'] or 'none'}, licence {weights['licence']}"
        )
    else:
        lines.append(f"weights   none: {weights['reason']}")
    lines.append(f"memory    {memory['available_mb']:.0f} MiB free on {device['type']}")
    for size, need in memory["needed_mb"].items():
        verdict = "fits" if need < memory["available_mb"] else "does not fit"
        lines.append(f"          {size:<6} needs about {need:>6.0f} MiB: {verdict}")
    cached = [name for name, asset in result["assets"].items() if asset["cached"]]
    lines.append(f"assets    {', '.join(cached) or 'none'} in {result['cache']}; the rest is fetched when needed")
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _weights(setting: str | None) -> dict[str, Any]:
    """What the chosen weights are, without loading the large networks."""
    from animator.builders import DEFAULT_WEIGHTS, find_weights
    from animator.models.identity import encoder_id
    from animator.models.motion_encoder import MotionEncoder

    try:
        folder = find_weights(setting)
        # Weights that are driven by pictures have none.
        encoder = None
        if (folder / "motion_encoder").is_dir():
            encoder = MotionEncoder.from_pretrained(folder, subfolder="motion_encoder")
        index = json.loads((folder / "model_index.json").read_text())
    except (XNeMoError, OSError, ValueError) as error:
        return {"found": False, "path": str(setting or DEFAULT_WEIGHTS), "reason": " ".join(str(error).split())}
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 2**20
    return {
        "found": True,
        "path": str(folder),
        "encoder_id": None if encoder is None else encoder_id(encoder),
        "licence": _licence(folder),
        "size_mb": round(size, 1),
        "image_size": index.get("image_size"),
        "renderer": index.get("default_renderer"),
    }


def _licence(folder: Path) -> str | None:
    """The `license:` line at the head of the model card."""
    card = folder / "README.md"
    if not card.is_file():
        return None
    for line in card.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "license":
            return value.strip()
    return None


def _memory(device: Any, dtype: Any) -> dict[str, Any]:
    from apps.memory import BASE_MB, available_memory_mb, estimate_of_size

    base = BASE_MB if device.type == "cpu" else 0
    needed = {size: round(base + estimate_of_size(size, dtype).total) for size in SIZES}
    return {"available_mb": round(available_memory_mb(device)), "needed_mb": needed}


VERB = Verb(
    usage="xnemo doctor [--weights | --licences] [key=value ...] [--json]",
    config="doctor",
    run=run,
    summary=summary,
    options=(
        Option(("--weights",), "show instead which released weights are there, which are missing, and what to do next"),
        Option(("--licences",), "show instead what each installed package that this program needs is licensed under"),
    ),
)
