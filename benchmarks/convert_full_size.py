"""Time and peak memory of `xnemo convert xnemo-release` on a generated release of full size.

    python benchmarks/convert_full_size.py --folder /scratch                  # needs 14 GB of disk, half precision
    python benchmarks/convert_full_size.py --folder /scratch --dtype float32  # 28 GB
    python benchmarks/convert_full_size.py --size tiny                        # tries the script itself

The four files, the image encoder and the autoencoder have the released names, shapes and layout; the values are random.
The conversion, and with --back the way back, runs in a process of its own, whose memory is what is printed beside the
bound: the largest file plus 2 GB. A whole release in memory would be four files. What was generated and made is removed
at the end, unless --keep says otherwise.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from animator.asset_manifest import DENOISING, ENCODER, IMAGE_VARIATIONS, REFERENCE, TEMPORAL, VIDEO_DIFFUSION
from animator.builders import animator_config, build_autoencoder, build_image_encoder
from animator.convert.expected import (
    Expected,
    build_skeletons,
    expected_denoiser,
    expected_motion_encoder,
    expected_reference_net,
)
from animator.model_config import AnimatorConfig

DTYPES = {"float16": torch.float16, "float32": torch.float32}
ALLOWED = 2 * 10**9  # bytes of memory beside the largest file


@dataclass(frozen=True)
class Run:
    """One conversion: what was typed, how long it took, the most memory that it had, in bytes."""

    name: str
    seconds: float
    memory: int


def generate(folder: Path, config: AnimatorConfig, dtype: torch.dtype) -> None:
    """Write a release; one file is in memory at a time."""
    nets = build_skeletons(config)
    denoiser = expected_denoiser(nets.unet)
    files: dict[str, Expected] = {
        ENCODER: expected_motion_encoder(nets.motion_encoder),
        REFERENCE: expected_reference_net(nets.reference_net),
        DENOISING: denoiser.only(lambda key: ".temporal_modules." not in key),
        TEMPORAL: denoiser.only(lambda key: ".temporal_modules." in key),
    }
    for name, expected in files.items():
        torch.save({key: drawn(key, shape, expected, dtype) for key, shape in expected.shapes.items()}, folder / name)
    with torch.device("meta"):
        vae, image_encoder = build_autoencoder(config.vae), build_image_encoder()
    place = folder / VIDEO_DIFFUSION / "vae"
    vae.save_config(place)
    save_file(random_state(vae, dtype), place / "diffusion_pytorch_model.safetensors")
    if config.image_encoder:
        place = folder / IMAGE_VARIATIONS / "image_encoder"
        image_encoder.config.save_pretrained(place)
        torch.save(random_state(image_encoder, dtype), place / "pytorch_model.bin")


def drawn(key: str, shape: tuple[int, ...], expected: Expected, dtype: torch.dtype) -> Tensor:
    """A value for an entry: random, but for position tables and counters."""
    if key in expected.tables:
        return expected.tables[key].to(dtype)
    if key.endswith("running_var"):
        return torch.ones(shape, dtype=dtype)  # so that the networks also run
    return torch.tensor(1) if key.endswith("num_batches_tracked") else 0.02 * torch.randn(shape, dtype=dtype)


def random_state(net: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Random values for every entry of a network."""
    return {key: 0.02 * torch.randn(value.shape, dtype=dtype) for key, value in net.state_dict().items()}


def measured(name: str, *words: str) -> Run:
    """Run a command line in a process of its own and measure it."""
    script = (
        "import resource, sys; from apps.cli import main; code = main(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script, *words], stdout=subprocess.PIPE, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    return Run(name, time.monotonic() - start, int(done.stdout.splitlines()[-1]) * unit)


def same_files(first: Path, second: Path) -> bool:
    """Whether the released files of two folders hold the same bits."""
    for name in (ENCODER, REFERENCE, DENOISING, TEMPORAL):
        ours, theirs = (torch.load(folder / name, weights_only=True, mmap=True) for folder in (first, second))
        if ours.keys() != theirs.keys() or not all(torch.equal(value, theirs[key]) for key, value in ours.items()):
            return False
    return True


def report(folder: Path, size: str, dtype: str, back: bool, say: Callable[[str], None]) -> None:
    """Generate, convert, measure, print."""
    source = folder / "released"
    source.mkdir()
    start = time.monotonic()
    generate(source, animator_config(size), DTYPES[dtype])
    files = [path for path in source.rglob("*") if path.is_file()]
    largest = max(path.stat().st_size for path in files)
    total = sum(path.stat().st_size for path in files)
    say(f"generated {total / 1e9:.2f} GB in {time.monotonic() - start:.0f} s, largest file {largest / 1e9:.2f} GB")

    runs = [measured("xnemo-release", "convert", "xnemo-release", str(source), str(folder / "out"), f"animator={size}")]
    if back:
        runs.append(measured("to-release", "convert", "to-release", str(folder / "out"), str(folder / "back")))
    say("| convert | seconds | peak memory, GB | bound, GB |")
    say("|---|---|---|---|")
    for run in runs:
        bound = (largest + ALLOWED) / 1e9
        say(f"| {run.name} | {run.seconds:.0f} | {run.memory / 1e9:.2f} | {bound:.2f} |")
    if back:
        say(f"files after there and back the same, bit for bit: {same_files(source, folder / 'back')}")
    index = folder / "out" / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    if index.is_file():
        shards = set(json.loads(index.read_text())["weight_map"].values())
        say(f"the denoiser is in {len(shards)} files")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of the converter at full size.")
    parser.add_argument("--folder", type=Path, help="where to put the files (default: the system's temporary folder)")
    parser.add_argument("--size", default="xnemo", help="animator size: xnemo, lite or tiny")
    parser.add_argument("--dtype", default="float16", choices=list(DTYPES))
    parser.add_argument("--back", action="store_true", help="convert back too, and compare")
    parser.add_argument("--keep", action="store_true", help="leave the files")
    arguments = parser.parse_args()
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="xnemo-convert-", dir=arguments.folder))
    try:
        report(folder, arguments.size, arguments.dtype, arguments.back, lambda line: print(line, flush=True))
    finally:
        if not arguments.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
